"""Sharpness-aware training of a backbone, and logit adjustment beside it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from reclib.config import SHARPNESS_FAMILY
from reclib.evaluation.full_ranking import recommend_lists
from reclib.kernels.sequence_losses import catalogue_cross_entropy, logit_adjusted_cross_entropy
from reclib.schema import InputError
from reclib.training.methods import base, sharpness
from reclib.training.methods.sharpness import AdjustedObjective, SharpnessOptions
from reclib.training.sequence_batches import predicted_counts
from reclib.training.sequence_objectives import SequenceObjective
from tests.training.methods.made_setup import Recurrent, built, context, setup, some_batch, table
from tests.training.sequence_toy import SequenceModel, dataset, train_config

ERM = SHARPNESS_FAMILY["erm"]


def test_adjusted_loss_is_the_softmax_of_shifted_scores() -> None:
    generator = torch.Generator().manual_seed(0)
    states, items = (torch.randn(n, 4, generator=generator, dtype=torch.float64) for n in (6, 9))
    offset = torch.randn(9, generator=generator, dtype=torch.float64)
    target = torch.tensor([1, 8, 3, 3, 5, 2])
    for each in (states, items):
        each.requires_grad_()
    ours = logit_adjusted_cross_entropy(states, items, target, offset, rows_at_once=4)
    slow = cross_entropy(states @ items[1:].T + offset[1:], target - 1, reduction="none")
    torch.testing.assert_close(ours, slow)
    weights = torch.arange(1.0, 7.0, dtype=torch.float64)
    found = torch.autograd.grad((weights * ours).sum(), [states, items])
    torch.testing.assert_close(found, torch.autograd.grad((weights * slow).sum(), [states, items]))
    without = logit_adjusted_cross_entropy(states, items, target, torch.zeros(9))
    torch.testing.assert_close(without, catalogue_cross_entropy(states, items, target))


@pytest.mark.parametrize("positions", ["last", "all"])
def test_the_adjusted_objective_shifts_by_how_often_items_are_predicted(positions: str) -> None:
    model = built(lambda: SequenceModel(table(), Recurrent())).eval()
    counts = predicted_counts(dataset().train, model.n_items, positions)  # type: ignore[arg-type]
    batch, given = some_batch(7), context()._replace(weight=1.5)
    plain = SequenceObjective(train_config(loss="cross_entropy", positions=positions), n_items=model.n_items)
    unshifted = AdjustedObjective(counts, adjustment=0.0, positions=positions)
    torch.testing.assert_close(unshifted(model, batch, given)[0], plain(model, batch, given)[0])
    total, parts = AdjustedObjective(counts, adjustment=0.5, positions=positions)(model, batch, given)
    states = model.states(batch.history)
    following = torch.cat([batch.history[:, 1:], batch.target[:, None]], dim=1)
    at = batch.history != 0
    if positions == "last":
        at[:, :-1] = False
    prior = torch.from_numpy(0.5 * np.log(np.maximum(counts[1:], 1))).float()
    slow = cross_entropy(states[at] @ model.item_matrix()[1:].T + prior, following[at] - 1)
    torch.testing.assert_close(total, 1.5 * slow)
    assert torch.equal(parts["logit_adjusted"], total.detach())


def test_erm_is_the_backbone_and_a_radius_is_not(tmp_path: Path) -> None:
    run = setup(epochs=2, loss="cross_entropy", positions="last")
    plain = base.train(run, base.BaseOptions(dropout=0.3), seed=1, workdir=tmp_path / "base").model
    options = SharpnessOptions(sharpness=ERM, dropout=0.3)
    ours = sharpness.train(run, options, seed=1, workdir=tmp_path / "erm").model
    assert torch.equal(ours.item_matrix(), plain.item_matrix())
    eisam = sharpness.train(run, SharpnessOptions(), seed=1, workdir=tmp_path / "eisam")
    assert not torch.equal(eisam.model.item_matrix(), plain.item_matrix())
    assert {"sharpness_rise", "sharpness_ratio"} <= set(eisam.trace["name"])


def test_adjustment_recommends_rarer_items(tmp_path: Path) -> None:
    run = setup(epochs=8, loss="cross_entropy", positions="last", learning_rate=1e-2)
    run = replace(run, validate=None)
    counts = predicted_counts(dataset().train, dataset().n_items, "last")
    found = []
    for adjustment in (0.0, 1.0):
        options = SharpnessOptions(sharpness=ERM, adjustment=adjustment)
        fitted = sharpness.train(run, options, seed=0, workdir=tmp_path / str(adjustment))
        found.append(counts[recommend_lists(fitted.model, dataset().test, 5)].mean())
    assert found[1] < 0.9 * found[0]


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="under step 'eisam': logits are adjusted under step \"erm\" only"):
        SharpnessOptions(adjustment=1.0)
    with pytest.raises(InputError, match="adjustment is -1.0: it must be at least 0"):
        SharpnessOptions(sharpness=ERM, adjustment=-1)
    with pytest.raises(InputError, match="logit adjustment needs loss cross_entropy, not bce"):
        sharpness.train(setup(), SharpnessOptions(sharpness=ERM, adjustment=1.0), seed=0, workdir=tmp_path)
    assert sharpness.GRID[0] == SharpnessOptions()
    assert len(set(sharpness.GRID)) == 6
