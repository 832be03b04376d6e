"""Rec-PCA without a penalty is PCA, with one no orthonormal W does better; its kin are what they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import Tensor

from reclib.kernels.projection import (
    InfeasibleError,
    Moments,
    Projection,
    centred_rows,
    locality_preserving,
    moments,
    penalised_variance,
    principal,
    project,
    rec_pca,
    rec_pca_by_products,
    retained_variance,
    safe_weight,
    scaled_rows,
    squared_length,
    truncated_rec_pca,
    whitened,
)
from reclib.kernels.smoothness import total_variation, variation_ratio
from tests.kernels.made_graph import adjacency, laplacian, normal_graph, texts

N, E, D = 120, 20, 5
WEIGHTS = adjacency(N, share=0.06)
GRAPH = normal_graph(WEIGHTS)
ROWS = texts(N, E)
CENTRED, MEAN = centred_rows(ROWS)
KNOWN = moments(CENTRED, GRAPH)


def overlap(first: Tensor, second: Tensor) -> float:
    """‖Q₁ᵀQ₂‖²/d of the spans of two (E, d): 1 for the same, d/E at random."""
    one, two = torch.linalg.qr(first)[0], torch.linalg.qr(second)[0]
    return float((one.T @ two).square().sum() / first.shape[1])


def test_rows_have_one_length_and_pass_the_gradient_on() -> None:
    rows = torch.cat([ROWS[:5], torch.zeros(1, E).double()]).requires_grad_()
    scaled = scaled_rows(rows, scale=3.0)
    torch.testing.assert_close(scaled[:5].norm(dim=1), torch.full((5,), 3.0).double())
    assert not scaled[5].any()
    scaled[:5].sum().backward()
    along = (rows.grad[:5] * rows[:5]).sum(dim=1)
    torch.testing.assert_close(along, torch.zeros(5).double(), atol=1e-6, rtol=0)


def test_moments_are_the_products_of_dense_matrices() -> None:
    x = ROWS.numpy() / np.linalg.norm(ROWS, axis=1, keepdims=True)
    x = x - x.mean(axis=0)
    np.testing.assert_allclose(KNOWN.covariance, x.T @ x, atol=1e-7)  # lengths are divided by with 1e-8 added
    np.testing.assert_allclose(KNOWN.roughness, x.T @ laplacian(WEIGHTS) @ x, atol=1e-7)


def test_blocks_and_panels_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reclib.kernels.projection.ROWS_AT_ONCE", 7)
    monkeypatch.setattr("reclib.kernels.projection.PANEL", 6)
    for blocks, whole in zip(moments(CENTRED, GRAPH), KNOWN, strict=True):
        torch.testing.assert_close(blocks, whole)
        torch.testing.assert_close(blocks, blocks.T)
    single = moments(CENTRED.float(), GRAPH)
    assert single.covariance.dtype == torch.float64
    torch.testing.assert_close(single.roughness, KNOWN.roughness, atol=1e-5, rtol=1e-4)


def solved(rows: Tensor, solver: str, weight: float, d: int = D) -> tuple[Tensor, Tensor]:
    """Directions and eigenvalues by either way."""
    if solver == "products":
        return rec_pca_by_products(rows, GRAPH, d, weight=weight)
    return rec_pca(moments(rows, GRAPH), d, weight=weight)


@pytest.mark.parametrize("solver", ["dense", "products"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_a_penalty_it_is_scikit_learns_pca(solver: str, dtype: torch.dtype) -> None:
    centred, mean = centred_rows(ROWS.to(dtype))
    directions, values = solved(centred, solver, 0.0)
    unit = ROWS.numpy() / np.linalg.norm(ROWS, axis=1, keepdims=True)
    oracle = PCA(D, svd_solver="full").fit(unit)
    assert overlap(directions, torch.from_numpy(oracle.components_.T)) > 0.99999
    tolerance = 1e-3 if dtype is torch.float32 else 1e-6
    np.testing.assert_allclose(values / (N - 1), oracle.explained_variance_, rtol=tolerance)
    ours = project(Projection(mean, directions, values, True), ROWS.to(dtype))
    np.testing.assert_allclose(ours.abs(), np.abs(oracle.transform(unit)), atol=tolerance)


@pytest.mark.parametrize("weight", [0.5, 1.0])
def test_no_orthonormal_directions_do_better(weight: float) -> None:
    directions, values = rec_pca(KNOWN, D, weight=weight)
    best = penalised_variance(KNOWN, directions, weight=weight)
    assert best.item() == pytest.approx(values.sum().item(), rel=1e-10)
    z = CENTRED @ directions
    by_definition = z.square().sum() - weight * total_variation(GRAPH, z)
    assert best.item() == pytest.approx(by_definition.item(), rel=1e-10)
    generator = torch.Generator().manual_seed(0)
    for seed in range(1000):
        drawn = torch.randn(E, D, generator=generator, dtype=torch.float64)
        if seed % 2:  # near the optimum, where it is hard
            drawn = directions + 0.05 * drawn
        other = torch.linalg.qr(drawn)[0]
        assert penalised_variance(KNOWN, other, weight=weight) < best


def test_the_gradient_on_the_sphere_of_directions_is_zero() -> None:
    """The part of ∂/∂W that leaves the span of W vanishes, and its second difference is negative."""
    directions, _ = rec_pca(KNOWN, D, weight=0.8)
    free = directions.clone().requires_grad_()
    penalised_variance(KNOWN, free, weight=0.8).backward()
    outside = free.grad - directions @ (directions.T @ free.grad)
    assert outside.abs().max() < 1e-8 * free.grad.abs().max()
    best, generator = penalised_variance(KNOWN, directions, weight=0.8), torch.Generator().manual_seed(1)
    for _ in range(20):
        aside = torch.randn(E, D, generator=generator, dtype=torch.float64)
        aside = 1e-3 * (aside - directions @ (directions.T @ aside))
        there, back = (
            penalised_variance(KNOWN, torch.linalg.qr(directions + step)[0], weight=0.8)
            for step in (aside, -aside)
        )
        assert abs(there - back) < 1e-3 * (2 * best - there - back), "the first difference vanishes"
        assert there + back - 2 * best < 0


def test_the_penalty_is_kernel_target_alignment() -> None:
    """tr(WᵀX_cᵀ(I − λL)X_cW) = (1 − λ) tr K + λ⟨K, Â⟩ where no item is isolated."""
    weights = adjacency(N, share=0.06, isolated=0)
    weights += np.eye(N, k=1) + np.eye(N, k=-1)
    assert weights.any(axis=1).all()
    known = moments(CENTRED, normal_graph(weights))
    directions, _ = rec_pca(known, D, weight=0.7)
    z = (CENTRED @ directions).numpy()
    kernel, target = z @ z.T, np.eye(N) - laplacian(weights)
    expected = 0.3 * np.trace(kernel) + 0.7 * (kernel * target).sum()
    assert penalised_variance(known, directions, weight=0.7).item() == pytest.approx(expected, rel=1e-9)


def test_a_heavier_penalty_varies_less_and_retains_less() -> None:
    kept, variation = [], []
    for weight in (0.0, 0.3, 0.6, 0.9):
        directions, _ = rec_pca(KNOWN, D, weight=weight)
        kept.append(retained_variance(CENTRED, directions))
        variation.append((directions * (KNOWN.roughness @ directions)).sum().item())
    assert kept == sorted(kept, reverse=True)
    assert variation == sorted(variation, reverse=True)
    assert kept[0] > kept[-1] + 1e-4


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_without_the_moments_directions_are_the_same(weight: float, dtype: torch.dtype) -> None:
    """In a wider space than Lanczos exhausts, and over several blocks of rows."""
    width, n_items = 300, 400
    weights = adjacency(n_items, share=0.02)
    rows = torch.from_numpy(np.random.default_rng(3).normal(size=(n_items, width)))
    rows = rows * torch.linspace(3, 0.05, width).square() + 0.2
    centred, _ = centred_rows(rows.to(dtype))
    graph = normal_graph(weights)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("reclib.kernels.projection.ROWS_AT_ONCE", 128)
        directions, values = rec_pca_by_products(centred, graph, D, weight=weight)
    expected, exact = rec_pca(moments(centred, graph), D, weight=weight)
    assert overlap(directions, expected) > 0.99999
    np.testing.assert_allclose(values, exact, rtol=1e-5)
    torch.testing.assert_close(directions.T @ directions, torch.eye(D).double(), atol=1e-9, rtol=0)


def test_measures_are_those_of_the_projected_rows() -> None:
    directions, _ = rec_pca(KNOWN, D, weight=0.5)
    z = CENTRED @ directions
    whole = squared_length(CENTRED)
    assert whole == pytest.approx(float(KNOWN.covariance.trace()))
    assert retained_variance(CENTRED, directions) == pytest.approx(float(z.square().sum()) / whole)
    assert retained_variance(CENTRED, 3 * directions) == pytest.approx(retained_variance(CENTRED, directions))
    assert retained_variance(torch.zeros_like(CENTRED), directions) == 1
    rough = (directions * (KNOWN.roughness @ directions)).sum() / z.square().sum()
    assert float(variation_ratio(GRAPH, z)) == pytest.approx(float(rough))


@pytest.mark.parametrize("solver", ["dense", "products"])
def test_a_weight_beyond_what_is_feasible_says_so(solver: str) -> None:
    bound = safe_weight(KNOWN)
    solved(CENTRED, solver, 0.99 * bound, E)
    with pytest.raises(
        InfeasibleError, match=rf"λ = .*: {E - 1} of {E} eigenvalues .* take at most {E - 1} dim"
    ):
        solved(CENTRED, solver, 1.01 * bound, E)
    with pytest.raises(InfeasibleError, match="λ = 50: 0 of 5 .*: lower λ") as caught:
        solved(CENTRED, solver, 50.0)
    assert caught.value.n_positive == 0


def test_texts_that_span_too_little_are_refused_and_duplicates_stay_together() -> None:
    few = ROWS[:4].repeat(30, 1)
    centred, mean = centred_rows(few)
    known = moments(centred)
    with pytest.raises(InfeasibleError, match="λ = 0: 3 of 5 .*: take at most 3 dimensions$"):
        rec_pca(known, D, weight=0.0)
    directions, values = rec_pca(known, 3, weight=0.0)
    z = project(Projection(mean, directions, values, True), few)
    torch.testing.assert_close(z[:4], z[4:8])


def test_rows_of_zeros_count_nowhere_and_stay_zero() -> None:
    with_gaps = torch.cat([torch.zeros(1, E).double(), ROWS, torch.zeros(2, E).double()])
    weights = np.zeros((N + 3, N + 3))
    weights[1 : N + 1, 1 : N + 1] = WEIGHTS
    centred, mean = centred_rows(with_gaps)
    torch.testing.assert_close(mean, MEAN)
    torch.testing.assert_close(moments(centred, normal_graph(weights)), KNOWN)
    directions, values = rec_pca(KNOWN, D, weight=0.5)
    z = project(Projection(mean, directions, values, True), with_gaps)
    assert not z[[0, -1, -2]].any()
    torch.testing.assert_close(z[1:-2], CENTRED @ directions)


def test_cold_items_are_projected_as_those_of_the_fit() -> None:
    directions, values = rec_pca(KNOWN, D, weight=0.5)
    projection = Projection(MEAN, directions, values, True)
    cold = 7 * ROWS[3:4]  # of another length
    torch.testing.assert_close(project(projection, cold), project(projection, ROWS)[3:4])


def test_without_unit_length_rows_are_centred_only() -> None:
    centred, mean = centred_rows(ROWS, is_unit=False)
    torch.testing.assert_close(mean, ROWS.mean(dim=0))
    torch.testing.assert_close(centred, ROWS - ROWS.mean(dim=0))
    assert ROWS.abs().sum() == texts(N, E).abs().sum(), "the rows given are left as they were"


def test_whitening_gives_every_direction_one_variance() -> None:
    directions = whitened(*rec_pca(KNOWN, D, weight=0.0))
    z = CENTRED @ directions
    torch.testing.assert_close(z.T @ z, torch.eye(D).double(), atol=1e-9, rtol=0)
    assert overlap(directions, rec_pca(KNOWN, D, weight=0.0)[0]) == pytest.approx(1)


def test_locality_preserving_directions_vary_least_at_one_variance() -> None:
    directions, values = locality_preserving(KNOWN, D, share=1.0)
    z = CENTRED @ directions
    torch.testing.assert_close(z.T @ z, torch.eye(D).double(), atol=1e-8, rtol=0)
    torch.testing.assert_close(
        directions.T @ KNOWN.roughness @ directions, torch.diag(1 - values), atol=1e-8, rtol=0
    )
    from scipy.linalg import eigh

    least = eigh(KNOWN.roughness.numpy(), KNOWN.covariance.numpy(), eigvals_only=True)[:D]
    np.testing.assert_allclose(1 - values, least, atol=1e-8)


@pytest.mark.parametrize("weight", [0.4, 2.0])
def test_it_is_rec_pca_of_whitened_rows(weight: float) -> None:
    basis, variance = principal(KNOWN, 0.95)
    basis = basis / variance.sqrt()
    white = Moments(basis.T @ KNOWN.covariance @ basis, basis.T @ KNOWN.roughness @ basis)
    values, vectors = torch.linalg.eigh(white.covariance - weight * white.roughness)
    assert overlap(basis @ vectors[:, -D:], locality_preserving(KNOWN, D, share=0.95)[0]) == pytest.approx(1)


def test_truncation_keeps_to_the_principal_directions() -> None:
    basis, variance = principal(KNOWN, 0.8)
    total = KNOWN.covariance.diagonal().sum()
    assert variance.sum() >= 0.8 * total > variance[:-1].sum()
    directions, _ = truncated_rec_pca(KNOWN, D, weight=0.9, share=0.8)
    torch.testing.assert_close(directions.T @ directions, torch.eye(D).double(), atol=1e-9, rtol=0)
    inside = basis @ (basis.T @ directions)
    torch.testing.assert_close(inside, directions, atol=1e-9, rtol=0)
    whole = truncated_rec_pca(KNOWN, D, weight=0.9, share=1.0)[0]
    assert overlap(whole, rec_pca(KNOWN, D, weight=0.9)[0]) == pytest.approx(1)
    with pytest.raises(InfeasibleError, match="hold 30% of the variance, fewer than the 19 .*larger share"):
        truncated_rec_pca(KNOWN, 19, weight=0.0, share=0.3)
