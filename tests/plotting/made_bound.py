"""Made tables for the figures of the MSL paper's lemmas and tables."""

from __future__ import annotations

import numpy as np
import pandas as pd


def bound() -> pd.DataFrame:
    window = np.arange(40)
    ndcg = np.log(np.log2(2 + window**1.8))
    parts = []
    for model, scale in (("untuned", 1.3), ("msl", 1.0)):
        for method, more in (("msl", 0.0), ("lml", 4.0)):
            value = scale * (ndcg + 3 + 2 * np.sin(window) + more + 0.5)
            parts.append(
                pd.DataFrame(
                    {
                        "model": model,
                        "window": window,
                        "minus_log_ndcg": ndcg,
                        "method": method,
                        "value": value,
                    }
                )
            )
    return pd.concat(parts, ignore_index=True)


def distances() -> pd.DataFrame:
    n_valid = np.array([4.0, 14.0, 60.0, 440.0])
    parts = []
    for method, scale in (("untuned", 1.0), ("msl", 1.3)):
        distance = scale * 0.5 / np.sqrt(n_valid) + 0.03
        ends = {"low": 0.8 * distance, "high": 1.3 * distance}
        parts.append(pd.DataFrame({"method": method, "n_valid": n_valid, "distance": distance, **ends}))
    return pd.concat(parts, ignore_index=True)


def roots() -> pd.DataFrame:
    exact = np.geomspace(0.2, 8, 25)
    parts = []
    for method in ("untuned", "msl"):
        for branch, factor in (("falling", 1.2), ("rising", 0.7)):
            lemma = factor * exact * (1 + 0.2 * np.sin(9 * exact))
            parts.append(pd.DataFrame({"method": method, "branch": branch, "exact": exact, "lemma": lemma}))
    return pd.concat(parts, ignore_index=True)


def seeds() -> pd.DataFrame:
    rows = [
        (method, seed, "NDCG", 10, mean + spread * np.sin(3 * seed))
        for method, mean, spread in (("lml", 0.2, 0.01), ("sdpo", 0.22, 0.02), ("msl_ats", 0.27, 0.004))
        for seed in range(5)
    ]
    return pd.DataFrame(rows, columns=["method", "seed", "metric", "k", "value"])


def cost() -> pd.DataFrame:
    rows = [
        (method, cost, amount, "NDCG", 10, value, value - 0.004, value + 0.005)
        for cost, scale in (("seconds", 100.0), ("memory", 400.0))
        for method, amount, value in (
            ("lml", scale, 0.010),
            ("sdpo", 2.4 * scale, 0.011),
            ("msl", 0.9 * scale, 0.013),
        )
    ]
    return pd.DataFrame(rows, columns=["method", "cost", "amount", "metric", "k", "value", "low", "high"])


def learning_curve() -> pd.DataFrame:
    rows = [
        (method, n, "NDCG", 10, value, 0.8 * value, 1.2 * value)
        for at, method in enumerate(("lml", "msl", "msl_ats"))
        for n, value in ((64, 0.02 + 0.01 * at), (128, 0.04 + 0.01 * at), (512, 0.07 + 0.015 * at))
    ]
    columns = ["method", "windows", "metric", "k", "value", "low", "high"]
    return pd.DataFrame(rows, columns=columns).astype({"k": "Int64"})
