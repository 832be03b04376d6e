"""A small made table for every figure of what EISAM costs and is to give."""

from __future__ import annotations

import numpy as np
import pandas as pd


def gaps() -> pd.DataFrame:
    n = np.array([1.0, 2.2, 4.0, 7.5, 15.0, 40.0])
    parts = []
    for at, method in enumerate(("erm", "reweight", "sam", "eisam")):
        gap = (3.5 - 0.4 * at) * n ** (-0.45 + 0.03 * at)
        parts.append(pd.DataFrame({"method": method, "n": n, "gap": gap, "gap_error": 0.05 * gap}))
    return pd.concat(parts, ignore_index=True)


def bounds() -> pd.DataFrame:
    n = np.geomspace(30, 30_000, 8).round().astype(int)
    risk = 0.1 + 1 / n
    parts = []
    for form, power in (("root", -0.5), ("fast", -1.0)):
        term = 20.0 * n**power
        for quantity, value in (("bound", 0.2 + term), ("term", term)):
            part = {"quantity": quantity, "form": form, "n": n, "value": value, "risk": risk}
            parts.append(pd.DataFrame(part))
    return pd.concat(parts, ignore_index=True).sort_values("quantity", kind="stable", ignore_index=True)


def costs() -> pd.DataFrame:
    sizes = {"items, SASRec": (100, 1_000, 10_000, 100_000), "windows of a batch": (8, 16, 32)}
    sizes["items, language model"] = sizes["items, SASRec"]
    rows = [
        (panel, size, method, ratio * (1 + (method == "naive") * size / 8))
        for panel, of_panel in sizes.items()
        for size in of_panel
        for method, ratio in (("sam", 2.0), ("eisam2", 2.05), ("eisam", 2.6), ("naive", 2.5))
    ]
    return pd.DataFrame(rows, columns=["panel", "size", "method", "ratio"])
