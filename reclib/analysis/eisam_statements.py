"""What the study of EISAM found about the statements of its specification, as rows for the registry."""

from __future__ import annotations

from typing import Any

import pandas as pd

HEAVY, SAME = 0.5, 0.8  # share of the head above which a tail is long; Spearman from which two are one


def two_tails_statement(tails: pd.DataFrame, correlation: pd.DataFrame, dataset: str) -> list[dict[str, Any]]:
    """Statement 1: both heads hold over half, and Spearman's correlation lies below 0.8 with its interval.

    tails: `long_tail.two_tails`; correlation: `prior_controls.correlation_table`, of all items.
    """
    found = correlation[correlation["items"] == "all"].iloc[0]
    shares = tails.set_index("kind")["head_share"]
    note = (
        f"Spearman of prior and data; the top 20 % hold {shares['prior']:.2f} of the prior, "
        f"{shares['data']:.2f} of the data"
    )
    return [
        {
            "spec": "eisam",
            "number": "1",
            "dataset": dataset,
            "holds": bool(shares.min() > HEAVY and found["high"] < SAME),
            "value": found["value"],
            "low": found["low"],
            "high": found["high"],
            "note": note,
        }
    ]
