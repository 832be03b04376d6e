"""What a sparse graph of items says of their vectors: sums over neighbours, total variation, alignment.

Derived by us from the abstract of TF-LLMER (arXiv 2604.20490), whose body is not at hand: which Laplacian
and which edge weights the paper takes is open.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag, normalize


class SparseGraph(NamedTuple):
    """A symmetric matrix of edge weights without a diagonal, row by row.

    row_start: (N+1,) int64; neighbour, weight: (edges,) int64 and float, those of row i from row_start[i] to
    row_start[i + 1]. An item is isolated where it has none.
    """

    row_start: Tensor
    neighbour: Tensor
    weight: Tensor

    @property
    def is_isolated(self) -> Tensor:
        """Which rows have no edge, (N,) bool."""
        return self.row_start[1:] == self.row_start[:-1]


def neighbour_sums(graph: SparseGraph, values: Tensor, rows: slice = slice(None)) -> Tensor:
    """(A Z)_i = Σ_j A_ij z_j of some rows i, (R, D); zeros for isolated items.

    values: Z (N, D); rows: a slice without a step. No dense (N, N) matrix is made, nor a copy for each edge.
    """
    first, last, _ = rows.indices(len(graph.row_start) - 1)
    start, stop = int(graph.row_start[first]), int(graph.row_start[last])
    if start == stop:
        return values.new_zeros(last - first, values.shape[1])
    return embedding_bag(
        graph.neighbour[start:stop],
        values,
        graph.row_start[first:last] - start,
        mode="sum",
        per_sample_weights=graph.weight[start:stop].to(values.dtype),
    )


def laplacian_rows(graph: SparseGraph, values: Tensor, rows: slice = slice(None)) -> Tensor:
    """(L Z)_i = z_i − Σ_j Â_ij z_j of some rows i, (R, D); zeros for isolated items, which pay nothing.

    graph: the normalised Â = D^−½ A D^−½, so that L has its spectrum in [0, 2]. Derived by us, §4.3.
    """
    own = values[rows] * ~graph.is_isolated[rows, None]
    return own - neighbour_sums(graph, values, rows)


def total_variation(graph: SparseGraph, values: Tensor) -> Tensor:
    """TV(Z) = tr(Zᵀ L Z) = ½ Σ_ij A_ij ‖z_i/√d_i − z_j/√d_j‖², a scalar.

    graph: the normalised Â; values: Z (N, D). Zero for vectors ∝ √degree, the null vector of L, and where
    all items are isolated. The penalty on total variation over a co-occurrence graph is confirmed by the
    abstract; this form of it is derived by us, §4.1.
    """
    return (values * laplacian_rows(graph, values)).sum()


def variation_ratio(graph: SparseGraph, values: Tensor) -> Tensor:
    """TV(Z) / tr(ZᵀZ), between 0 and 2, a scalar; NaN for vectors that are all zero. Derived by us, §4.3."""
    return total_variation(graph, values) / values.square().sum()


def edge_cosine(graph: SparseGraph, values: Tensor) -> Tensor:
    """Σ_ij A_ij cos(z_i, z_j) / Σ_ij A_ij, a scalar; NaN without edges. A vector of zeros has cosine 0."""
    unit = normalize(values, dim=1)
    return (unit * neighbour_sums(graph, unit)).sum() / graph.weight.sum()


def kernel_target_alignment(graph: SparseGraph, values: Tensor) -> Tensor:
    """KTA = ⟨K, Â⟩ / (‖K‖ ‖Â‖) in Frobenius norms, K = Z Zᵀ, a scalar between −1 and 1.

    ⟨K, Â⟩ = Σ_ij Â_ij z_i·z_j and ‖K‖ = ‖Zᵀ Z‖: no (N, N) kernel is made. NaN for vectors that are all zero
    and for a graph without edges. Derived by us, §3.6.
    """
    inner = (values * neighbour_sums(graph, values)).sum()
    kernel = torch.linalg.matrix_norm(values.T @ values)
    return inner / (kernel * torch.linalg.vector_norm(graph.weight.to(values.dtype)))


def neighbour_spread(graph: SparseGraph, values: Tensor) -> Tensor:
    """Trace of Cov_{j∼A_i}(z_j), Σ_j P_ij ‖z_j‖² − ‖Σ_j P_ij z_j‖², of each item, (N,); P = D⁻¹A.

    NaN where isolated. The curvature that a context has whose probability lies on the items that go with
    item i. graph: raw weights; values: Z (N, D). Derived by us, §3.7.
    """
    ones = values.new_ones(len(values), 1)
    degree = neighbour_sums(graph, ones)[:, 0]
    mean = neighbour_sums(graph, values) / degree[:, None]
    square = neighbour_sums(graph, values.square().sum(dim=1, keepdim=True))[:, 0] / degree
    return square - mean.square().sum(dim=1)
