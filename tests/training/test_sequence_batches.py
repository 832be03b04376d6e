from __future__ import annotations

import numpy as np
import pytest
import torch

from reclib.data.dataset import Windows
from reclib.training.sequence_batches import POOL, Batch, WindowBatches


def windows(lengths: list[int], users: list[str] | None = None) -> Windows:
    """Window w holds items 1…lengths[w], newest last; its target is w + 1."""
    history = np.zeros((len(lengths), 6), dtype=np.int32)
    for row, length in enumerate(lengths):
        history[row, 6 - length :] = np.arange(1, length + 1)
    names = np.array(users or [str(row) for row in range(len(lengths))], dtype=object)
    target = np.arange(1, len(lengths) + 1, dtype=np.int32)
    return Windows(names, history, target, np.full(len(lengths), np.nan))


def batches(part: Windows, *, positions: str = "last", size: int = 4) -> WindowBatches:
    return WindowBatches(part, n_items=200, batch_size=size, positions=positions, device=torch.device("cpu"))


def epoch(part: Windows, *, seed: int = 0, **settings: object) -> list[Batch]:
    return [batch for batch, _ in batches(part, **settings).epoch(torch.Generator().manual_seed(seed))]


def test_each_window_comes_once_an_epoch_with_its_own_target() -> None:
    part = windows([1 + row % 6 for row in range(30)])
    found = epoch(part)
    rows = torch.cat([batch.row for batch in found])
    assert rows.sort().values.tolist() == list(range(30))
    assert [len(batch.row) for batch in found].count(4) == 7
    for batch in found:
        assert batch.target.tolist() == (batch.row + 1).tolist()
        for row, history in zip(batch.row.tolist(), batch.history.tolist(), strict=True):
            assert history == part.history[row, -len(history) :].tolist()


@pytest.mark.parametrize("positions", ["all", "every"])
def test_histories_are_cut_to_the_longest_and_lengths_are_alike(positions: str) -> None:
    part = windows([1 + row % 6 for row in range(4 * POOL)])
    for batch in epoch(part, positions=positions):
        lengths = (batch.history > 0).sum(dim=1)
        assert batch.history.shape[1] == lengths.max()
        assert lengths.max() - lengths.min() <= 1


def test_batches_of_last_positions_hold_windows_of_all_lengths() -> None:
    part = windows([1 + row % 6 for row in range(180)])
    found = epoch(part, positions="last", size=60)
    held = [np.unique((batch.history > 0).sum(dim=1), return_counts=True) for batch in found]
    assert all(lengths.tolist() == [1, 2, 3, 4, 5, 6] for lengths, _ in held)
    shares = np.concatenate([counts for _, counts in held]) / 60
    assert 0 < shares.min() < shares.max() < 0.36  # a sixth each, within four standard deviations


@pytest.mark.parametrize("positions", ["all", "last", "every"])
def test_every_position_of_an_epoch_weighs_alike(positions: str) -> None:
    part = windows([1 + row % 6 for row in range(4 * POOL + 2)])
    found = list(batches(part, positions=positions).epoch(torch.Generator().manual_seed(0)))
    n_positions = [len(batch.row) if positions == "last" else (batch.history > 0).sum() for batch, _ in found]
    weights = np.array([weight for _, weight in found])
    assert np.allclose(weights / np.array(n_positions), weights[0] / n_positions[0])
    assert weights.mean() == pytest.approx(1)


def test_epochs_differ_and_a_seed_repeats_one() -> None:
    part = windows([3] * 20)
    orders = [torch.cat([batch.row for batch in epoch(part, seed=seed)]).tolist() for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


def test_all_positions_take_the_last_window_of_each_user() -> None:
    part = windows([2, 3, 4, 5], users=["a", "b", "a", "c"])
    rows = torch.cat([batch.row for batch in epoch(part, positions="all")])
    assert sorted(rows.tolist()) == [1, 2, 3]
    assert batches(part, positions="all").n_windows == 3


def test_every_position_takes_all_windows() -> None:
    part = windows([2, 3, 4, 5], users=["a", "b", "a", "c"])
    rows = torch.cat([batch.row for batch in epoch(part, positions="every")])
    assert sorted(rows.tolist()) == [0, 1, 2, 3]


@pytest.mark.parametrize("lengths", [[0, 2, 0, 3]])
def test_windows_without_a_history_are_left_out(lengths: list[int]) -> None:
    assert sorted(torch.cat([batch.row for batch in epoch(windows(lengths))]).tolist()) == [1, 3]
