"""The item–item graph counts what follows what in training, each interaction once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reclib.data.cooccurrence import item_graph, training_sequences
from reclib.data.dataset import Windows
from reclib.data.popularity import count_interactions
from reclib.data.splits import Sequences, sliding_windows
from reclib.schema import InputError


def windows_of(sequences: list[list[int]], length: int = 4, *, are_times_known: bool = True) -> Windows:
    """Overlapping windows of users, in the order of users."""
    user = np.repeat(np.arange(len(sequences)), [len(s) for s in sequences])
    items = np.concatenate([np.array(s, dtype=np.int32) for s in sequences])
    times = np.arange(len(items), dtype=float) if are_times_known else np.full(len(items), np.nan)
    return sliding_windows(Sequences(user, items, times), length=length, min_length=2)


def counted(sequences: list[list[int]], n_items: int, reach: int) -> np.ndarray:
    """The graph, by the definition."""
    graph = np.zeros((n_items + 1, n_items + 1), dtype=int)
    for items in sequences:
        for here, before in enumerate(items):
            for after in items[here + 1 : here + 1 + reach]:
                graph[before, after] += before != after
    return graph


made_sequences = st.lists(st.lists(st.integers(1, 6), min_size=2, max_size=9), min_size=1, max_size=5)


@settings(max_examples=60, deadline=None)
@given(sequences=made_sequences, are_times_known=st.booleans(), seed=st.integers(0, 99))
def test_sequences_come_back_from_their_windows(
    sequences: list[list[int]], are_times_known: bool, seed: int
) -> None:
    windows = windows_of(sequences, are_times_known=are_times_known)
    if are_times_known:  # then any order of windows will do
        windows = windows.take(np.random.default_rng(seed).permutation(len(windows)))
    user, item_idx = training_sequences(windows)
    assert sorted(item_idx[user == u].tolist() for u in np.unique(user)) == sorted(sequences)
    counts = np.bincount(item_idx, minlength=7)
    np.testing.assert_array_equal(counts, count_interactions(windows, 6))


@settings(max_examples=40, deadline=None)
@given(sequences=made_sequences, reach=st.integers(1, 3))
def test_the_graph_counts_what_comes_after(sequences: list[list[int]], reach: int) -> None:
    expected = counted(sequences, 6, reach)
    directed = item_graph(windows_of(sequences), 6, reach=reach)
    np.testing.assert_array_equal(directed.toarray(), expected)
    undirected = item_graph(windows_of(sequences), 6, reach=reach, is_directed=False)
    np.testing.assert_array_equal(undirected.toarray(), expected + expected.T)


def test_no_windows_give_an_empty_graph() -> None:
    none = windows_of([[1, 2]]).take(np.zeros(0, dtype=int))
    assert item_graph(none, 3).nnz == 0
    assert item_graph(none, 3).shape == (4, 4)


def test_bad_input_is_named() -> None:
    with pytest.raises(InputError, match="reach is 0"):
        item_graph(windows_of([[1, 2]]), 2, reach=0)
    with pytest.raises(InputError, match="item_idx 5, the catalogue ends at 4"):
        item_graph(windows_of([[1, 5]]), 4)
