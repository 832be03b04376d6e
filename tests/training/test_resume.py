"""A run that is killed goes on from its last checkpoint and ends as the run that was not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from reclib.config import ObjectiveConfig
from reclib.training.lm_trainer import fine_tune
from tests.training.toy import make_toy, tune_config


class Killed(TrainerCallback):
    """Kills this process, as nothing can catch, before a step of the training."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def train(workdir: Path, *, kill_at: int | None = None) -> pd.DataFrame:
    """Two epochs of eight steps with dropout and an adaptive temperature; a checkpoint every third step."""
    toy = make_toy(dtype="float32", dropout=0.1)
    config = tune_config(
        objective=ObjectiveConfig(name="msl", adaptive=True), epochs=2, save_every=3, trace_every=1
    )
    callbacks = [] if kill_at is None else [Killed(kill_at)]
    tables = fine_tune(
        toy.lm, toy.dataset, toy.trie, toy.items, config, seed=0, workdir=workdir, callbacks=callbacks
    )
    return tables["trace"]


def train_and_be_killed(workdir: Path, step: int) -> None:
    code = f"from tests.training.test_resume import *; train(Path({str(workdir)!r}), kill_at={step})"
    root = Path(__file__).parents[2]
    killed = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=root, capture_output=True, text=True
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr


def same(trace: pd.DataFrame, other: pd.DataFrame) -> bool:
    without_time = [table[table["name"] != "seconds"].reset_index(drop=True) for table in (trace, other)]
    return without_time[0].equals(without_time[1])


def test_a_killed_run_ends_as_a_straight_run(tmp_path: Path) -> None:
    straight, resumed = tmp_path / "straight", tmp_path / "resumed"
    trace = train(straight)
    train_and_be_killed(resumed, 5)  # in the first epoch, after the checkpoint at step 3
    train_and_be_killed(resumed, 11)  # in the second, after the one at step 9
    half = resumed / "checkpoints" / "checkpoint-12"  # as if it had been killed while saving
    half.mkdir()
    (half / "trainer_state.json").write_text("{")

    trace_of_the_rest = train(resumed)

    expected, found = (load_file(folder / "adapter.safetensors") for folder in (straight, resumed))
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, rtol=0, atol=1e-6)
    assert same(trace, trace_of_the_rest)


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    trace = train(tmp_path)
    weights = (tmp_path / "adapter.safetensors").read_bytes()
    assert same(trace, train(tmp_path, kill_at=0))
    assert (tmp_path / "adapter.safetensors").read_bytes() == weights
