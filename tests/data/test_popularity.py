from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reclib.config import DataConfig
from reclib.data.load import load
from reclib.data.popularity import (
    count_interactions,
    is_head,
    popularity_groups,
    popularity_ranking,
    train_counts,
)
from reclib.data.splits import Sequences, sliding_windows

histories = st.lists(st.lists(st.integers(1, 5), min_size=2, max_size=9), min_size=1, max_size=5)


@given(histories, st.integers(2, 5))
def test_each_interaction_counts_once_though_windows_overlap(users: list[list[int]], length: int) -> None:
    items = np.array(sum(users, []), dtype=np.int32)
    user_id = np.repeat(np.arange(len(users)), [len(user) for user in users])
    data = Sequences(user_id, items, np.arange(len(items), dtype=float))
    windows = sliding_windows(data, length=length, min_length=2)
    expected = np.bincount(items, minlength=6)
    assert count_interactions(windows, 5).tolist() == expected.tolist()
    shuffled = np.random.default_rng(len(items)).permutation(len(windows))
    assert count_interactions(windows.take(shuffled), 5).tolist() == expected.tolist(), "by time, not by row"
    untimed = replace(windows, timestamp=np.full(len(windows), np.nan))
    assert count_interactions(untimed, 5).tolist() == expected.tolist(), "by row where no time is known"


def test_counts_are_of_training_windows_only() -> None:
    dataset = load(DataConfig(source="synthetic", history_length=4), seed=0)
    counts = train_counts(dataset)
    assert counts.shape == (dataset.n_items + 1,)
    assert counts[0] == 0
    n_first = sum(
        np.count_nonzero(history)
        for row, history in enumerate(dataset.train.history)
        if dataset.train.user_id[row] not in set(dataset.train.user_id[:row])
    )
    assert counts.sum() == len(dataset.train) + n_first
    counts[:] = 0
    assert train_counts(dataset).sum() > 0, "the caller gets a copy"


def test_head_is_a_fifth_of_the_items_with_ties_by_item_idx() -> None:
    counts = np.array([99, 3, 7, 7, 7, 1, 0, 0, 0, 0, 0])
    assert popularity_ranking(counts)[:4].tolist() == [2, 3, 4, 1]
    assert np.flatnonzero(is_head(counts)).tolist() == [2, 3]
    assert np.flatnonzero(is_head(counts, share=0.4)).tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(("n_items", "n_head"), [(1, 1), (4, 1), (5, 1), (6, 2), (15, 3), (2_414, 483)])
def test_the_size_of_the_head_is_rounded_up(n_items: int, n_head: int) -> None:
    assert is_head(np.zeros(n_items + 1, dtype=np.int64)).sum() == n_head


def test_groups_hold_their_lower_edge() -> None:
    counts = np.array([0, 0, 1, 4, 5, 9, 10, 400])
    assert popularity_groups(counts, (0, 1, 5, 10)).tolist() == [-1, 0, 1, 1, 2, 2, 3, 3]
    assert popularity_groups(counts, (5, 10)).tolist() == [-1, -1, -1, -1, 0, 0, 1, 1]
