"""Rec-PCA over λ and d: what it keeps, what it aligns, how it conditions, how far λ may go, and a placebo.

That Rec-PCA keeps semantic information and is penalised by total variation over a co-occurrence graph is
confirmed by the abstract of TF-LLMER; the objective, the measures and the placebo are derived by us (§4, §9).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from sklearn.decomposition import PCA

from reclib.analysis.tf_llmer.geometry import TABLES, uniform_condition, unit_rows
from reclib.data.cooccurrence import shuffled
from reclib.kernels.projection import RANK_TOLERANCE, InfeasibleError, safe_weight
from reclib.kernels.smoothness import edge_cosine, kernel_target_alignment, variation_ratio
from reclib.schema import InputError
from reclib.seeding import numpy_generator
from reclib.training.item_projection import ProjectionOptions, TextGeometry

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from reclib.analysis.tf_llmer.geometry import GeometryBench
    from reclib.artifacts import Artifact

OWN, PLACEBO = "training graph", "shuffled labels"
LIMITS = np.linspace(0.6, 1.6, 21)  # λ at which feasible dimensions are counted
MEASURES = ("retained_variance", "total_variation", "edge_cosine", "kernel_target_alignment", "kappa")


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """What is swept: λ at the backbone's width d, and d at the first λ and at `weight`."""

    weights: tuple[float, ...]
    widths: tuple[int, ...]
    weight: float
    d: int
    n_neighbours: int


def sweep_of(bench: GeometryBench) -> Artifact:
    """The step of a profile."""
    settings = bench.settings
    config = SweepConfig(
        weights=settings.weights,
        widths=settings.widths,
        weight=settings.weight,
        d=settings.backbone.d_model,
        n_neighbours=settings.n_neighbours,
    )
    return bench.artifact("rec_pca_sweep", sweep_step, config, upstream=bench.upstream, seed=0, bench=bench)


def sweep_step(config: SweepConfig, *, seed: int, workdir: Path, bench: GeometryBench) -> dict[str, Any]:
    """Tables "sweep" (a row a table, graph, d and λ), "limits", "oracle" and "cost".

    A projection that is not feasible has a row without numbers.
    """
    sweep, limits, oracle, cost = [], [], [], []
    for table in TABLES:
        own = bench.space(table)
        placebo = TextGeometry(
            bench.tables[table], shuffled(bench.graph, numpy_generator(seed, "placebo labels"))
        )
        plain = {d: pca_directions(own, d) for d in {config.d, *config.widths}}
        for graph, space in ((OWN, own), (PLACEBO, placebo)):
            for d, weight in settings_of(config, graph):
                measured = measures(space, own, plain[d], weight)
                sweep.append({"table": table, "graph": graph, "d": d, "weight": weight, **measured})
        cost.append({"table": table, **fit_cost(bench.tables[table], bench.graph, config.d, config.weight)})
        limits.append(feasible_dimensions(own).assign(table=table))
        oracle.append((table, config.d, overlap_with_scikit_learn(own, config.d)))
    return {
        "sweep": pd.DataFrame(sweep),
        "limits": pd.concat(limits, ignore_index=True)[["table", "weight", "dimensions", "safe_weight"]],
        "oracle": pd.DataFrame(oracle, columns=["table", "d", "overlap"]),
        "cost": pd.DataFrame(cost),
    }


def settings_of(config: SweepConfig, graph: str) -> Iterator[tuple[int, float]]:
    """The (d, λ) of one graph: every λ at the width in use; other widths on the graph itself alone."""
    for weight in config.weights:
        yield config.d, weight
    if graph == OWN:
        for d in config.widths:
            if d != config.d:
                yield from ((d, weight) for weight in dict.fromkeys((0.0, config.weight)))


def measures(space: TextGeometry, own: TextGeometry, plain: np.ndarray, weight: float) -> dict[str, float]:
    """Of a projection fitted to one graph, measured against the training graph.

    retained_variance, total_variation (ratio), edge_cosine, kernel_target_alignment, kappa (uniform p, unit
    rows), overlap (of the subspace with PCA's, `plain` (E, d)). All NaN where λ is not feasible.
    """
    assert own.graph is not None
    assert own.raw_graph is not None
    try:
        fitted = space.fit(plain.shape[1], ProjectionOptions(weight=weight, length="as_is"))
    except InputError as error:
        if not isinstance(error.__cause__, InfeasibleError):
            raise
        return dict.fromkeys((*MEASURES, "overlap"), float("nan"))
    rows = torch.from_numpy(fitted.table).double()
    return {
        "retained_variance": fitted.measures["retained_variance"],
        "total_variation": float(variation_ratio(own.graph, rows)),
        "edge_cosine": float(edge_cosine(own.raw_graph, rows)),
        "kernel_target_alignment": float(kernel_target_alignment(own.graph, rows)),
        "kappa": uniform_condition(unit_rows(fitted.table)),
        "overlap": subspace_overlap(fitted.projection.directions.numpy(), plain),
    }


def pca_directions(space: TextGeometry, d: int) -> np.ndarray:
    """Principal directions of the unit texts, (E, d)."""
    directions: np.ndarray = space.fit(d, ProjectionOptions(weight=0.0)).projection.directions.numpy()
    return directions


def fit_cost(text: np.ndarray, graph: csr_array, d: int, weight: float) -> dict[str, float]:
    """CPU seconds of Rec-PCA from texts and graph to the table, and the sizes that they depend on."""
    start = time.process_time()
    TextGeometry(text, graph).fit(d, ProjectionOptions(weight=weight))
    seconds = time.process_time() - start
    return {"n_items": len(text) - 1, "width": text.shape[1], "d": d, "edges": graph.nnz, "seconds": seconds}


def subspace_overlap(first: np.ndarray, second: np.ndarray) -> float:
    """‖Q₁ᵀQ₂‖²/d of the spans of two (E, d): 1 for one span, d/E on average at random."""
    one, two = np.linalg.qr(first)[0], np.linalg.qr(second)[0]
    return float(np.linalg.norm(one.T @ two) ** 2 / first.shape[1])


def feasible_dimensions(space: TextGeometry) -> pd.DataFrame:
    """How many eigenvalues of Σ − λT are positive over λ, the most dimensions there are; and 1/μ_max.

    Below the safe weight 1/μ_max all are.
    """
    covariance, roughness = space.moments
    safe = safe_weight(space.moments)
    rows = []
    for weight in LIMITS:
        values = torch.linalg.eigvalsh(covariance - float(weight) * roughness)
        largest = max(float(values[-1]), float(covariance.diagonal().mean()))
        rows.append((float(weight), int((values > RANK_TOLERANCE * largest).sum()), safe))
    return pd.DataFrame(rows, columns=["weight", "dimensions", "safe_weight"])


def overlap_with_scikit_learn(space: TextGeometry, d: int) -> float:
    """Overlap of the subspaces of λ = 0 and of scikit-learn's full PCA of the unit texts."""
    texts = space.text.numpy()
    unit = unit_rows(texts[texts.any(axis=1)])
    oracle = PCA(d, svd_solver="full").fit(unit).components_.T
    return subspace_overlap(pca_directions(space, d), oracle)
