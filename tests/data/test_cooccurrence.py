"""The item–item graph counts what follows what in training, each interaction once."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reclib.config import DataConfig, SyntheticConfig
from reclib.data import cooccurrence
from reclib.data.cooccurrence import (
    item_graph,
    normalised,
    positive_pmi,
    shared_users,
    shuffled,
    top_neighbours,
    training_graph,
    training_sequences,
)
from reclib.data.dataset import Dataset, Windows
from reclib.data.load import load
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


def shared(sequences: list[list[int]], n_items: int) -> np.ndarray:
    """Users that two items share, by the definition."""
    graph = np.zeros((n_items + 1, n_items + 1), dtype=int)
    for items in map(set, sequences):
        for one in items:
            for two in items - {one}:
                graph[one, two] += 1
    return graph


def best_joined(counts: np.ndarray, n_neighbours: int) -> np.ndarray:
    """(G + Gᵀ)/2 of the best of each row, one row at a time."""
    graph = np.zeros(counts.shape)
    for item, row in enumerate(counts):
        best = sorted(np.flatnonzero(row), key=lambda other: (-row[other], other))
        graph[item, best[:n_neighbours]] = 1
    return (graph + graph.T) / 2


@settings(max_examples=40, deadline=None)
@given(sequences=made_sequences, n_neighbours=st.integers(1, 4), pairs_at_once=st.integers(1, 40))
def test_users_are_counted_once_and_the_best_neighbours_joined(
    sequences: list[list[int]], n_neighbours: int, pairs_at_once: int
) -> None:
    windows, expected = windows_of(sequences), shared(sequences, 7)
    np.testing.assert_array_equal(shared_users(windows, 7).toarray(), expected)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cooccurrence, "PAIRS_AT_ONCE", pairs_at_once)
        joined = top_neighbours(windows, 7, n_neighbours=n_neighbours)
    np.testing.assert_array_equal(joined.toarray(), best_joined(expected, n_neighbours))


@settings(max_examples=40, deadline=None)
@given(sequences=made_sequences, highest=st.sampled_from([np.inf, 0.3]))
def test_pmi_is_clipped_from_below_and_above(sequences: list[list[int]], highest: float) -> None:
    counts, held = shared(sequences, 7), [set(items) for items in sequences]
    expected = np.zeros((8, 8))
    for one in range(1, 8):
        for two in range(1, 8):
            if counts[one, two]:
                n_one, n_two = (sum(item in items for items in held) for item in (one, two))
                pmi = np.log(counts[one, two] * len(held) / (n_one * n_two))
                expected[one, two] = min(max(pmi, 0), highest)
    np.testing.assert_allclose(positive_pmi(windows_of(sequences), 7, highest=highest).toarray(), expected)


@settings(max_examples=40, deadline=None)
@given(sequences=made_sequences)
def test_the_normalised_graph_has_its_spectrum_within_one(sequences: list[list[int]]) -> None:
    graph = top_neighbours(windows_of(sequences), 7)
    weights, ours = graph.toarray(), normalised(graph).toarray()
    degree = weights.sum(axis=1)
    for i in range(8):
        for j in range(8):
            whole = weights[i, j] / np.sqrt(degree[i] * degree[j]) if weights[i, j] else 0.0
            assert ours[i, j] == pytest.approx(whole)
    assert not ours[degree == 0].any(), "isolated items, and padding among them, have rows of zeros"
    assert np.abs(np.linalg.eigvalsh(ours)).max() <= 1 + 1e-12


def made_dataset() -> Dataset:
    synthetic = SyntheticConfig(n_users=60, n_items=25, mean_length=8)
    config = DataConfig(
        source="synthetic", history_length=6, split="leave_one_out", min_interactions=3, synthetic=synthetic
    )
    return load(config, seed=0)


KINDS = ("top_k", "counts", "transitions", "pmi")


@pytest.mark.parametrize("kind", KINDS)
def test_graphs_are_symmetric_and_join_no_item_to_itself_or_to_padding(kind: str) -> None:
    dataset = made_dataset()
    graph = training_graph(dataset, kind)
    assert graph.shape == (dataset.n_items + 1, dataset.n_items + 1)
    assert graph.dtype == np.float64
    assert graph.nnz > 0
    assert abs(graph - graph.T).max() == 0
    assert not graph.diagonal().any()
    assert not graph[[0]].nnz
    assert normalised(graph).nnz == graph.nnz


@pytest.mark.parametrize("kind", KINDS)
def test_an_event_of_validation_or_test_cannot_enter(kind: str) -> None:
    """Whatever held-out events become, the graph stays; with other training events it changes."""
    dataset = made_dataset()
    graph = training_graph(dataset, kind)

    def leaked(part: Windows) -> Windows:  # every held-out target, and its history, is another item
        return dataclasses.replace(
            part, history=np.where(part.history, 1, 0), target_idx=part.target_idx * 0 + 2
        )

    other = dataclasses.replace(dataset, valid=leaked(dataset.valid), test=leaked(dataset.test))
    assert (training_graph(other, kind) != graph).nnz == 0
    train = dataset.train
    target = train.target_idx.copy()
    target[::2] = target[::2] % dataset.n_items + 1
    changed = dataclasses.replace(dataset, train=dataclasses.replace(train, target_idx=target))
    assert (training_graph(changed, kind) != graph).nnz > 0


def test_a_shuffled_graph_keeps_its_degrees_and_loses_its_items() -> None:
    graph = training_graph(made_dataset())
    placebo = shuffled(graph, np.random.default_rng(0))
    assert sorted(placebo.sum(axis=1)) == sorted(graph.sum(axis=1))
    assert abs(placebo - placebo.T).max() == 0
    assert not placebo[[0]].nnz
    assert (placebo != graph).nnz > 0


def test_graphs_that_cannot_be_used_are_named() -> None:
    from scipy.sparse import csr_array

    with pytest.raises(InputError, match="n_neighbours is 0"):
        top_neighbours(windows_of([[1, 2]]), 2, n_neighbours=0)
    with pytest.raises(InputError, match="item_idx 5, the catalogue ends at 4"):
        shared_users(windows_of([[1, 5]]), 4)
    with pytest.raises(InputError, match="'knn' is unknown: choose one of top_k, counts, transitions, pmi"):
        training_graph(made_dataset(), "knn")
    for weights, message in (
        ([[0, 1, 0], [1, 0, 0]], "shape"),
        ([[0, -1], [-1, 0]], "weight -1"),
        ([[0, np.nan], [np.nan, 0]], "weight nan"),
        ([[1, 0], [0, 0]], "to itself"),
        ([[0, 1], [0, 0]], "not symmetric"),
    ):
        with pytest.raises(InputError, match=message):
            normalised(csr_array(np.array(weights, dtype=float)))
