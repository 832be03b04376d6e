"""Whether items that texts place together are items that users take together, and what if they were.

That angular clusters of semantics and of collaboration are misaligned is confirmed by the abstract of
TF-LLMER (arXiv 2604.20490); both measures here are derived by us (statement 5 of §9 of our specification).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from reclib.data.cooccurrence import strongest_edges
from reclib.kernels.neighbours import nearest_by_cosine
from reclib.schema import PAD_IDX, InputError

if TYPE_CHECKING:
    from scipy.sparse import csr_array


def neighbour_overlap(vectors: np.ndarray, graph: csr_array, *, k: int = 10) -> np.ndarray:
    """Share of an item's k strongest neighbours in a graph that are among its k nearest by cosine, (N+1,).

    |A ∩ B| / |B|, B of at most k items; NaN for items without an edge or without a vector, padding among
    them. A random order of items has about k/N. vectors: (N+1, E), graph: (N+1, N+1); no similarity of all
    pairs is made. Raises InputError for a graph of another number of items.
    """
    n_rows = len(vectors)
    if graph.shape != (n_rows, n_rows):
        raise InputError(f"a graph of shape {graph.shape} for {n_rows} vectors: give both of the same items")
    has_vector = np.flatnonzero(vectors.any(axis=1))
    rows = torch.from_numpy(np.asarray(vectors[has_vector], dtype=np.float32))
    near = has_vector[nearest_by_cosine(rows, k).numpy()]
    edges = graph.tocoo()
    item, other = strongest_edges(edges.row, edges.col, edges.data, k)
    is_near = np.isin(
        item.astype(np.int64) * n_rows + other, (has_vector[:, None] * n_rows + near).ravel().astype(np.int64)
    )
    found = np.bincount(item, weights=is_near, minlength=n_rows)
    size = np.bincount(item, minlength=n_rows).astype(float)
    size[~vectors.any(axis=1)] = 0
    return np.divide(found, size, out=np.full(n_rows, np.nan), where=size > 0)


def with_spectrum_of(rows: np.ndarray, other: np.ndarray) -> np.ndarray:
    """U diag(s) Vᵀ with U, V of the rows and the singular values s of another table, (N+1, D) float32.

    A table with the geometry of one projection, such as Rec-PCA, and the spectrum of another, such as PCA:
    what differs in training is then which items lie together. Rows of zeros, as padding has, stay zero.
    rows, other: (N+1, D) of one shape, else InputError.
    """
    if rows.shape != other.shape:
        raise InputError(
            f"tables of shapes {rows.shape} and {other.shape}: give two of the same items and width"
        )
    left, _, right = np.linalg.svd(rows.astype(np.float64), full_matrices=False)
    values = np.linalg.svd(other.astype(np.float64), compute_uv=False)
    made = ((left * values) @ right).astype(np.float32)
    made[~rows.any(axis=1)] = 0
    made[PAD_IDX] = 0
    return made
