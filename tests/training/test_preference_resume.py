"""A preference tuning that is interrupted goes on from its last checkpoint and ends as a straight run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from reclib.config import PreferenceConfig
from reclib.training.checkpoints import save_adapter
from reclib.training.preference import prefer
from tests.training.toy import make_toy, tune_config


class Interrupted(TrainerCallback):
    """Ends the training before one of its steps."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self.step:
            raise KeyboardInterrupt


def train(workdir: Path, *, until: int | None = None) -> pd.DataFrame:
    """Two epochs of eight steps with dropout; a checkpoint every third step."""
    toy = make_toy(dtype="float32", dropout=0.1)
    reference = workdir.parent / "reference.safetensors"
    save_adapter(toy.lm, reference)
    config = tune_config(epochs=2, save_every=3)
    callbacks = [] if until is None else [Interrupted(until)]
    preference = PreferenceConfig(beta=1.0, n_negatives=2)
    tables = prefer(
        toy.lm,
        toy.dataset,
        toy.trie,
        toy.items,
        config,
        preference,
        reference=reference,
        seed=0,
        workdir=workdir,
        callbacks=callbacks,
    )
    trace = tables["trace"]
    return trace[trace["name"] != "seconds"].reset_index(drop=True)


def test_an_interrupted_run_ends_as_a_straight_run(tmp_path: Path) -> None:
    straight = train(tmp_path / "straight")
    for step in (5, 11):  # in the first epoch, and in the second
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "resumed", until=step)
    resumed = train(tmp_path / "resumed")

    expected, found = (load_file(tmp_path / name / "adapter.safetensors") for name in ("straight", "resumed"))
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, rtol=0, atol=1e-6)
    pd.testing.assert_frame_equal(resumed, straight)
