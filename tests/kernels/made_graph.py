"""Graphs of items and texts that go with them, for tests of what reads both."""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from reclib.data.cooccurrence import normalised
from reclib.kernels.smoothness import SparseGraph


def adjacency(n_items: int, *, share: float = 0.15, isolated: int = 3, seed: int = 0) -> np.ndarray:
    """Symmetric weights of 1 to 4 between some of n items; the last ones stand alone."""
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.random((n_items, n_items)) < share, 1) * rng.integers(1, 5, (n_items, n_items))
    weights = (upper + upper.T).astype(float)
    weights[n_items - isolated :] = 0
    weights[:, n_items - isolated :] = 0
    return weights


def sparse(weights: np.ndarray) -> SparseGraph:
    """The same as rows of edges."""
    graph = csr_array(weights)
    return SparseGraph(
        torch.from_numpy(graph.indptr.astype(np.int64)),
        torch.from_numpy(graph.indices.astype(np.int64)),
        torch.from_numpy(graph.data),
    )


def laplacian(weights: np.ndarray) -> np.ndarray:
    """I − D^−½ A D^−½ with rows of zeros for isolated items, by the definition."""
    degree = weights.sum(axis=1)
    dense = np.zeros_like(weights)
    for i in range(len(weights)):
        for j in range(len(weights)):
            if degree[i] and degree[j]:
                dense[i, j] = float(i == j) - weights[i, j] / np.sqrt(degree[i] * degree[j])
    return dense


def texts(n_items: int, width: int, *, seed: int = 1) -> Tensor:
    """Vectors of unequal lengths around a common direction, of a falling spectrum."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n_items, width)) * np.linspace(2, 0.2, width) + 1.5
    return torch.from_numpy(rows * rng.lognormal(0, 0.4, (n_items, 1)))


def normal_graph(weights: np.ndarray) -> SparseGraph:
    """The normalised graph as rows of edges."""
    return sparse(normalised(csr_array(weights)).toarray())
