"""Which items follow or surround each other in training, or share users, as a sparse item–item graph.

Rows and columns of every graph are item_idx 0…N; those of padding are empty, and so is the diagonal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import pandas as pd

from reclib.data.dataset import Dataset, Windows
from reclib.schema import PAD_IDX, InputError

if TYPE_CHECKING:
    from scipy.sparse import csr_array

GraphKind = Literal["top_k", "counts", "transitions", "pmi"]
PAIRS_AT_ONCE = 2**24  # co-occurrences of a block of items, at most, before each keeps its neighbours


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
    user, item_idx = _checked(training_sequences(windows), n_items)
    shape = (n_items + 1, n_items + 1)
    graph = csr_array(shape, dtype=np.int64)
    for step in range(1, reach + 1):
        is_joined = (user[step:] == user[:-step]) & (item_idx[step:] != item_idx[:-step])
        before, after = item_idx[:-step][is_joined], item_idx[step:][is_joined]
        graph = graph + coo_array((np.ones_like(before), (before, after)), shape=shape).tocsr()
    return graph if is_directed else csr_array(graph + graph.T)


def training_graph(dataset: Dataset, kind: GraphKind = "top_k", *, n_neighbours: int = 10) -> csr_array:
    """A symmetric graph of a data set's items; (N+1, N+1), float64.

    "top_k": `top_neighbours`, the habit of TF-LLMER's authors; "counts": `shared_users`; "transitions": how
    often one item came directly before or after the other; "pmi": `positive_pmi` of the counts.

    Training interactions only: nothing but `dataset.train` is read. Raises InputError for another kind.
    """
    windows, n_items = dataset.train, dataset.n_items
    if kind == "top_k":
        return top_neighbours(windows, n_items, n_neighbours=n_neighbours)
    if kind == "counts":
        return shared_users(windows, n_items).astype(np.float64)
    if kind == "transitions":
        return item_graph(windows, n_items, is_directed=False).astype(np.float64)
    if kind == "pmi":
        return positive_pmi(windows, n_items)
    raise InputError(f"graph {kind!r} is unknown: choose one of top_k, counts, transitions, pmi")


def user_items(windows: Windows, n_items: int) -> csr_array:
    """Who interacted with what in training, (U, N+1) int64, 1 however often; users as they first appear."""
    from scipy.sparse import coo_array

    user, item_idx = _checked(training_sequences(windows), n_items)
    shape = (int(user.max(initial=-1)) + 1, n_items + 1)
    matrix = coo_array((np.ones_like(user), (user, item_idx)), shape=shape).tocsr()
    matrix.data[:] = 1
    return matrix


def shared_users(windows: Windows, n_items: int) -> csr_array:
    """How many users two different items share, RᵀR less its diagonal, (N+1, N+1) int64; R: `user_items`."""
    users = user_items(windows, n_items)
    return _without_diagonal((users.T @ users).tocsr())


def top_neighbours(windows: Windows, n_items: int, *, n_neighbours: int = 10) -> csr_array:
    """(G + Gᵀ)/2 with G_ij = 1 where j is one of the K items that share most users with i.

    Weights are 1 where both name each other and ½ where one does. Ties go to the smaller item_idx. A block
    of items at a time, so that the counts of all pairs are never held together. As in the authors' earlier
    public code (FreqD in woriazzc/KDs) by our specification, §1; whether the paper does so is open. Raises
    InputError for K below 1.
    """
    from scipy.sparse import coo_array, csr_array

    if n_neighbours < 1:
        raise InputError(f"n_neighbours is {n_neighbours}: an item keeps at least 1")
    users = user_items(windows, n_items)
    by_item = users.T.tocsr()
    reached = np.cumsum(by_item @ users.sum(axis=1))  # co-occurrences of the items so far
    chosen = []
    first = 0
    while first <= n_items:
        limit = PAIRS_AT_ONCE + (reached[first - 1] if first else 0)
        last = max(first + 1, int(np.searchsorted(reached, limit, side="right")))
        counts = (by_item[first:last] @ users).tocoo()
        chosen.append(strongest_edges(counts.row + first, counts.col, counts.data, n_neighbours))
        first = last
    row, column = (np.concatenate(part) for part in zip(*chosen, strict=True))
    graph = coo_array((np.full(len(row), 0.5), (row, column)), shape=(n_items + 1, n_items + 1)).tocsr()
    return csr_array(graph + graph.T)


def strongest_edges(
    row: np.ndarray, column: np.ndarray, weight: np.ndarray, n_kept: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the `n_kept` largest weights of each row, row by row, the diagonal left out.

    Ties go to the smaller column. row, column, weight: (edges,) in any order.
    """
    other = row != column
    row, column, weight = row[other], column[other], weight[other]
    order = np.lexsort((column, -weight, row))
    row, column = row[order], column[order]
    kept = np.arange(len(row)) - np.searchsorted(row, row) < n_kept
    return row[kept], column[kept]


def positive_pmi(windows: Windows, n_items: int, *, highest: float = np.inf) -> csr_array:
    """PMI_ij = log(C_ij U / (n_i n_j)), clipped to [0, highest], float64; pairs at 0 have no edge.

    C: `shared_users`; n_i: users of item i; U: users of training. The rarest pairs have the largest values,
    up to log U, which `highest` bounds.
    """
    from scipy.sparse import csr_array

    users = user_items(windows, n_items)
    pairs = _without_diagonal((users.T @ users).tocsr()).tocoo()
    popularity = np.asarray(users.sum(axis=0), dtype=np.float64)
    expected = popularity[pairs.row] * popularity[pairs.col] / max(1, users.shape[0])
    pmi = np.log(pairs.data / expected).clip(0, highest)
    graph = csr_array((pmi, (pairs.row, pairs.col)), shape=pairs.shape)
    graph.eliminate_zeros()
    return graph


def normalised(graph: csr_array) -> csr_array:
    """Â = D^−½ A D^−½, D the row sums, float64; rows and columns of isolated items are zero.

    L = I − Â has its spectrum in [0, 2]; an isolated item has no row in L either, so that it pays no
    penalty. Derived by us, §4.3 of the specification of TF-LLMER. Raises InputError for a graph that is not
    square or not symmetric, that has a diagonal, or a weight that is negative or not finite.
    """
    from scipy.sparse import csr_array, diags_array

    graph = csr_array(graph).astype(np.float64)
    if graph.shape[0] != graph.shape[1]:
        raise InputError(f"a graph of shape {graph.shape}: rows and columns must be the same items")
    bad = ~(np.isfinite(graph.data) & (graph.data >= 0))
    if bad.any():
        raise InputError(
            f"a graph with an edge of weight {graph.data[bad.argmax()]}: give weights of at least 0"
        )
    if graph.diagonal().any():
        raise InputError("a graph that joins an item to itself: remove its diagonal")
    if abs(graph - graph.T).max() > 1e-9 * abs(graph).max():
        raise InputError("a graph that is not symmetric: add its transpose, or build it undirected")
    degree = graph.sum(axis=1)
    shrink = diags_array(np.divide(1.0, np.sqrt(degree), out=np.zeros_like(degree), where=degree > 0))
    return csr_array(shrink @ graph @ shrink)


def shuffled(graph: csr_array, generator: np.random.Generator) -> csr_array:
    """The same graph with its items relabelled at random, padding left where it is: a placebo."""
    from scipy.sparse import csr_array

    label = np.concatenate([[PAD_IDX], 1 + generator.permutation(graph.shape[0] - 1)])
    edges = graph.tocoo()
    return csr_array((edges.data, (label[edges.row], label[edges.col])), shape=graph.shape)


def _checked(sequences: TrainingSequences, n_items: int) -> TrainingSequences:
    item_idx = sequences.item_idx
    if len(item_idx) and item_idx.max() > n_items:
        raise InputError(f"training windows hold item_idx {item_idx.max()}, the catalogue ends at {n_items}")
    return sequences


def _without_diagonal(graph: csr_array) -> csr_array:
    from scipy.sparse import csr_array

    edges = graph.tocoo()
    other = edges.row != edges.col
    return csr_array((edges.data[other], (edges.row[other], edges.col[other])), shape=edges.shape)
