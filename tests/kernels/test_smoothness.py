"""What a graph says of vectors, against dense matrices and sums over pairs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from reclib.kernels.smoothness import (
    edge_cosine,
    kernel_target_alignment,
    laplacian_rows,
    neighbour_spread,
    neighbour_sums,
    total_variation,
)
from tests.kernels.made_graph import adjacency, laplacian, normal_graph, sparse, texts

N, D = 30, 6
WEIGHTS = adjacency(N)
VALUES = texts(N, D)
Z = VALUES.numpy()


@pytest.mark.parametrize("rows", [slice(None), slice(0, 7), slice(25, 40), slice(28, 30)])
def test_sums_over_neighbours_are_products_with_the_matrix(rows: slice) -> None:
    np.testing.assert_allclose(neighbour_sums(sparse(WEIGHTS), VALUES, rows), (WEIGHTS @ Z)[rows], atol=1e-12)
    np.testing.assert_allclose(
        laplacian_rows(normal_graph(WEIGHTS), VALUES, rows), (laplacian(WEIGHTS) @ Z)[rows], atol=1e-12
    )


def test_a_graph_without_edges_sums_to_nothing_and_costs_nothing() -> None:
    none = sparse(np.zeros((N, N)))
    assert not neighbour_sums(none, VALUES).any()
    assert total_variation(none, VALUES) == 0
    assert none.is_isolated.all()


def test_total_variation_is_the_sum_over_edges() -> None:
    degree = WEIGHTS.sum(axis=1)
    by_edges = 0.0
    for i in range(N):
        for j in range(N):
            if WEIGHTS[i, j]:
                gap = Z[i] / np.sqrt(degree[i]) - Z[j] / np.sqrt(degree[j])
                by_edges += WEIGHTS[i, j] * (gap @ gap) / 2
    assert total_variation(normal_graph(WEIGHTS), VALUES).item() == pytest.approx(by_edges, rel=1e-12)


def test_vectors_in_proportion_to_the_root_of_the_degree_do_not_vary() -> None:
    degree = torch.from_numpy(WEIGHTS.sum(axis=1))
    values = degree.sqrt()[:, None] * torch.tensor([[1.0, -2.0]]).double()
    assert total_variation(normal_graph(WEIGHTS), values).item() == pytest.approx(0, abs=1e-10)


def test_edge_cosine_is_the_weighted_mean_over_edges() -> None:
    unit = Z / np.linalg.norm(Z, axis=1, keepdims=True)
    expected = (WEIGHTS * (unit @ unit.T)).sum() / WEIGHTS.sum()
    assert edge_cosine(sparse(WEIGHTS), VALUES).item() == pytest.approx(expected, rel=1e-12)
    zero = VALUES.clone()
    zero[0] = 0
    unit[0] = 0
    expected = (WEIGHTS * (unit @ unit.T)).sum() / WEIGHTS.sum()
    assert edge_cosine(sparse(WEIGHTS), zero).item() == pytest.approx(expected, rel=1e-12)


def test_alignment_is_that_of_the_kernel_of_all_pairs() -> None:
    target = np.where(laplacian(WEIGHTS).any(axis=1)[:, None], np.eye(N), 0) - laplacian(WEIGHTS)
    kernel = Z @ Z.T
    expected = (kernel * target).sum() / np.linalg.norm(kernel) / np.linalg.norm(target)
    ours = kernel_target_alignment(normal_graph(WEIGHTS), VALUES).item()
    assert ours == pytest.approx(expected, rel=1e-12)


def test_spread_is_the_variance_over_neighbours() -> None:
    spread = neighbour_spread(sparse(WEIGHTS), VALUES)
    for i in range(N):
        if not WEIGHTS[i].any():
            assert spread[i].isnan()
            continue
        share = WEIGHTS[i] / WEIGHTS[i].sum()
        centred = Z - share @ Z
        assert spread[i].item() == pytest.approx((share[:, None] * centred**2).sum(), rel=1e-9)


def test_gradients_pass_through() -> None:
    graph, values = normal_graph(WEIGHTS), VALUES[:, :2].clone().requires_grad_()
    total_variation(graph, values).backward()
    expected = 2 * laplacian(WEIGHTS) @ values.detach().numpy()
    np.testing.assert_allclose(values.grad, expected, atol=1e-12)
