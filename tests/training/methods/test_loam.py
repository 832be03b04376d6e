"""LOAM walks from targets back to niche items, and mixes tail sessions with similar ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reclib.data.popularity import count_interactions, is_head
from reclib.models.sequence_model import SequenceModel
from reclib.training.methods import loam
from reclib.training.sequence_batches import Batch
from tests.data.test_cooccurrence import windows_of
from tests.training.methods.made_setup import Recurrent, built, context, setup, some_batch, table
from tests.training.sequence_toy import dataset

# Of item 5 both 4 (popular) and 3 (rare) are predecessors; before 3 came 2 (popular) and 1 (rare).
PREDECESSORS = torch.tensor([[0, 0], [0, 0], [0, 0], [2, 1], [2, 0], [4, 3]])
COUNTS = torch.tensor([0, 1, 9, 2, 8, 5])


def walks(**options: Any) -> loam.NicheWalks:
    return loam.NicheWalks(PREDECESSORS, COUNTS, loam.LoamOptions(**options), longest=7)


def everywhere(*closed: int) -> torch.Tensor:
    is_open = torch.ones(6, dtype=torch.bool)
    is_open[[0, *closed]] = False
    return is_open


def test_a_walk_goes_back_to_the_rarest_predecessor_and_ends_in_the_tail() -> None:
    path = walks(random_share=0.0, walk_length=4).walk(
        torch.tensor([5, 5, 4]), everywhere(), torch.Generator().manual_seed(0)
    )
    assert path.tolist() == [[5, 3, 1, 0, 0], [5, 3, 1, 0, 0], [4, 2, 0, 0, 0]]


def test_a_walk_enters_open_items_only() -> None:
    generator = torch.Generator().manual_seed(0)
    path = walks(random_share=0.5).walk(torch.full((50,), 5), everywhere(1, 4), generator)
    assert {tuple(row[:3]) for row in path.tolist()} == {(5, 3, 2)}


def test_some_steps_go_to_any_predecessor() -> None:
    generator = torch.Generator().manual_seed(0)
    path = walks(random_share=0.5).walk(torch.full((4000,), 5), everywhere(), generator)
    share = float((path[:, 1] == 4).float().mean())
    assert share == pytest.approx(0.25, abs=0.03)  # half of the half that strays; 4 standard errors


def toy_walks(**options: Any) -> loam.NicheWalks:
    data = dataset()
    chosen = loam.LoamOptions(**options)
    predecessors = loam.predecessor_table(data.train, data.n_items, 12, np.random.default_rng(0))
    return loam.NicheWalks(torch.from_numpy(predecessors), torch.from_numpy(data.counts), chosen, longest=8)


def skewed_walks(random_share: float) -> tuple[torch.Tensor, loam.NicheWalks]:
    """Walks from every item of a catalogue of 30, most of it rare, and what made them."""
    draw = np.random.default_rng(0)
    chance = 1 / np.arange(1, 31)
    sequences = draw.choice(np.arange(1, 31), size=(60, 8), p=chance / chance.sum()).tolist()
    windows = windows_of(sequences, length=8)
    counts = torch.from_numpy(count_interactions(windows, 30))
    table = torch.from_numpy(loam.predecessor_table(windows, 30, 12, draw))
    made = loam.NicheWalks(table, counts, loam.LoamOptions(random_share=random_share), longest=8)
    start = torch.arange(1, 31).repeat(40)
    return made.walk(start, torch.arange(31) > 0, torch.Generator().manual_seed(0)), made


def share_of_tail(path: torch.Tensor, counts: torch.Tensor) -> float:
    """Share of tail items among those that walks end in."""
    last = path.gather(1, (path != 0).sum(dim=1, keepdim=True) - 1)[:, 0]
    return float((~is_head(counts.numpy()))[last.numpy()].mean())


def test_niche_walks_end_in_the_tail_more_than_walks_to_any_predecessor() -> None:
    path, made = skewed_walks(0.0)
    here, before = path[:, :-1][path[:, 1:] != 0], path[:, 1:][path[:, 1:] != 0]
    near = made.predecessors[here]
    rarest = made.counts[near].masked_fill(near == 0, 10_000).min(dim=1).values
    torch.testing.assert_close(made.counts[before], rarest)
    anywhere, _ = skewed_walks(1.0)
    assert share_of_tail(path, made.counts) > share_of_tail(anywhere, made.counts) + 0.15


def test_walks_follow_transitions_of_training_to_a_target_of_the_batch() -> None:
    batch = some_batch(16)
    made = toy_walks(walk_share=2.0)(batch, context())
    assert 0 < len(made.target) <= 32
    assert set(made.target.tolist()) <= set(batch.target.tolist())
    assert (made.row == loam.MADE_ROW).all()
    assert (made.history[:, 0] != 0).any()  # no wider than the longest
    predecessors = toy_walks().predecessors
    for row in torch.cat([made.history, made.target[:, None]], dim=1):
        items = row[row != 0]
        assert len(items) > loam.SHORTEST
        assert (row[-len(items) :] == items).all()  # padded on the left
        assert all(before in predecessors[after] for before, after in zip(items, items[1:], strict=False))


def test_a_batch_without_room_for_walks_has_none() -> None:
    batch = Batch(torch.tensor([[1]]), torch.tensor([2]), torch.tensor([0]))
    assert len(walks()(batch, context()).target) == 0
    assert len(toy_walks(walk_share=0.0)(some_batch(4), context()).target) == 0


def test_predecessors_are_those_of_training_at_most_so_many() -> None:
    windows = windows_of([[1, 2, 3], [4, 3], [5, 3], [3, 3, 1]])
    full = loam.predecessor_table(windows, 6, 9, np.random.default_rng(0))
    assert [set(row) - {0} for row in full] == [set(), {3}, {1}, {2, 4, 5}, set(), set(), set()]
    few = loam.predecessor_table(windows, 6, 2, np.random.default_rng(0))
    assert few.shape == (7, 2)
    assert len(set(few[3])) == 2


def test_the_mixture_is_convex_and_of_the_most_similar_other() -> None:
    states = torch.tensor([[1.0, 0.0], [0.8, 0.1], [-1.0, 0.2], [0.5, 2.0]])
    chosen = torch.tensor([True, False, False, True])
    mixed = loam.mixed_states(states, chosen, 0.7)
    torch.testing.assert_close(mixed[0], 0.7 * states[0] + 0.3 * states[1])
    torch.testing.assert_close(mixed[1], 0.7 * states[3] + 0.3 * states[1])
    torch.testing.assert_close(loam.mixed_states(states, chosen, 1.0), states[chosen])
    between = loam.mixed_states(states, torch.ones(4, dtype=torch.bool), 0.4)
    assert (between <= states.max(dim=0).values).all()
    assert (between >= states.min(dim=0).values).all()


def objective(positions: str = "all", **options: Any) -> loam.LoamObjective:
    chosen = loam.LoamOptions(**options)
    recommend, last = (
        loam.SequenceObjective(setup(positions=which, loss="cross_entropy").train, n_items=dataset().n_items)
        for which in (positions, "last")
    )
    is_tail = torch.from_numpy(~is_head(dataset().counts))
    return loam.LoamObjective(recommend, last, toy_walks(**options), is_tail, chosen)


def recurrent() -> SequenceModel:
    return built(lambda: SequenceModel(table(), Recurrent()))


@pytest.mark.parametrize("positions", ["all", "last"])
def test_windows_and_walks_share_a_mean_over_their_positions(positions: str) -> None:
    model, batch = recurrent(), some_batch(16)
    ours = objective(positions, walk_share=2.0, mixup_weight=0.0)
    loss, parts = ours(model, batch, context())
    assert parts["mixup"] == 0
    made = ours.walks(batch, context())
    width = max(made.history.shape[1], batch.history.shape[1])
    wide = [
        torch.nn.functional.pad(part, (width - part.shape[1], 0)) for part in (batch.history, made.history)
    ]
    both = Batch(torch.cat(wide), torch.cat([batch.target, made.target]), torch.cat([batch.row, made.row]))
    together, _ = ours.recommend(model, both, context())
    torch.testing.assert_close(loss, together)
    torch.testing.assert_close(parts["cross_entropy"], together.detach())


@pytest.mark.parametrize("positions", ["all", "last"])
def test_the_mixup_costs_what_the_objective_says_of_tail_windows_alone(positions: str) -> None:
    model, batch = recurrent(), some_batch(32)
    loss, parts = objective(positions, walk_share=0.0, mixup_weight=0.3)(model, batch, context())
    torch.testing.assert_close(loss.detach(), parts["cross_entropy"] + 0.3 * parts["mixup"])
    is_tail = torch.from_numpy(~is_head(dataset().counts))[batch.target]
    mixed = loam.mixed_states(model.user_states(batch.history), is_tail, loam.LoamOptions().mixup_share)
    logits = mixed @ model.item_matrix()[1:].T
    expected = torch.nn.functional.cross_entropy(logits, batch.target[is_tail] - 1)
    torch.testing.assert_close(parts["mixup"], expected.detach())
    loss.backward()
    assert model.items.table.weight.grad.any()


def test_without_tail_targets_or_company_the_mixup_is_nothing() -> None:
    model = recurrent()
    head = int(is_head(dataset().counts).argmax())
    batch = some_batch(4)
    for none in (
        batch._replace(target=torch.full_like(batch.target, head)),
        Batch(*(values[:1] for values in batch)),
    ):
        assert objective()(model, none, context())[1]["mixup"] == 0


@pytest.mark.parametrize(
    ("backbone", "loss"), [("gru4rec", "bce"), ("bert4rec", "bce"), ("gru4rec", "cross_entropy")]
)
def test_a_training_gives_a_model_that_ranks(tmp_path: Path, backbone: str, loss: str) -> None:
    run = setup(backbone=backbone, epochs=2, loss=loss)
    fitted = loam.train(run, loam.LoamOptions(), seed=0, workdir=tmp_path)
    assert run.validate(fitted.model) >= 0
    assert fitted.trace.query("name == 'mixup'")["value"].gt(0).all()


def test_the_grid_begins_with_the_defaults() -> None:
    assert loam.GRID[0] == loam.LoamOptions()
    assert len(set(loam.GRID)) == 6
