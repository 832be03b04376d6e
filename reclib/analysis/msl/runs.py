"""Every run of the MSL paper's tables: a cell is a method and a seed, and its result the lists it gives.

The steps are those of `analysis.msl.steps` and `analysis.msl.preference`, so runs that a notebook has cached
are found again, and a cell can be computed by a notebook or by any worker that shares the cache.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

from reclib import artifacts
from reclib.analysis.msl import steps
from reclib.analysis.msl.preference import prefer_step, preferred_config
from reclib.analysis.workbench import Workbench
from reclib.artifacts import Artifact
from reclib.config import DataConfig, LMConfig, ObjectiveConfig, Profile
from reclib.config.msl_tables import TABLE_METHODS

REFERENCE, PREFERENCE = "lml", "sdpo"
METHODS = TABLE_METHODS
GetOrCompute = Callable[..., Artifact]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run: a method of METHODS, or any objective, under a seed.

    reference_seed: of the adapter that S-DPO starts from; None is the run's own
    """

    profile: Profile
    method: str | ObjectiveConfig
    seed: int
    reference_seed: int | None = None


def cells(profile: Profile) -> dict[tuple[str, int], Cell]:
    """Every method that a profile compares, under every seed."""
    return {
        (name, seed): Cell(profile=profile, method=name, seed=seed)
        for name in profile.msl_tables.methods
        for seed in profile.seeds
    }


def ranked(
    cell: Cell, artifact: GetOrCompute = artifacts.get_or_compute, *, bench: Workbench | None = None
) -> Artifact:
    """The held-out windows as `steps.held_out_step` ranks them with the cell's adapter."""
    bench = bench or workbench(cell.profile.data, cell.profile.lm, cell.profile.tune.max_tokens)
    adapter = tuned(cell, artifact, bench=bench)
    config = steps.held_out_config(cell.profile)
    return artifact(
        "held_out",
        steps.held_out_step,
        config,
        upstream=bench.upstream(adapter),
        seed=cell.profile.seeds[0],
        adapter=adapter,
        bench=bench,
    )


def tuned(cell: Cell, artifact: GetOrCompute, *, bench: Workbench) -> Artifact:
    """The cell's adapter. S-DPO goes on from the adapter of LML, on windows of its own number."""
    if cell.method != PREFERENCE:
        config = steps.tuned_config(cell.profile, cell.method)
        return artifact(
            "fine_tune",
            steps.fine_tune_step,
            config,
            upstream=bench.upstream(),
            seed=cell.seed,
            bench=bench,
        )
    own = cell.seed if cell.reference_seed is None else cell.reference_seed
    reference = tuned(replace(cell, method=REFERENCE, seed=own), artifact, bench=bench)
    preferred = preferred_config(cell.profile)
    n_windows = cell.profile.msl_tables.preference_windows
    return artifact(
        "prefer",
        prefer_step,
        replace(preferred, tune=replace(preferred.tune, n_windows=n_windows)),
        upstream=bench.upstream(reference),
        seed=cell.seed,
        reference=reference,
        bench=bench,
    )


@lru_cache(maxsize=2)
def workbench(data: DataConfig, lm: LMConfig, max_tokens: int) -> Workbench:
    """One workbench a process, for cells that bring none."""
    return Workbench(data, lm, max_tokens=max_tokens)
