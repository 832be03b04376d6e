"""A small made table for every figure of sharpness-aware training."""

from __future__ import annotations

import numpy as np
import pandas as pd

from reclib.analysis.eisam.cells import METHODS


def trade_off() -> pd.DataFrame:
    rows = []
    for dataset in ("ml_1m", "msl_toy"):
        for at, method in enumerate(METHODS[1:]):
            overall, tail = 0.001 * (2 - at), 0.0008 * at - 0.002
            rows.append(
                (dataset, method, "NDCG", 10, overall, overall - 0.001, overall + 0.001)
                + (tail, tail - 0.0015, tail + 0.0015)
            )
    sides = [f"{side}{end}" for side in ("overall", "tail") for end in ("", "_low", "_high")]
    return pd.DataFrame(rows, columns=["dataset", "method", "metric", "k", *sides]).astype({"k": "Int64"})


def deciles() -> pd.DataFrame:
    rows = [
        (method, decile, 20, 400.0 / decile**2, value := 0.01 * decile * scale, value * 0.8, value * 1.2)
        for method, scale in (("erm", 1.0), ("sam", 0.9), ("eisam", 0.7))
        for decile in range(1, 11)
    ]
    return pd.DataFrame(rows, columns=["method", "decile", "items", "count", "value", "low", "high"])


def lines() -> pd.DataFrame:
    rows = [
        (method, group, direction, distance, scale * distance**2 + slope * distance)
        for method, scale in (("erm", 0.3), ("sam", 0.25), ("eisam", 0.2))
        for direction, slope in (("ascent", 0.4), ("random", 0.0))
        for group in ("head", "tail")
        for distance in np.linspace(-1, 1, 11).tolist()
    ]
    return pd.DataFrame(rows, columns=["method", "group", "direction", "distance", "rise"])


def sensitivity() -> pd.DataFrame:
    rows = []
    for group, level in (("all", 0.05), ("tail", 0.02)):
        for parameter, settings in (
            ("radius", (0.02, 0.05, 0.2)),
            ("penalty", (0.4, 0.8)),
            ("gamma", (0.0, 0.5, 1.0)),
        ):
            rows.append((parameter, np.nan, "erm", "NDCG", 10, group, level, level - 0.002, level + 0.002))
            for setting in settings:
                value = level * (1 + 0.1 * setting)
                rows.append((parameter, setting, "eisam", "NDCG", 10, group, value, value * 0.9, value * 1.1))
    columns = ["parameter", "setting", "method", "metric", "k", "group", "value", "low", "high"]
    return pd.DataFrame(rows, columns=columns).astype({"k": "Int64"})
