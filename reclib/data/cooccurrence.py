"""Which items follow or surround each other in training, as a sparse item–item graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from reclib.data.dataset import Windows
from reclib.schema import PAD_IDX, InputError

if TYPE_CHECKING:
    from scipy.sparse import csr_array


class TrainingSequences(NamedTuple):
    """The n interactions that training windows were cut from; those of a user lie together, oldest first.

    user: (n,) int64, users numbered 0…U−1 by first appearance; item_idx: (n,) int64
    """

    user: np.ndarray
    item_idx: np.ndarray


def training_sequences(windows: Windows) -> TrainingSequences:
    """The interactions behind overlapping windows, each once.

    A user's first window (the one with the earliest target; the first in order where times are unknown)
    gives its history and its target, a later one its target only: what `count_interactions` counts.
    """
    user, _ = pd.factorize(windows.user_id)
    order = np.argsort(windows.timestamp, kind="stable")  # NaN sorts last
    order = order[np.argsort(user[order], kind="stable")]
    user, history = user[order], windows.history
    is_first = np.ones(len(user), dtype=bool)
    is_first[1:] = user[1:] != user[:-1]
    size = np.ones(len(user), dtype=np.int64)
    size[is_first] += (history[order[is_first]] != PAD_IDX).sum(axis=1)
    end = np.cumsum(size)
    item_idx = np.empty(end[-1] if len(end) else 0, dtype=np.int64)
    item_idx[end - 1] = windows.target_idx[order]
    for back in range(1, history.shape[1] + 1):  # one column at a time bounds the memory
        column = history[order[is_first], -back]
        item_idx[(end[is_first] - 1 - back)[column != PAD_IDX]] = column[column != PAD_IDX]
    return TrainingSequences(np.repeat(user, size), item_idx)


def item_graph(windows: Windows, n_items: int, *, reach: int = 1, is_directed: bool = True) -> csr_array:
    """How often item j came up to `reach` places after item i in a training sequence.

    Entry (i, j) of a sparse (N+1, N+1) matrix of int64; row and column 0, padding, are empty, and so is the
    diagonal. Undirected: before or after, so that the matrix is symmetric.
    Raises InputError for a reach below 1 and for items outside the catalogue.
    """
    from scipy.sparse import coo_array, csr_array

    if reach < 1:
        raise InputError(f"reach is {reach}: an item is joined to at least the next one")
    user, item_idx = training_sequences(windows)
    if len(item_idx) and item_idx.max() > n_items:
        raise InputError(f"training windows hold item_idx {item_idx.max()}, the catalogue ends at {n_items}")
    shape = (n_items + 1, n_items + 1)
    graph = csr_array(shape, dtype=np.int64)
    for step in range(1, reach + 1):
        is_joined = (user[step:] == user[:-step]) & (item_idx[step:] != item_idx[:-step])
        before, after = item_idx[:-step][is_joined], item_idx[step:][is_joined]
        graph = graph + coo_array((np.ones_like(before), (before, after)), shape=shape).tocsr()
    return graph if is_directed else csr_array(graph + graph.T)
