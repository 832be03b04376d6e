"""S-DPO as a cached step: an adapter tuned with LML, tuned on by preference.

The result is an adapter like those of `steps`, so `steps.held_out_step` ranks held-out windows with it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reclib.analysis.msl.steps import tuned_config
from reclib.analysis.workbench import Workbench
from reclib.artifacts import Artifact
from reclib.config import DataConfig, LMConfig, PreferenceConfig, Profile, TuneConfig
from reclib.training.checkpoints import ADAPTER_FILE
from reclib.training.lm_trainer import drop_training_state
from reclib.training.preference import prefer


@dataclass(frozen=True, kw_only=True)
class PreferredConfig:
    """What an adapter tuned by preference depends on, beside its seed and its reference."""

    data: DataConfig
    lm: LMConfig
    tune: TuneConfig
    preference: PreferenceConfig = field(default_factory=PreferenceConfig)


def preferred_config(profile: Profile, **preference: Any) -> PreferredConfig:
    """Configuration of S-DPO in a profile, tuned as its reference was; `preference` changes its fields."""
    of_reference = tuned_config(profile, "lml")
    return PreferredConfig(
        data=of_reference.data,
        lm=of_reference.lm,
        tune=of_reference.tune,
        preference=PreferenceConfig(**preference),
    )


def prefer_step(
    config: PreferredConfig, *, seed: int, workdir: Path, bench: Workbench, reference: Artifact
) -> dict[str, Any]:
    """Tune the reference's adapter on by S-DPO, kept as `adapter.safetensors`; "trace" is what was logged.

    reference: the artifact of `steps.fine_tune_step` under "lml"; it belongs to the step's `upstream`.
    """
    found = prefer(
        bench.fresh_lm(seed=seed),
        bench.dataset,
        bench.trie,
        bench.item_tokens,
        config.tune,
        config.preference,
        reference=reference.path / ADAPTER_FILE,
        seed=seed,
        workdir=workdir,
    )
    drop_training_state(workdir)
    return found
