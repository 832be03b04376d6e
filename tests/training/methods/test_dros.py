"""DROS trains against the worst items; without weight it is the backbone, to the bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reclib.kernels.robust import flattened_popularity, robust_loss, squared_errors
from reclib.models.sequence_model import SequenceModel
from reclib.schema import InputError
from reclib.training.methods import base, dros
from reclib.training.sequence_objectives import SequenceObjective
from tests.training.methods.made_setup import Recurrent, built, context, setup, some_batch, table
from tests.training.sequence_toy import dataset, train_config


def model() -> SequenceModel:
    return built(lambda: SequenceModel(table(), Recurrent()))


def objective(options: dros.DROSOptions, **train: Any) -> dros.RobustObjective:
    recommend = SequenceObjective(train_config(**train), n_items=dataset().n_items)
    return dros.RobustObjective(recommend, dataset().counts, options)


@pytest.mark.parametrize("backbone", ["sasrec", "bert4rec"])
def test_without_weight_it_is_the_backbone(tmp_path: Path, backbone: str) -> None:
    run = setup(backbone=backbone, epochs=2)
    options = dros.DROSOptions(robust_weight=0.0)
    ours = dros.train(run, options, seed=1, workdir=tmp_path / "dros").model
    plain = base.train(run, base.BaseOptions(), seed=1, workdir=tmp_path / "base").model
    assert torch.equal(ours.item_matrix(), plain.item_matrix())
    moved = dros.train(run, dros.DROSOptions(), seed=1, workdir=tmp_path / "moved").model
    assert not torch.equal(moved.item_matrix(), plain.item_matrix())


@pytest.mark.parametrize("positions", ["last", "all"])
def test_the_total_is_the_recommendation_loss_and_the_weighted_robust_loss(positions: str) -> None:
    options = dros.DROSOptions(robust_weight=0.5, temperature=0.3, popularity_power=0.4)
    whole, batch = model().eval(), some_batch(9)
    given = context()._replace(weight=1.5)
    total, parts = objective(options, positions=positions)(whole, batch, given)
    states = whole.states(batch.history)
    following = torch.cat([batch.history[:, 1:], batch.target[:, None]], dim=1)
    at = batch.history != 0
    if positions == "last":
        at[:, :-1] = False
    scores = states[at] @ whole.item_matrix()[1:].T
    nominal = flattened_popularity(torch.from_numpy(dataset().counts[1:]), power=0.4)
    losses = robust_loss(squared_errors(scores, following[at] - 1), nominal, temperature=0.3)
    torch.testing.assert_close(parts["robust"], 1.5 * losses.mean().detach())
    torch.testing.assert_close(total.detach(), parts["bce"] + 0.5 * parts["robust"])


def test_it_raises_what_is_rare_and_unexpected_and_lowers_what_is_popular_and_did_not_come() -> None:
    """Against scores that follow popularity, by the gradient of the robust loss alone."""
    counts, data = dataset().counts, dataset()
    rare, popular = int(counts[1:].argmin()) + 1, int(counts[1:].argmax()) + 1
    whole = model().eval()
    with torch.no_grad():
        direction = torch.ones(whole.item_matrix().shape[1])
        scale = torch.from_numpy(np.log1p(counts) - np.log1p(counts[1:]).mean()).float()
        whole.items.table.weight.copy_(scale[:, None] * direction)
        whole.items.table.weight[0] = 0

    class Still(SequenceModel):
        """States that all point where popular items are."""

        def states(self, history: torch.Tensor, *, last_only: bool = False) -> torch.Tensor:
            return direction.expand(len(history), -1) / len(direction)

    still = Still(whole.items, whole.backbone)
    options = dros.DROSOptions(robust_weight=1.0, temperature=0.2)
    pull = {}
    for target in (rare, popular):
        batch = some_batch(4)._replace(target=torch.full((4,), target))
        nothing = objective(options, positions="last")
        zero, _ = SequenceObjective(train_config(positions="last"), n_items=data.n_items)(
            still, batch, context()
        )
        total, _ = nothing(still, batch, context())
        whole.items.table.weight.grad = None
        (total - zero).backward()  # the same draws, so that the robust loss alone is left
        pull[target] = -(whole.items.table.weight.grad @ direction)
    assert pull[rare][rare] > 0 > pull[rare][popular]
    assert pull[rare][rare] > 3 * abs(float(pull[popular][popular]))


def worst_case_error(whole: SequenceModel) -> float:
    """The robust loss of the training windows at the last position."""
    data = dataset()
    nominal = flattened_popularity(torch.from_numpy(data.counts[1:]), power=0.05)
    with torch.no_grad():
        scores = whole.user_states(torch.from_numpy(data.train.history).long()) @ whole.item_matrix()[1:].T
    errors = squared_errors(scores, torch.from_numpy(data.train.target_idx).long() - 1)
    return float(robust_loss(errors, nominal, temperature=0.2).mean())


def test_training_lowers_the_error_of_the_worst_case(tmp_path: Path) -> None:
    run = setup(epochs=12, positions="last")
    run, found = replace(run, validate=None), []
    for weight in (0.0, 0.1, 1.0):
        options = dros.DROSOptions(robust_weight=weight, temperature=0.2)
        fitted = dros.train(run, options, seed=0, workdir=tmp_path / str(weight))
        found.append(worst_case_error(fitted.model))
    assert found[0] > found[1] > found[2]
    assert found[2] < 0.6 * found[0]


@pytest.mark.parametrize("loss", ["bce", "cross_entropy"])
def test_it_learns_what_follows_what(tmp_path: Path, loss: str) -> None:
    run = setup(epochs=15, learning_rate=1e-2, loss=loss)
    fitted = dros.train(run, dros.DROSOptions(), seed=0, workdir=tmp_path)
    assert run.validate(fitted.model) > 0.5
    assert {loss, "robust"} <= set(fitted.trace["name"])


def test_options_say_what_they_may_be() -> None:
    assert dros.GRID[0] == dros.DROSOptions()
    assert len(set(dros.GRID)) == 6
    with pytest.raises(InputError, match="dros.temperature is 0.0: it must be above 0"):
        dros.DROSOptions(temperature=0)
    with pytest.raises(InputError, match="popularity_power is 2.0: it must be between 0 and 1"):
        dros.DROSOptions(popularity_power=2)
