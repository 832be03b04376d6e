"""A small synthetic workbench that the tests of the analyses share."""

from __future__ import annotations

import dataclasses
from functools import lru_cache

from reclib import config
from reclib.analysis.workbench import Workbench
from reclib.artifacts import Artifact

PROFILE = config.override(
    config.SMOKE,
    **{
        "data.synthetic.n_users": 80,
        "data.synthetic.n_items": 40,
        "tune.n_windows": 16,
        "tune.batch_size": 8,
        "lm.lora_dropout": 0.0,
        "evaluation.n_windows": 12,
    },
)


@lru_cache
def workbench() -> Workbench:
    """One workbench for a test session; tests leave its adapter as they like."""
    return Workbench.of(PROFILE)


TUNED_FILES = {"adapter.safetensors", "objective.json", "provenance.json", "results.json", "trace.parquet"}


def kept_files(artifact: Artifact) -> set[str]:
    """Names of the files of a result, those in its folders too."""
    return {path.name for path in artifact.path.rglob("*") if path.is_file()}


def profile(**changes: object) -> config.Profile:
    """The small profile with some fields changed."""
    return config.override(dataclasses.replace(PROFILE), **changes)
