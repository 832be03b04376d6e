"""Whether texts cluster as users do, and whether training is faster where they do, at one spectrum.

That angular clusters of semantics and of collaboration are misaligned is confirmed by the abstract of
TF-LLMER; overlap, KTA and the comparison at one spectrum are derived by us (§3.6, statement 5 of §9).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from reclib.analysis.tf_llmer.geometry import LM_MEAN, uniform_condition
from reclib.analysis.tf_llmer.geometry_norms import StageConfig, stage_config, stages
from reclib.analysis.tf_llmer.geometry_starts import (
    ALIGNED,
    ONE_SPECTRUM,
    PLAIN,
    one_spectrum,
    spectrum_difference,
)
from reclib.analysis.tf_llmer.geometry_training import CONTEXT, EPOCH, LOSS, GeometryRun
from reclib.analysis.tf_llmer.misalignment import neighbour_overlap
from reclib.evaluation.statistics import bootstrap_interval, paired_bootstrap
from reclib.kernels.smoothness import edge_cosine, kernel_target_alignment, variation_ratio
from reclib.seeding import numpy_generator

if TYPE_CHECKING:
    from reclib.analysis.tf_llmer.geometry import GeometryBench
    from reclib.artifacts import Artifact
    from reclib.config import Profile


def clusters_of(bench: GeometryBench) -> Artifact:
    """The step of a profile."""
    config = stage_config(bench)
    return bench.artifact(
        "geometry_clusters", cluster_step, config, upstream=bench.upstream, seed=0, bench=bench
    )


def cluster_step(config: StageConfig, *, seed: int, workdir: Path, bench: GeometryBench) -> dict[str, Any]:
    """Tables "overlap" (table, stage, value, low, high, chance) and "starts" (`start_table`)."""
    rows = []
    for table, stage, vectors in stages(bench, config):
        overlap = neighbour_overlap(vectors, bench.graph, k=config.n_neighbours)
        overlap = overlap[~np.isnan(overlap)]
        generator = numpy_generator(seed, "resampled items")
        low, high = bootstrap_interval(overlap, generator=generator, n_resamples=config.bootstrap)
        chance = config.n_neighbours / (int(vectors.any(axis=1).sum()) - 1)
        rows.append((table, stage, float(overlap.mean()), float(low), float(high), chance))
    columns = ["table", "stage", "value", "low", "high", "chance"]
    return {"overlap": pd.DataFrame(rows, columns=columns), "starts": start_table(bench, config.weight)}


def start_table(bench: GeometryBench, weight: float, table: str = LM_MEAN) -> pd.DataFrame:
    """What the three starts of one spectrum are: start, then numbers of the table.

    spectrum_difference: of singular values to the plain one, relative; kappa: under a uniform p;
    kernel_target_alignment, edge_cosine, total_variation (ratio): against the training graph.
    """
    tables, space = one_spectrum(bench, table, weight=weight), bench.space(table)
    assert space.graph is not None
    assert space.raw_graph is not None
    rows = []
    for start, vectors in tables.items():
        values = torch.from_numpy(vectors).double()
        rows.append(
            {
                "start": start,
                "spectrum_difference": spectrum_difference(vectors, tables[PLAIN]),
                "kappa": uniform_condition(vectors),
                "kernel_target_alignment": float(kernel_target_alignment(space.graph, values)),
                "edge_cosine": float(edge_cosine(space.raw_graph, values)),
                "total_variation": float(variation_ratio(space.graph, values)),
            }
        )
    return pd.DataFrame(rows)


def cluster_runs(profile: Profile) -> list[GeometryRun]:
    """The three starts of one spectrum, normalised, on the LM's mean-pooled table."""
    return [
        GeometryRun(start=start, table=LM_MEAN, is_normalised=True, seed=seed)
        for start in ONE_SPECTRUM
        for seed in profile.seeds
    ]


def loss_curves(trained: Mapping[GeometryRun, Artifact]) -> pd.DataFrame:
    """Training loss over epochs, without dropout: start, epoch, loss; means over the seeds."""
    parts = [
        run["contexts"].groupby(EPOCH, as_index=False)[LOSS].mean().assign(start=each.start)
        for each, run in trained.items()
    ]
    table = pd.concat(parts).groupby(["start", EPOCH], sort=False, as_index=False)[LOSS].mean()
    return table[["start", EPOCH, LOSS]]


def loss_differences(trained: Mapping[GeometryRun, Artifact], *, n_resamples: int) -> pd.DataFrame:
    """Training loss of each start minus that of the plain one, with 95 % intervals over windows and seeds.

    At every kept epoch: start, epoch, difference, low, high. The same windows and seeds for both.
    """
    losses: dict[str, list[pd.DataFrame]] = {}
    for each, run in trained.items():
        wide = run["contexts"].pivot(index=EPOCH, columns=CONTEXT, values=LOSS)
        losses.setdefault(each.start, []).append(wide)
    rows = []
    for start in losses:
        if start == PLAIN:
            continue
        for epoch in losses[start][0].index:
            ours, theirs = (
                np.stack([wide.loc[epoch].to_numpy() for wide in losses[name]]) for name in (start, PLAIN)
            )
            found = paired_bootstrap(
                ours, theirs, generator=numpy_generator(0, "loss differences"), n_resamples=n_resamples
            )
            rows.append((start, int(epoch), found.mean, found.low, found.high))
    return pd.DataFrame(rows, columns=["start", EPOCH, "difference", "low", "high"])


def last_difference(differences: pd.DataFrame, start: str = ALIGNED) -> pd.Series:
    """The row of a start at the last epoch."""
    return differences[differences["start"] == start].sort_values(EPOCH).iloc[-1]
