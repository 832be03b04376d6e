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
    retained_variance,
    safe_weight,
    scaled_rows,
    truncated_rec_pca,
    variation_ratio,
    whitened_pca,
)
from reclib.kernels.smoothness import total_variation
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


@pytest.mark.parametrize("solver", ["dense", "lanczos"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_a_penalty_it_is_scikit_learns_pca(solver: str, dtype: torch.dtype) -> None:
    centred, mean = centred_rows(ROWS.to(dtype))
    directions, values = rec_pca(moments(centred, GRAPH), D, weight=0.0, solver=solver)
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
        kept.append(retained_variance(KNOWN, directions))
        variation.append((directions * (KNOWN.roughness @ directions)).sum().item())
    assert kept == sorted(kept, reverse=True)
    assert variation == sorted(variation, reverse=True)
    assert kept[0] > kept[-1] + 1e-4


def test_measures_are_those_of_the_projected_rows() -> None:
    directions, _ = rec_pca(KNOWN, D, weight=0.5)
    z = CENTRED @ directions
    assert retained_variance(KNOWN, directions) == pytest.approx(
        float(z.square().sum() / CENTRED.square().sum())
    )
    assert retained_variance(KNOWN, 3 * directions) == pytest.approx(retained_variance(KNOWN, directions))
    ratio = float(total_variation(GRAPH, z) / z.square().sum())
    assert variation_ratio(KNOWN, directions) == pytest.approx(ratio)
    whole = float(total_variation(GRAPH, CENTRED) / CENTRED.square().sum())
    assert variation_ratio(KNOWN) == pytest.approx(whole)


def test_a_weight_beyond_what_is_feasible_says_so() -> None:
    bound = safe_weight(KNOWN)
    rec_pca(KNOWN, E, weight=0.99 * bound)
    with pytest.raises(
        InfeasibleError, match=rf"λ = .*: {E - 1} of {E} eigenvalues .* take at most {E - 1} dim"
    ):
        rec_pca(KNOWN, E, weight=1.01 * bound)
    with pytest.raises(InfeasibleError, match="λ = 50: 0 of 5 .*: lower λ") as caught:
        rec_pca(KNOWN, D, weight=50.0)
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
    directions, _ = whitened_pca(KNOWN, D)
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
