"""The MSL study as cached steps: fine-tune by a named objective, then rank and look at held-out windows.

Each step is a pure function of its configuration; the workbench it is handed only saves loading twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reclib.analysis.msl.gradients import GradientProbe, position_weights
from reclib.analysis.workbench import DATA_SEED, Workbench
from reclib.artifacts import Artifact
from reclib.config import DataConfig, DecodingConfig, LMConfig, ObjectiveConfig, Profile, TuneConfig
from reclib.data.dataset import Windows
from reclib.decoding.recommend import recommend
from reclib.evaluation.ranks import ranks_from_lists
from reclib.seeding import numpy_generator
from reclib.training.collate import WindowCollator
from reclib.training.likelihood import catalogue_log_likelihood
from reclib.training.lm_trainer import drop_training_state, fine_tune

FIXED_TEMPERATURE = 2.0  # ours: inside the clamp [1.5, 5] of the adaptive strategy
N_PROBES = 8  # measurements of the gradients in one training
PROBE_WINDOWS = 8
WEIGHTS_WINDOWS = 64

METHODS: dict[str, ObjectiveConfig] = {
    "lml": ObjectiveConfig(name="lml"),
    "msl": ObjectiveConfig(name="msl"),
    "msl_temperature": ObjectiveConfig(name="msl", temperature=FIXED_TEMPERATURE),
    "msl_ats": ObjectiveConfig(name="msl", temperature=FIXED_TEMPERATURE, adaptive=True),
}


@dataclass(frozen=True, kw_only=True)
class TunedConfig:
    """What one fine-tuned adapter depends on, beside its seed.

    probe_every: optimisation steps between two measurements of both parts' gradients, 0 for none
    """

    data: DataConfig
    lm: LMConfig
    tune: TuneConfig
    probe_every: int


@dataclass(frozen=True, kw_only=True)
class HeldOutConfig:
    """Which held-out windows are ranked, and how; `part` is "test" or "valid"."""

    data: DataConfig
    lm: LMConfig
    decoding: DecodingConfig
    n_windows: int
    max_tokens: int
    part: str = "test"


def tuned_config(profile: Profile, method: str | ObjectiveConfig) -> TunedConfig:
    """Configuration of a method of `METHODS`, or of any objective, in a profile.

    Gradients are probed while LML is optimised only, as [MSL] Fig. 3 shows them.
    """
    objective = METHODS[method] if isinstance(method, str) else method
    tune = replace(profile.tune, objective=objective)
    n_steps = max(1, tune.n_windows // tune.batch_size) * tune.epochs
    probe_every = max(1, n_steps // N_PROBES) if objective.name == "lml" else 0
    return TunedConfig(data=profile.data, lm=profile.lm, tune=tune, probe_every=probe_every)


def temperature_grid(profile: Profile) -> dict[str, ObjectiveConfig]:
    """MSL at each temperature of the profile, under the names of `METHODS` where they have one; and ATS."""
    fixed = {method: METHODS[method] for method in ("msl", "msl_temperature")}
    known = {objective.temperature: method for method, objective in fixed.items()}
    grid = {known.get(tau, f"msl_{tau:g}"): tau for tau in profile.msl_tables.grid_temperatures}
    objectives = {name: ObjectiveConfig(name="msl", temperature=tau) for name, tau in grid.items()}
    return {**objectives, "msl_ats": METHODS["msl_ats"]}


def held_out_config(profile: Profile, *, n_windows: int | None = None, **decoding: Any) -> HeldOutConfig:
    """Configuration of the test windows of a profile; `decoding` changes fields of its DecodingConfig."""
    return HeldOutConfig(
        data=profile.data,
        lm=profile.lm,
        decoding=replace(profile.decoding, **decoding),
        n_windows=n_windows or profile.evaluation.n_windows,
        max_tokens=profile.tune.max_tokens,
    )


def fine_tune_step(config: TunedConfig, *, seed: int, workdir: Path, bench: Workbench) -> dict[str, Any]:
    """Fine-tune an adapter, kept as `adapter.safetensors`; the table "trace" holds what was logged.

    All methods monitor 𝓛, 𝓛¹ and 𝓛² of their training batches, so that they can be compared.
    """
    lm = bench.fresh_lm(seed=seed)
    probes = []
    if config.probe_every:
        train = bench.dataset.train
        chosen = numpy_generator(DATA_SEED, "probe").choice(
            len(train), min(PROBE_WINDOWS, len(train)), replace=False
        )
        probes.append(GradientProbe(lm, all_positions(bench, train.take(chosen)), every=config.probe_every))
    found = fine_tune(
        lm,
        bench.dataset,
        bench.trie,
        bench.item_tokens,
        config.tune,
        seed=seed,
        workdir=workdir,
        callbacks=probes,
        monitor=True,
    )
    drop_training_state(workdir)
    return found


def held_out_step(
    config: HeldOutConfig, *, seed: int, workdir: Path, bench: Workbench, adapter: Artifact | None
) -> dict[str, Any]:
    """Recommend to held-out windows, and find each target's rank and probability.

    Returns "windows" (window, target_idx, rank, catalogue_nll) and "lists" (window, rank, item_idx, score).
    """
    windows = bench.held_out(config.n_windows, part=config.part)
    prompts = bench.prompts(windows)
    lm = bench.with_adapter(adapter)
    lists = recommend(lm, prompts, bench.trie, config.decoding, workdir=workdir)
    nll = catalogue_log_likelihood(lm, prompts, windows.target_idx, bench.trie, bench.item_tokens)
    table = pd.DataFrame(
        {
            "window": np.arange(len(windows)),
            "target_idx": windows.target_idx,
            "rank": ranks_from_lists(lists.items, windows.target_idx),
            "catalogue_nll": nll,
        }
    )
    return {"windows": table, "lists": lists.table()}


def weights_step(
    config: HeldOutConfig, *, seed: int, workdir: Path, bench: Workbench, adapter: Artifact | None
) -> dict[str, Any]:
    """Table "weights" of the target positions of held-out windows; see `gradients.position_weights`."""
    windows = bench.held_out(config.n_windows, part=config.part)
    lm = bench.with_adapter(adapter)
    return {"weights": position_weights(lm, all_positions(bench, windows))}


def all_positions(bench: Workbench, windows: Windows) -> Mapping[str, Any]:
    """One batch of some windows with every target position, forced ones included."""
    collator = WindowCollator(bench.trie, bench.item_tokens, needs_forced=True, device=bench.device)
    return collator.batch(bench.prompts(windows), windows.target_idx)
