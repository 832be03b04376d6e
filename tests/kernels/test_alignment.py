"""The alignment losses against loops over items and dimensions, and at their edges."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
import torch
from torch import Tensor

from reclib.kernels.alignment import (
    cross_correlation,
    feature_alignment,
    item_alignment,
    popular_half,
    similarity_alignment,
)
from reclib.training.schedules import cosine_weight


def spaces(k: int, d: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, k, d, generator=generator, dtype=torch.float64)
    return first.requires_grad_(), second.requires_grad_()


def naive_items(first: np.ndarray, second: np.ndarray, temperature: float) -> list[float]:
    losses = []
    for k in range(len(first)):
        cosines = [
            first[k] @ other / (np.linalg.norm(first[k]) * np.linalg.norm(other)) / temperature
            for other in second
        ]
        losses.append(-cosines[k] + np.log(np.sum(np.exp(cosines))))
    return losses


def naive_features(first: np.ndarray, second: np.ndarray, weight: float) -> float:
    total, d = 0.0, first.shape[1]
    for i in range(d):
        for j in range(d):
            a, b = first[:, i] - first[:, i].mean(), second[:, j] - second[:, j].mean()
            c = (a * b).sum() / (sqrt((a**2).sum()) * sqrt((b**2).sum()))
            total += (1 - c) ** 2 if i == j else weight * c**2
    return total


def test_losses_equal_their_loops() -> None:
    first, second = spaces(7, 4)
    a, b = first.detach().numpy(), second.detach().numpy()
    ours = item_alignment(first, second, temperature=0.3)
    np.testing.assert_allclose(ours.detach(), naive_items(a, b, 0.3), rtol=1e-10)
    ours = feature_alignment(first, second, redundancy_weight=0.01)
    assert ours.item() == pytest.approx(naive_features(a, b, 0.01), rel=1e-10)
    np.testing.assert_allclose(
        cross_correlation(first, second).detach(), np.corrcoef(a.T, b.T)[:4, 4:], atol=1e-12
    )


def naive_similarity(first: np.ndarray, second: np.ndarray, temperature: float) -> list[float]:
    def softmax(row: list[float]) -> np.ndarray:
        powers = np.exp(row)
        return powers / powers.sum()

    n = range(len(first))
    target = np.array(
        [softmax([temperature * (first[k] @ first[j] + second[k] @ second[j]) / 2 for j in n]) for k in n]
    )
    losses = []
    for k in n:
        one = np.log(softmax([first[k] @ second[j] / temperature for j in n]))
        other = np.log(softmax([second[k] @ first[j] / temperature for j in n]))
        losses.append(-sum(target[k, j] * one[j] + target[j, k] * other[j] for j in n) / 2)
    return losses


def test_the_alignment_by_similarities_equals_its_loop_and_is_0_for_one_item() -> None:
    first, second = spaces(6, 3)
    ours = similarity_alignment(first, second, temperature=2.0)
    expected = naive_similarity(first.detach().numpy(), second.detach().numpy(), 2.0)
    np.testing.assert_allclose(ours.detach(), expected, rtol=1e-10)
    assert torch.autograd.gradcheck(lambda a, b: similarity_alignment(a, b, temperature=0.5), spaces(4, 3))
    assert similarity_alignment(*spaces(1, 3), temperature=1.0).tolist() == [0.0]


def test_gradients_are_those_of_the_losses() -> None:
    assert torch.autograd.gradcheck(lambda a, b: item_alignment(a, b, temperature=0.5), spaces(5, 3))
    assert torch.autograd.gradcheck(lambda a, b: feature_alignment(a, b, redundancy_weight=0.1), spaces(5, 3))


def test_standardised_dimensions_are_those_of_the_paper() -> None:
    """Means and standard deviations over the group, as printed, leave the normalised product as it is."""
    first, second = (space.detach() for space in spaces(9, 3))
    standard = [(space - space.mean(dim=0)) / space.std(dim=0) for space in (first, second)]
    torch.testing.assert_close(cross_correlation(*standard), cross_correlation(first, second))


def test_equal_spaces_are_aligned() -> None:
    basis = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(1)))[0][:, :3]
    centred = torch.linalg.qr(basis - basis.mean(dim=0))[0]  # uncorrelated dimensions of mean 0
    assert feature_alignment(centred, 5 * centred, redundancy_weight=1.0).item() == pytest.approx(0, abs=1e-5)
    assert (item_alignment(centred, 5 * centred, temperature=0.01) < 0.7).all()


@pytest.mark.parametrize("k", [0, 1])
def test_a_group_without_variation_costs_d_and_has_a_finite_gradient(k: int) -> None:
    first, second = spaces(k, 4)
    loss = feature_alignment(first, second, redundancy_weight=0.1)
    loss.backward()
    assert loss.item() == (4.0 if k else pytest.approx(4.0))
    assert not first.grad.any()
    assert item_alignment(first, second, temperature=0.1).tolist() == [0.0] * k


def test_a_constant_dimension_correlates_with_nothing() -> None:
    first, second = spaces(6, 3)
    flat = first.detach().clone()
    flat[:, 1] = 2.5
    flat.requires_grad_()
    assert not cross_correlation(flat, second)[1].any()
    feature_alignment(flat, second, redundancy_weight=0.1).backward()
    assert flat.grad.isfinite().all()


def test_a_batch_smaller_than_the_width_is_defined() -> None:
    first, second = spaces(3, 16)
    assert feature_alignment(first, second, redundancy_weight=0.1).isfinite()


def test_the_popular_half_holds_the_highest_counts() -> None:
    assert popular_half(torch.tensor([5, 1, 9, 2, 7])).tolist() == [False, False, True, False, True]
    assert popular_half(torch.tensor([3, 3, 3, 3])).sum() == 2
    assert popular_half(torch.tensor([3])).tolist() == [False]
    assert popular_half(torch.tensor([], dtype=torch.int64)).tolist() == []


def test_the_curriculum_begins_high_and_turns_at_half_its_period() -> None:
    weights = [cosine_weight(t, period=8, lowest=0.2, highest=0.8) for t in range(9)]
    assert weights[0] == pytest.approx(0.8)
    assert weights[4] == pytest.approx(0.2)
    assert weights[8] == pytest.approx(0.8)
    assert weights[2] == pytest.approx(0.5)
    assert weights == pytest.approx(weights[::-1])
