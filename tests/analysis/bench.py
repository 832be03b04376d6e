"""A small synthetic workbench that the tests of the analyses share."""

from __future__ import annotations

import dataclasses
from functools import lru_cache

from reclib import config
from reclib.analysis.workbench import Workbench

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


def profile(**changes: object) -> config.Profile:
    """The small profile with some fields changed."""
    return config.override(dataclasses.replace(PROFILE), **changes)
