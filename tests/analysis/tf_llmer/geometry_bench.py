"""A small bench that the tests of the geometry study share."""

from __future__ import annotations

from functools import lru_cache

from reclib import config
from reclib.analysis.tf_llmer.geometry import GeometryBench
from reclib.analysis.tf_llmer.geometry_training import GeometryRun

PROFILE = config.override(
    config.SMOKE,
    **{
        "sequence.data.synthetic.n_users": 80,
        "sequence.data.synthetic.n_items": 40,
        "geometry.weights": (0.0, 0.3, 0.6),
        "geometry.weight": 0.6,
        "geometry.widths": (4, 8, 16),
        "geometry.epochs_kept": (0, 1, 2),
        "geometry.train.epochs": 2,
        "geometry.n_contexts": 12,
        "geometry.bootstrap": 50,
    },
)


@lru_cache
def bench() -> GeometryBench:
    return GeometryBench(PROFILE)


def run(start: str, *, is_normalised: bool = True, seed: int = 0) -> GeometryRun:
    return GeometryRun(start=start, table="lm_mean", is_normalised=is_normalised, seed=seed)
