"""MELT's branches exchange what they learned, the largest users and items first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reclib.data.popularity import is_head
from reclib.seeding import torch_generator
from reclib.training.item_contexts import ItemContexts, item_contexts
from reclib.training.methods import melt
from reclib.training.sequence_objectives import Context
from tests.data.test_cooccurrence import windows_of
from tests.training.methods.made_setup import Recurrent, built, context, setup, some_batch, table
from tests.training.sequence_toy import WIDTH, dataset

LENGTH = 8  # of the toy data set's histories


def contexts() -> ItemContexts:
    return item_contexts(dataset().train, dataset().n_items, np.random.default_rng(0))


def tail() -> melt.Tail:
    return melt.tail_of(contexts(), tail_share=0.8, longest=LENGTH)


def make_model(seed: int = 0) -> melt.Melt:
    length = tail().user_length
    return built(lambda: melt.Melt(table(), Recurrent(), d_model=WIDTH, tail_length=length), seed).eval()


def branches(model: melt.Melt, **options: Any) -> tuple[melt.UserBranch, melt.ItemBranch]:
    chosen = melt.MeltOptions(context_length=LENGTH, **options)
    return melt.UserBranch(tail(), chosen), melt.ItemBranch(model, contexts(), tail(), chosen)


def at_epoch(epoch: int, n_epochs: int = 10) -> Context:
    return Context(epoch, 0, n_epochs, torch.Generator().manual_seed(0))


def test_the_curriculum_goes_from_the_largest_to_those_next_to_the_tail() -> None:
    size = torch.arange(5, 16)
    start, middle, end = (
        melt.curriculum_weight(size, progress, smallest=5, largest=15) for progress in (0.0, 0.5, 1.0)
    )
    assert start[0] == pytest.approx(0, abs=1e-6)
    assert start[-1] == pytest.approx(1)
    assert (start.diff() > 0).all()
    assert end[0] == pytest.approx(1)
    assert end[-1] == pytest.approx(0, abs=1e-6)
    assert (end.diff() < 0).all()
    assert int(middle.argmax()) == 5
    far = melt.curriculum_weight(torch.tensor([2, 99]), 0.0, smallest=5, largest=15)
    torch.testing.assert_close(far, start[[0, -1]])  # beyond the bounds as at them


def tail_rows(model: melt.Melt) -> torch.Tensor:
    """Vectors of tail items after an update."""
    _, item_branch = branches(model)
    item_branch.update_tail(1, torch_generator(0, "tail"))
    return model.item_matrix().detach()[tail().rest].clone()


def test_what_the_user_branch_knows_reaches_the_tail_items() -> None:
    one, other = make_model(), make_model()
    with torch.no_grad():
        other.user_branch.weight.mul_(-1)
    assert not torch.allclose(tail_rows(one), tail_rows(other), atol=1e-3)


def test_what_the_item_branch_knows_reaches_the_states_of_users() -> None:
    one, other = make_model(), make_model()
    with torch.no_grad():
        other.item_branch.weight.mul_(-1)
    history = torch.zeros(len(tail().rest), LENGTH, dtype=torch.int64)
    history[:, -1] = tail().rest
    torch.testing.assert_close(one.user_states(history), other.user_states(history))
    tail_rows(one), tail_rows(other)
    assert not torch.allclose(one.user_states(history), other.user_states(history), atol=1e-3)


def test_the_item_loss_trains_the_user_branch_too() -> None:
    model = make_model().train()
    _, item_branch = branches(model)
    loss, parts = item_branch(model, some_batch(8), at_epoch(3))
    torch.testing.assert_close(loss.detach(), 0.3 * parts["item_branch"])
    loss.backward()
    assert model.user_branch.weight.grad.any()
    assert model.item_branch.weight.grad.any()


def test_tail_items_take_their_vectors_as_a_later_epoch_starts_and_the_head_keeps_its_own() -> None:
    model = make_model()
    before = model.item_matrix().detach().clone()
    _, item_branch = branches(model)
    generator = torch_generator(0, "tail")
    item_branch.update_tail(0, generator)
    torch.testing.assert_close(model.item_matrix(), before)
    item_branch.update_tail(1, generator)
    after = model.item_matrix().detach().clone()
    changed = (after != before).any(dim=1)
    assert changed.nonzero().flatten().tolist() == tail().rest.tolist()
    item_branch.update_tail(2, generator)
    assert not torch.equal(model.item_matrix(), after)


def test_states_of_tail_users_are_enhanced_once_trained() -> None:
    model = make_model()
    history = torch.zeros(LENGTH, LENGTH, dtype=torch.int64)
    history[torch.ones(LENGTH, LENGTH).tril().bool().flip(1)] = 3  # one to eight items
    plain, found = model.plain_states(history), model.user_states(history)
    changed = (plain != found).any(dim=1)
    assert changed.tolist() == [length <= tail().user_length for length in range(1, LENGTH + 1)]
    torch.testing.assert_close(found[0], plain[0] + model.user_branch(plain[0]))
    torch.testing.assert_close(model.train().user_states(history), plain)


def test_the_user_branch_learns_from_head_users_alone() -> None:
    model = make_model().train()
    user_branch, _ = branches(model)
    batch = some_batch(32)
    length = (batch.history != 0).sum(dim=1)
    assert 0 < int((length > tail().user_length).sum()) < 32
    loss, parts = user_branch(model, batch, at_epoch(3))
    torch.testing.assert_close(loss.detach(), 0.2 * parts["user_branch"])
    loss.backward()
    read = set(batch.history[length > tail().user_length].flatten().tolist()) - {0}
    touched = set(model.items.table.weight.grad.any(dim=1).nonzero().flatten().tolist())
    assert touched == read
    short = batch._replace(history=batch.history * 0)
    assert user_branch(model, short, context())[0] == 0


def test_few_items_are_the_last_ones() -> None:
    history = torch.tensor([[1, 2, 3, 4, 5]] * 200)
    few = melt.last_items(history, 3, torch.Generator().manual_seed(0))
    assert {tuple(row) for row in few.tolist()} == {(0, 0, 5), (0, 4, 5), (3, 4, 5)}


def test_the_mean_state_of_contexts_leaves_out_those_that_are_not_there() -> None:
    model = make_model()
    sequences = torch.tensor([[[0, 1, 2], [0, 0, 4]], [[5, 6, 7], [9, 9, 9]], [[1, 1, 1], [2, 2, 2]]])
    is_there = torch.tensor([[True, True], [True, False], [False, False]])
    found = model.context_states(sequences, is_there)
    one = model.enhanced(model.plain_states(sequences.flatten(0, 1)))
    torch.testing.assert_close(found[0], one[:2].mean(dim=0))
    torch.testing.assert_close(found[1], one[2])
    assert not found[2].any()
    assert not model.context_states(sequences, is_there & False).any()


def test_head_and_tail_of_users_and_items() -> None:
    found = tail()
    counts = dataset().counts
    assert set(found.head.tolist()) == set(np.flatnonzero(is_head(counts)))
    assert found.item_count == counts[found.rest].max()
    cut = melt.tail_of(contexts(), tail_share=0.8, longest=3)  # then most users are cut
    assert cut.user_length == 2
    alike = item_contexts(windows_of([[1, 2, 3], [2, 3, 1]]), 3, np.random.default_rng(0))
    assert melt.tail_of(alike, tail_share=0.8, longest=4).user_length == 0


@pytest.mark.parametrize(
    ("backbone", "positions"), [("gru4rec", "all"), ("bert4rec", "all"), ("bert4rec", "last")]
)
def test_all_stages_give_a_model_that_ranks(tmp_path: Path, backbone: str, positions: str) -> None:
    run = setup(backbone=backbone, epochs=3, positions=positions)
    fitted = melt.train(run, melt.MeltOptions(), seed=0, workdir=tmp_path)
    again = melt.train(run, melt.MeltOptions(), seed=0, workdir=tmp_path)  # from both checkpoints
    torch.testing.assert_close(fitted.model.item_matrix(), again.model.item_matrix())
    assert run.validate(fitted.model) >= 0
    names = set(fitted.trace["name"])
    assert {"item_branch", "validation", "base validation", "branches item_branch"} <= names
    assert fitted.best_epoch >= 6  # an epoch of the last stage
    assert all(weight.requires_grad for weight in fitted.model.parameters())


def test_the_grid_begins_with_the_defaults() -> None:
    assert melt.GRID[0] == melt.MeltOptions()
    assert len(set(melt.GRID)) == 6
