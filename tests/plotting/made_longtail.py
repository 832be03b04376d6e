"""A small made table for every figure of the two long tails."""

from __future__ import annotations

import numpy as np
import pandas as pd

METHODS = ("untuned", "lml", "sasrec")


def curves(n_items: int = 500) -> pd.DataFrame:
    rank = np.arange(1, n_items + 1)
    parts = []
    for kind, share in (("data", np.exp(-rank / 90)), ("prior", rank**-1.1)):
        share[-20:] *= kind == "prior"  # items that nobody has met
        parts.append(
            pd.DataFrame(
                {"kind": kind, "rank": rank, "share": share / share.sum(), "is_head": rank <= n_items // 5}
            )
        )
    return pd.concat(parts, ignore_index=True).assign(dataset="ml-100k")


def cells() -> pd.DataFrame:
    values = {"untuned": (0.02, 0.011, 0.002, np.nan), "lml": (0.11, 0.05, 0.07, 0.02)}
    values["sasrec"] = (0.12, 0.03, 0.118, 0.03)
    rows = [
        (method, "NDCG", 10, group, value, value * 0.8, value * 1.25, n, n_items)
        for method, row in values.items()
        for group, value, n, n_items in zip(
            ("HH", "HT", "TH", "TT"), row, (5210, 1430, 12_400, 980), (120, 150, 150, 929), strict=True
        )
    ]
    columns = ["method", "metric", "k", "group", "value", "low", "high", "n", "n_items"]
    table = pd.DataFrame(rows, columns=columns).astype({"k": "Int64"})
    return table.assign(n=table["n"].where(table["value"].notna(), 0))


def matched() -> pd.DataFrame:
    edges = (5, 5, 8, 12, 18, 27, 40, 61, 95, 160, 583)
    rows = []
    for at, method in enumerate(METHODS):
        for group in range(10):
            value = np.nan if group == 0 else 0.01 * (2 - at) + 0.002 * group
            ends = (edges[group] + (group > 0), edges[group + 1])
            rows.append((method, "HR", 10, str(group + 1), value, value - 0.02, value + 0.02, 90, 210, *ends))
        rows.append((method, "HR", 10, "pooled", 0.012, 0.008, 0.016, 800, 1900, 5, 583))
    sizes = ["n_head", "n_tail", "count_low", "count_high"]
    columns = ["method", "metric", "k", "group", "value", "low", "high", *sizes]
    return pd.DataFrame(rows, columns=columns).astype({"k": "Int64"})


def coefficients() -> pd.DataFrame:
    rows = [
        (method, term, value := 0.9 - 0.35 * place - 0.1 * at, value - 0.12, value + 0.12)
        for at, method in enumerate(METHODS)
        for place, term in enumerate(("data", "prior", "data × prior"))
    ]
    return pd.DataFrame(rows, columns=["method", "term", "value", "low", "high"])
