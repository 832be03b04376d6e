"""A small made table for every figure of sequence recommenders."""

from __future__ import annotations

import numpy as np
import pandas as pd

from reclib.analysis.sequence_cells import ABLATIONS, BACKBONES, METHODS

GROUP_LABELS = ("1–4", "5–9", "10–19", "20–49", "≥50")


def grid() -> pd.DataFrame:
    rows = [
        (dataset, "sasrec", method, "NDCG", 10, group, value := 0.03 + 0.002 * at - shift, value - 0.003)
        for dataset, shift in (("ml-100k", 0.0), ("synthetic", 0.01))
        for group in ("all", "tail")
        for at, method in enumerate([*METHODS, "popularity"])
    ]
    columns = ["dataset", "backbone", "method", "metric", "k", "group", "value", "low"]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(high=2 * table["value"] - table["low"], n=900, k=table["k"].astype("Int64"))


def ablation() -> pd.DataFrame:
    rows = [
        ("ml-100k", backbone, method, metric, pd.NA, "tail", 0.2 - 0.01 * at)
        for backbone, metric in (("sasrec", "overlap"), ("fmlp", "overlap"))
        for at, method in enumerate(["faerec", *ABLATIONS])
    ]
    table = pd.DataFrame(rows, columns=["dataset", "backbone", "method", "metric", "k", "group", "value"])
    return table.assign(low=np.nan, high=np.nan, k=table["k"].astype("Int64"))


def by_popularity() -> pd.DataFrame:
    rows = [
        (dataset, method, "NDCG", 10, group, value := (at + 1) * 0.01 + 0.002 * len(method), value * 0.8, n)
        for dataset in ("ml-100k", "synthetic")
        for method in ("base", "loam", "rlmrec_con", "faerec")
        for at, (group, n) in enumerate(zip(GROUP_LABELS, (1, 32, 156, 1135, 15_719), strict=True))
    ]
    columns = ["dataset", "method", "metric", "k", "group", "value", "low", "n"]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(high=2 * table["value"] - table["low"], k=table["k"].astype("Int64"))


def sweep() -> pd.DataFrame:
    settings = {"redundancy": (0.001, 0.005, 0.01, 0.05, 0.1), "alignment": (0.1, 0.2, 0.3, 0.4, 0.5)}
    rows = [
        (
            "ml-100k",
            parameter,
            setting,
            method,
            "HR",
            10,
            0.07 - 0.01 * (method == "base") - 0.01 * at**2 / 16,
        )
        for parameter, values in settings.items()
        for method, points in (("base", (np.nan,)), ("faerec", values))
        for at, setting in enumerate(points, start=-2)
    ]
    columns = ["dataset", "parameter", "setting", "method", "metric", "k", "value"]
    table = pd.DataFrame(rows, columns=columns)
    ends = {"low": table["value"] - 0.004, "high": table["value"] + 0.004}
    return table.assign(**ends, k=table["k"].astype("Int64"))


def spaces() -> pd.DataFrame:
    generator = np.random.default_rng(0)
    parts = []
    for at, method in enumerate(("llminit", "llm_esr", "rlmrec_con", "faerec")):
        for space in ("id", "llm"):
            points = generator.normal(size=(60, 2)) + (3 - at) * (space == "llm")
            parts.append(pd.DataFrame(points, columns=["x", "y"]).assign(method=method, space=space))
    return pd.concat(parts, ignore_index=True)


def cost() -> pd.DataFrame:
    n = len(BACKBONES)
    value = np.linspace(0.05, 0.08, n)
    return pd.DataFrame(
        {
            "method": BACKBONES,
            "seconds": np.geomspace(3, 80, n),
            "metric": "NDCG",
            "k": pd.array([10] * n, dtype="Int64"),
            "value": value,
            "low": value - 0.01,
            "high": value + 0.01,
        }
    )
