"""The robust loss is the worst of all distributions near the nominal one, and its limits are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from reclib.kernels.robust import (
    catalogue_robust_loss,
    flattened_popularity,
    robust_loss,
    squared_errors,
    worst_case,
)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def naive(scores: list[float], target: int, nominal: list[float], temperature: float) -> float:
    """One row, one item after another."""
    total = 0.0
    for item, (score, chance) in enumerate(zip(scores, nominal, strict=True)):
        predicted = 1 / (1 + math.exp(-score))
        error = (predicted - (1.0 if item == target else 0.0)) ** 2
        total += chance * math.exp(error / temperature)
    return temperature * math.log(total)


def naive_rows(states: Tensor, items: Tensor, target: Tensor, nominal: Tensor, temperature: float) -> list:
    chances = nominal.exp().tolist()
    return [
        naive([float(state @ item) for item in items[1:]], int(own) - 1, chances, temperature)
        for state, own in zip(states, target, strict=True)
    ]


@pytest.mark.parametrize("rows_at_once", [1, 3, 100])
def test_it_equals_a_loop_over_items_in_blocks_of_any_size(rows_at_once: int) -> None:
    states, items = draw(7, 4).requires_grad_(), draw(10, 4, seed=1).requires_grad_()
    target, nominal = torch.tensor([1, 9, 3, 3, 5, 2, 8]), draw(9, seed=2).log_softmax(dim=0)
    losses = catalogue_robust_loss(states, items, target, nominal, temperature=0.3, rows_at_once=rows_at_once)
    with torch.no_grad():
        expected = naive_rows(states, items, target, nominal, 0.3)
    np.testing.assert_allclose(losses.detach(), expected, rtol=1e-12)
    (losses * torch.arange(1, 8)).sum().backward()
    found = states.grad.clone(), items.grad.clone()
    states.grad = items.grad = None
    whole = robust_loss(squared_errors(states @ items[1:].T, target - 1), nominal, temperature=0.3)
    (whole * torch.arange(1, 8)).sum().backward()
    torch.testing.assert_close(found, (states.grad, items.grad))
    assert not items.grad[0].any(), "padding has no share"


def test_gradients_are_those_of_the_loss() -> None:
    target, nominal = torch.tensor([1, 4, 2]), draw(5, seed=2).log_softmax(dim=0)

    def loss(states: Tensor, items: Tensor) -> Tensor:
        return catalogue_robust_loss(states, items, target, nominal, temperature=0.5, rows_at_once=2)

    assert torch.autograd.gradcheck(loss, (draw(3, 4).requires_grad_(), draw(6, 4, seed=1).requires_grad_()))


@given(seed=st.integers(0, 999), temperature=st.sampled_from([0.1, 0.5, 2.0]))
def test_no_distribution_is_worse_than_the_worst(seed: int, temperature: float) -> None:
    losses, nominal = draw(1, 6, seed=seed).square(), draw(6, seed=seed + 1).log_softmax(dim=0)

    def penalised(log_p: Tensor) -> float:
        p = log_p.exp()
        return float((p * losses[0]).sum() - temperature * (p * (log_p - nominal)).sum())

    bound = float(robust_loss(losses, nominal, temperature=temperature)[0])
    worst = worst_case(losses, nominal, temperature=temperature)[0].log()
    assert penalised(worst) == pytest.approx(bound, rel=1e-9)
    for other in (nominal, draw(6, seed=seed + 2).log_softmax(dim=0), worst + 0.0):
        assert penalised(other) <= bound + 1e-9


def test_the_gradient_by_a_loss_is_its_share_of_the_worst_case() -> None:
    losses, nominal = draw(2, 5).square().requires_grad_(), draw(5, seed=1).log_softmax(dim=0)
    robust_loss(losses, nominal, temperature=0.4).sum().backward()
    torch.testing.assert_close(losses.grad, worst_case(losses.detach(), nominal, temperature=0.4))


def test_a_ball_without_radius_is_the_nominal_mean_and_one_without_bound_the_largest_loss() -> None:
    losses, nominal = draw(3, 8).square(), draw(8, seed=1).log_softmax(dim=0)
    mean = (nominal.exp() * losses).sum(dim=1)
    torch.testing.assert_close(robust_loss(losses, nominal, temperature=1e7), mean, rtol=1e-6, atol=1e-6)
    largest = losses.amax(dim=1)
    torch.testing.assert_close(robust_loss(losses, nominal, temperature=1e-4), largest, rtol=0, atol=1e-2)
    between = [robust_loss(losses, nominal, temperature=beta) for beta in (5.0, 0.5, 0.05)]
    assert (between[0] < between[1]).all()
    assert (between[1] < between[2]).all()


def test_what_cannot_occur_has_no_share() -> None:
    nominal = torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64).log()
    losses = torch.tensor([[1.0, 1.0, 99.0]], dtype=torch.float64)
    assert float(robust_loss(losses, nominal, temperature=0.5)) == pytest.approx(1.0)
    assert worst_case(losses, nominal, temperature=0.5).tolist() == [[0.5, 0.5, 0.0]]


def test_the_nominal_distribution_goes_from_popularity_to_none() -> None:
    counts = torch.tensor([0, 1, 8, 99])
    popularity = torch.tensor([1.0, 2, 9, 100]) / 112
    torch.testing.assert_close(flattened_popularity(counts, power=1.0).exp(), popularity)
    torch.testing.assert_close(flattened_popularity(counts, power=0.0).exp(), torch.full((4,), 0.25))
    rarest = [float(flattened_popularity(counts, power=power)[0]) for power in (1.0, 0.5, 0.05, 0.0)]
    assert rarest == sorted(rarest), "the flatter, the more rare items count"


def test_a_rare_item_that_came_next_weighs_more_than_a_popular_one_by_scores_of_popularity() -> None:
    """The worst case is rare items that came and popular ones that did not."""
    counts = torch.tensor([500, 100, 20, 4, 0])
    nominal = flattened_popularity(counts, power=0.05)
    scores = (counts + 1).log().float()
    scores = (scores - scores.mean()).expand(2, -1)
    target = torch.tensor([0, 4])  # the most popular item came next, and the rarest
    losses = squared_errors(scores, target)
    weight = worst_case(losses, nominal, temperature=0.2)
    assert weight[1, 4] > 5 * weight[0, 0], "the rare target is unexpected"
    assert weight[1, 0] > 5 * weight[1, 3], "the popular item is expected and did not come"
    mild = worst_case(losses, nominal, temperature=5.0)
    assert weight[1, 4] > mild[1, 4] > nominal.exp()[4], "the larger the ball, the more"


def test_scores_of_any_size_stay_finite() -> None:
    states = torch.tensor([[1e4], [-1e4]], requires_grad=True)
    items = torch.tensor([[0.0], [1.0], [-1.0], [2.0]], requires_grad=True)
    nominal = torch.zeros(3).log_softmax(dim=0)
    loss = catalogue_robust_loss(states, items, torch.tensor([1, 1]), nominal, temperature=0.01)
    loss.sum().backward()
    assert loss.isfinite().all()
    assert states.grad.isfinite().all()
    assert items.grad.isfinite().all()
