"""Norms and angles of text tables, and what is left of their disparity after centring and projection.

That norms differ widely and that angles cluster apart from collaboration is confirmed by the abstract of
TF-LLMER; the thresholds and measures are ours (§3.3, §9 of our specification).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from reclib.analysis.tf_llmer.curvature import norm_summary
from reclib.analysis.tf_llmer.geometry import LM_TABLES, TABLES, uniform_condition, unit_rows
from reclib.kernels.curvature import cone_condition, cone_ratio
from reclib.kernels.neighbours import nearest_by_cosine
from reclib.seeding import numpy_generator
from reclib.training.item_projection import ProjectionOptions, TextGeometry

if TYPE_CHECKING:
    from reclib.analysis.tf_llmer.geometry import GeometryBench
    from reclib.artifacts import Artifact

RAW, REDUCED, REC_PCA = "text", "pca", "rec_pca"  # stages of a table
N_BINS = 40
EQUAL = 1e-6  # norm cv that float32 leaves of equal norms
COSINE_BINS = np.linspace(-1, 1, 161)
N_PAIRS = 20_000  # of all pairs of items, drawn


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """Width and λ of the projected tables, K neighbours, and the resamples of intervals."""

    width: int
    weight: float
    n_neighbours: int
    bootstrap: int


def stage_config(bench: GeometryBench) -> StageConfig:
    """The settings of a profile."""
    settings = bench.settings
    return StageConfig(
        width=settings.backbone.d_model,
        weight=settings.weight,
        n_neighbours=settings.n_neighbours,
        bootstrap=settings.bootstrap,
    )


def norms_of(bench: GeometryBench) -> Artifact:
    """The step of a profile."""
    config = stage_config(bench)
    return bench.artifact("geometry_norms", norm_step, config, upstream=bench.upstream, seed=0, bench=bench)


def norm_step(config: StageConfig, *, seed: int, workdir: Path, bench: GeometryBench) -> dict[str, Any]:
    """Tables "summary" (a row a table and stage), "lengths" and "cosines" (histograms)."""
    rows, lengths, cosines = [], [], []
    for table, stage, vectors in stages(bench, config):
        rows.append({"table": table, "stage": stage} | _summary(vectors, config, seed))
        lengths.append(length_histogram(vectors).assign(table=table, stage=stage))
        cosines.append(_cosines(bench, table, vectors, config, seed).assign(table=table, stage=stage))
    ordered = ["table", "stage", "low", "high", "share"]
    return {
        "summary": pd.DataFrame(rows),
        "lengths": pd.concat(lengths, ignore_index=True)[ordered],
        "cosines": pd.concat(cosines, ignore_index=True)[[*ordered[:2], "pairs", *ordered[2:]]],
    }


def stages(bench: GeometryBench, config: StageConfig) -> Iterator[tuple[str, str, np.ndarray]]:
    """Each text table as it is, by PCA of the centred texts, and by Rec-PCA of unit texts; (N+1, ·).

    "pca" takes the texts at their own lengths, as an item table that starts from them does: it is what
    enters the softmax. "rec_pca" scales them to length one first (§4.3).
    """
    plain = ProjectionOptions(method="pca", length="as_is")
    aligned = ProjectionOptions(weight=config.weight, length="as_is")
    for table in TABLES:
        text = bench.tables[table]
        yield table, RAW, text
        yield table, REDUCED, TextGeometry(text, None, is_unit=False).fit(config.width, plain).table
        yield table, REC_PCA, bench.space(table).fit(config.width, aligned).table


def _summary(vectors: np.ndarray, config: StageConfig, seed: int) -> dict[str, float]:
    """Norms and angles with intervals, κ under a uniform p, and what formula (4) makes of them."""
    rows = vectors[vectors.any(axis=1)].astype(np.float64)
    found = norm_summary(rows)
    return {
        "width": rows.shape[1],
        **found,
        **_intervals(rows, config.bootstrap, seed),
        "kappa": uniform_condition(vectors),
        "kappa_unit": uniform_condition(unit_rows(vectors)),
        "kappa_formula": _predicted(rows, found),
    }


def _predicted(rows: np.ndarray, found: dict[str, float]) -> float:
    """κ by formula (4) if these norms and this mean cosine were all there is to the rows; NaN for E ≥ N."""
    n_items, width = rows.shape
    length = np.linalg.norm(rows, axis=1)
    q = cone_ratio(
        width=width,
        mean_cosine=max(0.0, found["mean_cosine"]),
        mean_norm=float(length.mean()),
        norm_std=float(length.std()) if found["norm_cv"] > EQUAL else 0.0,
    )
    return cone_condition(q, width=width, n_items=n_items) if width < n_items else float("nan")


def _intervals(rows: np.ndarray, n_resamples: int, seed: int) -> dict[str, float]:
    """95 % bootstrap intervals over items of the norm cv and the mean cosine."""
    generator = numpy_generator(seed, "resampled items")
    length = np.linalg.norm(rows, axis=1)
    units, n_items = rows / length[:, None], len(rows)
    found = []
    for _ in range(n_resamples):
        times = np.bincount(generator.integers(n_items, size=n_items), minlength=n_items)
        mean = times @ length / n_items
        spread = np.sqrt(times @ np.square(length - mean) / n_items)
        same = np.square(times).sum()  # an item drawn twice is no pair of different items
        cosine = (np.square(times @ units).sum() - same) / (n_items**2 - same)
        found.append((spread / mean, cosine))
    low, high = np.quantile(found, (0.025, 0.975), axis=0)
    return {
        "norm_cv_low": float(low[0]),
        "norm_cv_high": float(high[0]),
        "mean_cosine_low": float(low[1]),
        "mean_cosine_high": float(high[1]),
    }


def length_histogram(vectors: np.ndarray) -> pd.DataFrame:
    """Lengths over their mean: low, high, share of the items."""
    length = np.linalg.norm(vectors, axis=1)
    length = length[length > 0] / length[length > 0].mean()
    edges = np.linspace(0, max(2.0, float(length.max()) * 1.001), N_BINS + 1)
    return _histogram(length, edges)


def _cosines(
    bench: GeometryBench, table: str, vectors: np.ndarray, config: StageConfig, seed: int
) -> pd.DataFrame:
    """Cosines of all pairs, of the nearest texts, and of items that users take together."""
    units = unit_rows(vectors)
    parts = []
    for pairs, (first, second) in item_pairs(bench, table, config.n_neighbours, seed).items():
        cosine = np.einsum("nd,nd->n", units[first], units[second])
        parts.append(_histogram(cosine.clip(-1, 1), COSINE_BINS).assign(pairs=pairs))
    return pd.concat(parts, ignore_index=True)


def item_pairs(
    bench: GeometryBench, table: str, n_neighbours: int, seed: int
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Pairs of items with a text: "all" (drawn), "nearest" texts of this table, "together" in training."""
    text = bench.tables[table]
    there = np.flatnonzero(text.any(axis=1))
    drawn = numpy_generator(seed, "pairs of items").choice(there, (N_PAIRS, 2))
    drawn = drawn[drawn[:, 0] != drawn[:, 1]]
    near = nearest_by_cosine(torch.from_numpy(text[there]), n_neighbours).numpy()
    edges = bench.graph.tocoo()
    joined = (edges.row < edges.col) & np.isin(edges.row, there) & np.isin(edges.col, there)
    return {
        "all": (drawn[:, 0], drawn[:, 1]),
        "nearest": (np.repeat(there, near.shape[1]), there[near.ravel()]),
        "together": (edges.row[joined], edges.col[joined]),
    }


def _histogram(values: np.ndarray, edges: np.ndarray) -> pd.DataFrame:
    share = np.histogram(values, edges)[0] / max(1, len(values))
    return pd.DataFrame({"low": edges[:-1], "high": edges[1:], "share": share})


def of_lm(summary: pd.DataFrame, stage: str) -> pd.DataFrame:
    """The rows of the causal LM's tables at one stage."""
    return summary[summary["table"].isin(LM_TABLES) & (summary["stage"] == stage)]
