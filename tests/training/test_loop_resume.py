"""A training that is killed goes on from its checkpoint and ends as the one that was not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import Tensor

from reclib.evaluation.full_ranking import validation_ndcg
from reclib.models.sequence_model import SequenceModel
from reclib.training.loop import Batch, Context, fit
from reclib.training.sequence_checkpoints import load_optimiser, optimiser_state
from tests.training.sequence_toy import dataset, make_model, train_config


def train(workdir: Path, *, kill_at: int = -1, device: str = "cpu") -> tuple[Tensor, pd.DataFrame, int]:
    """Six epochs of four steps with dropout and negatives; killed, as nothing can catch, before a step."""

    def term(model: SequenceModel, batch: Batch, context: Context) -> tuple[Tensor, dict[str, Tensor]]:
        if context.step == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        noise = torch.rand((), generator=context.generator)
        return noise * model.item_matrix().square().mean(), {"noise": noise}

    fitted = fit(
        make_model().to(device),
        dataset().train,
        train_config(epochs=6, learning_rate=3e-2),
        validate=validation_ndcg(dataset()),
        seed=0,
        workdir=workdir,
        extra_terms=[term],
    )
    weights = torch.cat([weight.detach().flatten() for weight in fitted.model.parameters()])
    return weights, fitted.trace, fitted.best_epoch


def train_and_be_killed(workdir: Path, step: int, *, device: str = "cpu") -> None:
    code = (
        f"from tests.training.test_loop_resume import *; from reclib.training import loop; "
        f"loop.SECONDS_BETWEEN_CHECKPOINTS = 0.0; "
        f"train(Path({str(workdir)!r}), kill_at={step}, device={device!r})"
    )
    root = Path(__file__).parents[2]
    killed = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=root, capture_output=True, text=True
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr


def steady(trace: pd.DataFrame) -> pd.DataFrame:
    return trace[~trace["name"].isin(["seconds", "windows_per_second"])].reset_index(drop=True)


@pytest.mark.parametrize("step", [2, 13])
def test_a_killed_training_ends_as_a_straight_one(step: int, tmp_path: Path) -> None:
    straight = train(tmp_path / "straight")
    train_and_be_killed(tmp_path / "killed", step)
    resumed = train(tmp_path / "killed")
    assert torch.equal(straight[0], resumed[0])
    assert steady(straight[1]).equals(steady(resumed[1]))
    assert straight[2] == resumed[2]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU to resume a training on")
def test_a_killed_training_ends_as_a_straight_one_on_a_gpu(tmp_path: Path) -> None:
    straight = train(tmp_path / "straight", device="cuda")
    train_and_be_killed(tmp_path / "killed", 13, device="cuda")
    resumed = train(tmp_path / "killed", device="cuda")
    assert torch.allclose(straight[0], resumed[0], atol=1e-4), "sums on a GPU have no fixed order"


def test_the_state_of_an_optimiser_goes_where_its_parameters_are() -> None:
    model, elsewhere = make_model(), make_model().to("meta")
    stepped = torch.optim.Adam(model.parameters(), fused=True)
    model.item_matrix().sum().backward()
    stepped.step()
    state = optimiser_state(model, stepped)
    assert {key.rpartition("/")[2] for key in state} == {"step", "exp_avg", "exp_avg_sq"}
    optimiser = torch.optim.Adam(elsewhere.parameters(), fused=True)
    load_optimiser(elsewhere, optimiser, state)
    loaded = optimiser_state(elsewhere, optimiser)
    assert loaded.keys() == state.keys()
    assert {value.device.type for value in loaded.values()} == {"meta"}
