"""A small made table for every figure of item tables' geometry."""

from __future__ import annotations

import numpy as np
import pandas as pd

TABLES = ("sentence", "lm_mean", "lm_last")


def distributions() -> pd.DataFrame:
    edges = np.linspace(0, 2, 21)
    parts = []
    for at, table in enumerate(TABLES):
        for series, width in (("text", 0.1 + 0.1 * at), ("pca", 0.2), ("rec_pca", 0.3)):
            share = np.exp(-(((edges[:-1] - 0.95) / width) ** 2))
            bins = {"low": edges[:-1], "high": edges[1:], "share": share / share.sum()}
            parts.append(pd.DataFrame({"table": table, "series": series, **bins}))
    return pd.concat(parts, ignore_index=True)


def formulas() -> pd.DataFrame:
    cone = [("(4)", x, a, 2 + 90 * a * x, 1.9 + 95 * a * x) for a in (0.2, 0.5, 0.8) for x in (0.1, 0.4, 0.8)]
    clusters = [
        ("(5)", float(k), a, 1 + 64 * a / k, 1 + 60 * a / k) for a in (0.5, 0.9) for k in (4, 8, 16, 32)
    ]
    columns = ["formula", "x", "series", "measured", "predicted"]
    return pd.DataFrame([*cone, *clusters], columns=columns)


def softmax() -> pd.DataFrame:
    rows = [
        (0.0, 7861.0, 1.4, 0.01),
        (0.2, 5240.0, 2.0, 0.2),
        (0.4, 544.0, 21.6, 1.43),
        (0.8, 2.0, 1.7e5, 0.65),
    ]
    return pd.DataFrame(rows, columns=["norm_cv", "n_effective", "kappa", "lambda_max_cv"])


def overlap() -> pd.DataFrame:
    rows = [
        (table, stage, value := 0.08 + 0.02 * at + 0.03 * place, value - 0.01, value + 0.01, 0.007)
        for at, table in enumerate(TABLES)
        for place, stage in enumerate(("text", "pca", "rec_pca"))
    ]
    return pd.DataFrame(rows, columns=["table", "stage", "value", "low", "high", "chance"])


def losses() -> pd.DataFrame:
    rows = [
        (start, epoch, 7.2 - 0.1 * (1 + at) * epoch**0.7)
        for at, start in enumerate(("shuffled", "plain", "aligned"))
        for epoch in (0, 1, 2, 4, 8, 16)
    ]
    return pd.DataFrame(rows, columns=["start", "epoch", "loss"])


def curvature() -> pd.DataFrame:
    rows = [
        (start, is_normalised, loss, measure, (1 + at) * (7.5 - loss) ** 2 / (1 + is_normalised) + 0.5)
        for measure in ("kappa", "lambda_max", "effective_rank", "lambda_max_cv")
        for at, start in enumerate(("random", "adapter", "pca", "rec_pca"))
        for is_normalised in (False, True)
        for loss in (7.4, 7.0, 6.5, 6.0 - 0.1 * at)
    ]
    return pd.DataFrame(rows, columns=["start", "normalised", "loss", "measure", "value"])


def sweep() -> pd.DataFrame:
    rows = [
        (table, series, x, measure, 0.5 + 0.1 * at + (0.2 * x if series == "training graph" else 0.0))
        for measure in ("retained_variance", "kappa", "kernel_target_alignment")
        for at, table in enumerate(TABLES)
        for series in ("training graph", "shuffled labels")
        for x in (0.0, 0.5, 0.9, 1.0, 1.1)
    ]
    return pd.DataFrame(rows, columns=["table", "series", "x", "measure", "value"])


def dimensions() -> pd.DataFrame:
    rows = [
        (table, weight, int(max(0, (400 + 80 * at) * (1.5 - weight))))
        for at, table in enumerate(TABLES)
        for weight in np.linspace(0.6, 1.6, 11).round(2).tolist()
    ]
    return pd.DataFrame(rows, columns=["table", "weight", "dimensions"])
