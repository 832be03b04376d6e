"""The Hessian is that of autograd, its numbers those of dense matrices; bounds hold, formulas come close."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from reclib.kernels.curvature import (
    cluster_condition,
    cluster_condition_refined,
    condition_bounds,
    condition_number,
    cone_condition,
    cone_ratio,
    covariance,
    covariance_product,
    covariance_trace,
    diameter,
    extreme_spectra,
    largest_bound,
    probabilities,
    spectra,
)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def table(n_items: int, width: int, *, seed: int = 0) -> Tensor:
    """Vectors of unequal lengths in a cone; row 0 is large, so that it would show."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n_items + 1, width)) + rng.normal(size=width)
    rows *= rng.lognormal(0, 0.5, (n_items + 1, 1))
    rows[0] = 100
    return torch.from_numpy(rows)


def test_it_is_the_hessian_of_the_loss_whatever_the_label() -> None:
    items, state = table(9, 4), draw(4, seed=1)
    ours = covariance(probabilities(state[None], items)[0], items)
    for label in (0, 7):
        exact = torch.autograd.functional.hessian(
            lambda h, label=label: -(items[1:] @ h).log_softmax(0)[label], state
        )
        torch.testing.assert_close(ours, exact, atol=1e-10, rtol=1e-10)


def test_products_and_trace_need_no_matrix() -> None:
    items, state = table(30, 6), draw(6, seed=1)
    probability = probabilities(state[None], items)[0]
    hessian, directions = covariance(probability, items), draw(6, 3, seed=2)
    torch.testing.assert_close(covariance_product(probability, items, directions), hessian @ directions)
    torch.testing.assert_close(covariance_trace(probability, items), hessian.trace())


def test_numbers_of_the_spectrum_are_their_definitions() -> None:
    items, states = table(40, 5), draw(3, 5, seed=1)
    found = spectra(states, items)
    for row, state in enumerate(states):
        p = torch.softmax(items[1:] @ state, 0).numpy()
        e = items[1:].numpy()
        values = np.linalg.eigvalsh((p[:, None] * e).T @ e - np.outer(p @ e, p @ e))
        share = values / values.sum()
        expected = [values[-1], values[0], values[2], values.sum(), np.exp(-(share * np.log(share)).sum())]
        np.testing.assert_allclose([part[row] for part in found][:5], expected, rtol=1e-8)
        assert found.n_effective[row].item() == pytest.approx(1 / (p**2).sum())


def test_null_directions_are_left_out() -> None:
    flat = table(40, 5)
    flat = torch.cat([flat, flat[:, :2] @ draw(2, 2), torch.full((41, 1), 3.0).double()], dim=1)
    found = spectra(torch.zeros(1, 8).double(), flat)
    values = torch.linalg.eigvalsh(covariance(torch.full((40,), 1 / 40).double(), flat))
    assert values[2] < 1e-12 * values[-1] < values[3]
    torch.testing.assert_close(found.smallest[0], values[3])
    assert condition_number(values).item() == pytest.approx((values[-1] / values[3]).item())
    one = torch.ones(4, 2).double()
    assert condition_number(torch.zeros(3)).isnan()
    assert spectra(draw(1, 2), one).largest.item() == pytest.approx(0, abs=1e-20)
    assert spectra(draw(0, 2), one).largest.shape == (0,)


def test_without_the_matrix_the_numbers_are_the_same() -> None:
    items, states = table(400, 48, seed=3), 0.2 * draw(2, 48, seed=1)
    whole = spectra(states, items)
    generator = torch.Generator().manual_seed(0)
    found = extreme_spectra(states, items, n_probes=16, generator=generator)
    for name in ("largest", "smallest", "trace", "n_effective"):
        torch.testing.assert_close(getattr(found, name), getattr(whole, name), rtol=1e-6, atol=0)
    torch.testing.assert_close(found.effective_rank, whole.effective_rank, rtol=0.1, atol=0)
    assert found.median.isnan().all()


def test_the_bounds_are_never_violated() -> None:
    """(2) and (3) on 10,000 draws of items, lengths, angles and states; ties are exact up to rounding."""
    rng, n_draws, n_accurate = np.random.default_rng(0), 0, 0
    for seed in range(100):
        n_items, width = int(rng.integers(3, 40)), int(rng.integers(2, 7))
        items = table(n_items, width, seed=seed) * rng.choice([0.1, 1.0, 3.0])
        if seed % 3 == 0:  # of one length
            items = items / items.norm(dim=1, keepdim=True)
        states = torch.from_numpy(rng.normal(size=(100, width)) * rng.lognormal(0, 1, (100, 1)))
        found, bounds = spectra(states, items), condition_bounds(states, items)
        slack = 1 + 1e-6
        assert (found.largest <= largest_bound(items) * slack).all()
        kappa = found.largest / found.smallest
        accurate = found.smallest > 1e-9 * found.largest  # below, rounding decides what the smallest is
        kappa = kappa[accurate]
        for bound in bounds:
            assert (kappa <= bound[accurate] * slack).all()
        assert (bounds.probability <= bounds.diameter * slack).all()
        assert (bounds.diameter <= bounds.norm * slack).all()
        n_accurate += int(accurate.sum())
        n_draws += len(states)
    assert n_draws == 10_000
    assert n_accurate > 8_000


def test_the_trace_of_items_of_one_length_is_that_of_their_angles() -> None:
    items, states = table(30, 4), draw(5, 4, seed=2)
    items = 3 * items / items.norm(dim=1, keepdim=True)
    for p, trace in zip(probabilities(states, items), spectra(states, items).trace, strict=True):
        resultant = (p @ items[1:] / 3).square().sum()
        assert trace.item() == pytest.approx(9 * (1 - resultant).item())
        assert trace <= largest_bound(items)


def test_the_diameter_is_the_largest_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    items = table(25, 3)
    expected = max((one - two).norm() for one in items[1:] for two in items[1:])
    monkeypatch.setattr("reclib.kernels.curvature.ENTRIES", 60)
    torch.testing.assert_close(diameter(items), expected, atol=1e-6, rtol=1e-6)


def uniform_condition(vectors: Tensor) -> float:
    """κ of the covariance of all rows alike."""
    centred = vectors - vectors.mean(dim=0)
    return condition_number(torch.linalg.eigvalsh(centred.T @ centred / len(vectors))).item()


@pytest.mark.parametrize(
    ("mean_cosine", "norm_cv"),
    [(0.5, 0.4), (0.8, 0.4), (0.8, 0.8), (0.2, 0.8), (0.2, 0.1), (0.5, 0.0), (0.0, 0.5)],
)
def test_norms_in_a_cone_condition_as_the_formula_says(mean_cosine: float, norm_cv: float) -> None:
    n_items, width = 20_000, 64
    rng = np.random.default_rng(1)
    beside = rng.normal(size=(n_items, width - 1))
    beside /= np.linalg.norm(beside, axis=1, keepdims=True)
    units = np.concatenate(
        [np.full((n_items, 1), math.sqrt(mean_cosine)), math.sqrt(1 - mean_cosine) * beside], axis=1
    )
    spread = math.sqrt(math.log(1 + norm_cv**2))
    norms = rng.lognormal(0, spread, (n_items, 1)) if spread else np.ones((n_items, 1))
    ratio = cone_ratio(
        width=width, mean_cosine=mean_cosine, mean_norm=float(norms.mean()), norm_std=float(norms.std())
    )
    predicted = cone_condition(ratio, width=width, n_items=n_items)
    assert uniform_condition(torch.from_numpy(norms * units)) == pytest.approx(predicted, rel=0.3)


def test_the_cone_formula_is_the_specifications_outside_the_spread() -> None:
    b = math.sqrt(64 / 20_000)
    assert cone_condition(9.0, width=64, n_items=20_000) == pytest.approx(9 / (1 - b) ** 2)
    assert cone_condition(0.16, width=64, n_items=20_000) == pytest.approx((1 + b) ** 2 / 0.16)


def clustered(n_clusters: int, within: float, *, n_items: int = 20_000, width: int = 64) -> torch.Tensor:
    """Unit rows (n_items, width) around orthogonal centres."""
    rng = np.random.default_rng(2)
    centres = np.linalg.qr(rng.normal(size=(width, n_clusters)))[0].T
    beside = rng.normal(size=(n_items, width))
    beside /= np.linalg.norm(beside, axis=1, keepdims=True)
    units = math.sqrt(within) * centres[np.arange(n_items) % n_clusters] + math.sqrt(1 - within) * beside
    return torch.from_numpy(units / np.linalg.norm(units, axis=1, keepdims=True))


@pytest.mark.parametrize(("n_clusters", "within"), [(8, 0.5), (8, 0.9), (16, 0.8), (32, 0.9)])
def test_clusters_condition_as_the_formula_says(n_clusters: int, within: float) -> None:
    predicted = cluster_condition(width=64, n_clusters=n_clusters, within_cosine=within)
    assert uniform_condition(clustered(n_clusters, within)) == pytest.approx(predicted, rel=0.3)


@pytest.mark.parametrize("n_clusters", [2, 4, 8, 32])
@pytest.mark.parametrize("within", [0.3, 0.5, 0.8, 0.9])
def test_the_refined_formula_holds_for_few_clusters_too(n_clusters: int, within: float) -> None:
    predicted = cluster_condition_refined(
        width=64, n_clusters=n_clusters, within_cosine=within, n_items=20_000
    )
    assert uniform_condition(clustered(n_clusters, within)) == pytest.approx(predicted, rel=0.05)
