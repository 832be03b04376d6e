"""What the study of EISAM found about the statements of its specification, as rows for the registry."""

from __future__ import annotations

import numpy as np
import pandas as pd

from reclib.analysis.eisam.cells import EISAM, ERM, REWEIGHT, SAM, UNWEIGHTED
from reclib.analysis.findings import Finding, row_finding
from reclib.evaluation.metrics import ALL, HEAD, METHOD, TAIL
from reclib.schema import GROUP, METRIC

HEAVY, SAME = 0.5, 0.8  # share of the head above which a tail is long; Spearman from which two are one
PRESERVED = -0.01  # change of NDCG@10, in shares of ERM's, that still counts as kept
SHARPER = 0.1  # change of the head's sharpness, in shares of ERM's, up to which it is not sharper


def two_tails_statements(tails: pd.DataFrame, correlation: pd.DataFrame) -> list[Finding]:
    """Statement 1, a row a data set: both heads hold over half, Spearman's correlation is below 0.8.

    Its whole interval has to be. tails: `long_tail.two_tails`; correlation:
    `prior_controls.correlation_table`; both with a dataset.
    """
    return [
        _two_tails_statement(
            own.set_index("kind")["head_share"],
            correlation[(correlation["dataset"] == dataset) & (correlation["items"] == "all")].iloc[0],
        )
        for dataset, own in tails.groupby("dataset", sort=False)
    ]


def _two_tails_statement(shares: pd.Series, found: pd.Series) -> Finding:
    note = (
        f"Spearman of prior and data; the top 20 % hold {shares['prior']:.2f} of the prior, "
        f"{shares['data']:.2f} of the data"
    )
    holds = bool(shares.min() > HEAVY and found["high"] < SAME)
    return row_finding("eisam", "1", found["dataset"], holds, note, found, value="value")


def tail_gain_statement(differences: pd.DataFrame) -> list[Finding]:
    """Statement 5: EISAM minus ERM and minus SAM on tail targets, HR@10 and NDCG@10: all intervals above 0.

    differences: rows of `sequence_tables.differences_table`. `value` is the weakest of NDCG@10.
    """
    return _tail_statements(differences, "5", (ERM, SAM), metrics=("HR", "NDCG"))


def overall_statement(differences: pd.DataFrame) -> list[Finding]:
    """Statement 6: the interval of EISAM minus ERM in overall NDCG@10 lies above −1 % of ERM's mean."""
    found = []
    rows = _of_eisam(differences, (ERM,), ALL, ("NDCG",))
    for row in rows.to_dict("records"):
        mean = row["difference"] / row["change"] if row["change"] else np.nan
        kept = bool(row["low"] > PRESERVED * mean)
        note = f"EISAM minus ERM, NDCG@10 on all targets: {100 * row['change']:+.1f} % of ERM's {mean:.4f}"
        if not kept and row["high"] > PRESERVED * mean:
            note += "; the interval holds both a loss of over 1 % and less"
        found.append(row_finding("eisam", "6", row["dataset"], kept, note, row))
    return found


def attribution_statement(differences: pd.DataFrame) -> list[Finding]:
    """Statement 7: EISAM minus its version without weights and minus re-weighting on the tail, NDCG@10.

    Holds if both intervals are above 0; the note has the overall differences beside, as the tail should be
    compared at equal overall accuracy.
    """
    return _tail_statements(differences, "7", (UNWEIGHTED, REWEIGHT), metrics=("NDCG",))


def sharpness_statement(sides: pd.DataFrame, fit: pd.DataFrame, dataset: str) -> list[Finding]:
    """Statement 8: EISAM's tail sharpness below ERM's and SAM's, and the head's at most 10 % above ERM's.

    sides, fit: `sharpness_tables.side_differences`, `fit_table`. Holds if both intervals of the tail are
    below 0 and the head's change is at most 0.1; `value` is the weaker one of the tail.
    """
    rows = sides[sides[METHOD] == EISAM]
    tail = rows[rows[GROUP] == TAIL].sort_values("high", kind="stable")
    head = rows[(rows[GROUP] == HEAD) & (rows["reference"] == ERM)].iloc[0]
    holds = bool((tail["high"] < 0).all() and head["change"] <= SHARPER)
    changes = ", ".join(
        f"{100 * row['change']:+.0f} % of {row['reference'].upper()}'s" for row in tail.to_dict("records")
    )
    note = (
        f"mean sharpness of tail items, EISAM minus {tail.iloc[-1]['reference'].upper()}; tail {changes}, "
        f"head {100 * head['change']:+.0f} % of ERM's; training losses within "
        f"{fit['largest_gap'].max():.3f} nats"
    )
    return [row_finding("eisam", "8", dataset, holds, note, tail.iloc[-1])]


def _tail_statements(
    differences: pd.DataFrame, number: str, references: tuple[str, ...], *, metrics: tuple[str, ...]
) -> list[Finding]:
    found = []
    tail = _of_eisam(differences, references, TAIL, metrics)
    overall = _of_eisam(differences, references, ALL, ("NDCG",))
    for dataset, rows in tail.groupby("dataset", sort=False):
        beside = overall[overall["dataset"] == dataset].set_index("reference")["difference"]
        words = "; ".join(f"over {name} {beside[name]:+.4f} overall" for name in references)
        won = f"interval above 0 in {int((rows['low'] > 0).sum())} of {len(rows)} comparisons"
        weakest = rows[rows[METRIC] == "NDCG"].sort_values("low", kind="stable", na_position="first").iloc[0]
        note = f"EISAM on tail targets, {won}; shown: NDCG@10 minus {weakest['reference']}; {words}"
        found.append(
            row_finding("eisam", number, str(dataset), bool((rows["low"] > 0).all()), _plain(note), weakest)
        )
    return found


def _of_eisam(
    differences: pd.DataFrame, references: tuple[str, ...], group: str, metrics: tuple[str, ...]
) -> pd.DataFrame:
    is_asked = differences["reference"].isin(list(references)) & differences[METRIC].isin(list(metrics))
    return differences[(differences[METHOD] == EISAM) & (differences[GROUP] == group) & is_asked]


def _plain(words: str) -> str:
    return words.replace("_", " ")
