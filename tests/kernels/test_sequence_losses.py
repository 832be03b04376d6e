from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from reclib.kernels import sequence_losses
from reclib.kernels.sequence_losses import (
    bce_loss,
    catalogue_cross_entropy,
    gbce_loss,
    sampled_softmax_loss,
    weighted_catalogue_cross_entropy,
)
from tests import reference
from tests.sizes import Sizes


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_binary_cross_entropy_equals_the_loop() -> None:
    positive, negative = draw(7), draw(7, 3, seed=1)
    assert torch.allclose(bce_loss(positive, negative), reference.bce_losses(positive, negative))


def test_binary_cross_entropy_of_far_scores_is_finite() -> None:
    loss = bce_loss(torch.tensor([-1e4, 1e4]), torch.tensor([[1e4], [-1e4]]))
    assert loss.tolist() == [2e4, 0.0]


def test_gbce_without_calibration_is_binary_cross_entropy() -> None:
    positive, negative = draw(7), draw(7, 3, seed=1)
    loss = gbce_loss(positive, negative, n_items=50, calibration=0.0)
    assert torch.allclose(loss, bce_loss(positive, negative))


def test_gbce_weighs_the_target_by_the_sampling_rate() -> None:
    """At t = 1 the exponent of σ(s⁺) is α = L / (N − 1)."""
    positive, negative = draw(7), draw(7, 3, seed=1)
    loss = gbce_loss(positive, negative, n_items=61, calibration=1.0)
    assert torch.allclose(loss, reference.bce_losses(positive, negative, beta=3 / 60))


@pytest.mark.parametrize(("calibration", "is_calm"), [(1.0, True), (0.5, False), (0.0, False)])
def test_calibrated_gbce_is_calm_where_scores_are_the_true_chances(calibration: float, is_calm: bool) -> None:
    """Items of chance p, scores with σ(s) = p, one negative of the others: no gradient is left at t = 1."""
    chances = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
    scores = chances.logit().requires_grad_()
    target, other = torch.tensor([(i, j) for i in range(4) for j in range(4) if i != j]).T
    losses = gbce_loss(scores[target], scores[other][:, None], n_items=4, calibration=calibration)
    (gradient,) = torch.autograd.grad((chances[target] / 3 * losses).sum(), scores)
    assert bool((gradient.abs() < 1e-12).all()) == is_calm


def test_sampled_softmax_over_all_items_is_cross_entropy() -> None:
    states, items = draw(6, 4), draw(9, 4, seed=1)
    target = torch.tensor([1, 8, 3, 3, 5, 2])
    scores = states @ items.T
    own = scores.gather(1, target[:, None])[:, 0]
    others = scores[:, 1:].masked_fill(torch.arange(1, 9) == target[:, None], -torch.inf)
    expected = reference.catalogue_cross_entropies(states, items, target)
    assert torch.allclose(sampled_softmax_loss(own, others), expected)


def test_sampled_softmax_takes_out_how_often_an_item_is_drawn() -> None:
    positive, negative = draw(5), draw(5, 2, seed=1)
    twice = torch.cat([negative, negative], dim=1)  # drawn twice as often: log q up by log 2
    log_q = torch.zeros(2, dtype=torch.float64)
    plain = sampled_softmax_loss(positive, negative, negative_log_q=log_q)
    corrected = sampled_softmax_loss(
        positive,
        twice,
        positive_log_q=torch.zeros(5),
        negative_log_q=torch.cat([log_q, log_q]) + math.log(2),
    )
    assert torch.allclose(plain, corrected)


@pytest.mark.parametrize("rows_at_once", [1, 3, 100, None])
def test_cross_entropy_in_blocks_equals_the_loop(rows_at_once: int | None) -> None:
    states, items = draw(8, 4), draw(12, 4, seed=1)
    target = torch.tensor([1, 11, 5, 5, 2, 3, 9, 1])
    loss = catalogue_cross_entropy(states, items, target, rows_at_once=rows_at_once)
    assert torch.allclose(loss, reference.catalogue_cross_entropies(states, items, target))


@pytest.mark.parametrize("weighing", ["mean", "sum", "each"])
def test_gradient_of_cross_entropy_in_blocks_is_the_loop_s(weighing: str) -> None:
    target = torch.tensor([1, 11, 5, 5, 2, 3, 9, 1])
    gradients = []
    for loss_of in (
        lambda s, i: catalogue_cross_entropy(s, i, target, rows_at_once=3),
        lambda s, i: reference.catalogue_cross_entropies(s, i, target),
    ):
        states, items = draw(8, 4).requires_grad_(), draw(12, 4, seed=1).requires_grad_()
        losses = loss_of(states, items)
        total = {"mean": losses.mean(), "sum": losses.sum(), "each": (losses * draw(8, seed=2)).sum()}
        total[weighing].backward()
        gradients.append((states.grad, items.grad))
    for ours, expected in zip(*gradients, strict=True):
        assert torch.allclose(ours, expected)
    assert not gradients[0][1][0].any(), "padding is not an item"


def test_cross_entropy_passes_gradcheck() -> None:
    states, items = draw(4, 3).requires_grad_(), draw(6, 3, seed=1).requires_grad_()
    target = torch.tensor([1, 5, 2, 2])
    assert torch.autograd.gradcheck(lambda s, i: catalogue_cross_entropy(s, i, target), (states, items))


def test_weighted_sums_of_cross_entropy_and_their_gradients_are_the_loop_s() -> None:
    target = torch.tensor([1, 11, 5, 5, 2, 3, 9, 1])
    weights = draw(3, 8, seed=2)
    weights[1] = 0  # a weighting of nothing
    for chosen in ([0], [2], [1], [0, 2]):
        found, expected = (
            (draw(8, 4).requires_grad_(), draw(12, 4, seed=1).requires_grad_()) for _ in range(2)
        )
        totals, losses = weighted_catalogue_cross_entropy(*found, target, weights, rows_at_once=3)
        reference_losses = reference.catalogue_cross_entropies(*expected, target)
        assert torch.allclose(losses, reference_losses)
        assert not losses.requires_grad
        assert torch.allclose(totals, weights @ reference_losses)
        totals[chosen].sum().backward()
        (weights[chosen] @ reference_losses).sum().backward()
        for ours, theirs in zip(found, expected, strict=True):
            assert torch.allclose(ours.grad, theirs.grad)


def test_two_weighted_sums_can_be_followed_one_after_the_other() -> None:
    states, items = draw(8, 4).requires_grad_(), draw(12, 4, seed=1).requires_grad_()
    target = torch.arange(1, 9)
    totals, _ = weighted_catalogue_cross_entropy(states, items, target, draw(2, 8, seed=2))
    first = torch.autograd.grad(totals[0], (states, items), retain_graph=True)
    second = torch.autograd.grad(totals[1], (states, items))
    assert not torch.allclose(first[0], second[0])
    with torch.no_grad():
        assert not weighted_catalogue_cross_entropy(states, items, target, draw(2, 8))[0].requires_grad


def test_no_gradient_of_cross_entropy_is_made_where_none_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    states, items = draw(4, 3).requires_grad_(), draw(6, 3, seed=1).requires_grad_()
    target, weighings = torch.tensor([1, 5, 2, 2]), []
    blocks = sequence_losses._blocks

    def watched(*args: Any, weights: Tensor | None = None) -> Any:
        weighings.append(weights)
        return blocks(*args, weights=weights)

    monkeypatch.setattr(sequence_losses, "_blocks", watched)
    with torch.no_grad():
        losses = catalogue_cross_entropy(states, items, target)
        _, again = weighted_catalogue_cross_entropy(states, items, target, draw(2, 4))
    assert weighings == [None, None]
    assert torch.equal(losses, again)


@pytest.mark.parametrize("is_weighted", [False, True])
def test_a_second_derivative_of_cross_entropy_is_refused(is_weighted: bool) -> None:
    states, items = draw(4, 3).requires_grad_(), draw(6, 3, seed=1).requires_grad_()
    target = torch.tensor([1, 5, 2, 2])
    if is_weighted:
        losses, _ = weighted_catalogue_cross_entropy(states, items, target, draw(2, 4, seed=2))
    else:
        losses = catalogue_cross_entropy(states, items, target)
    (slope,) = torch.autograd.grad((losses**2).sum(), states, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


def test_cross_entropy_of_far_scores_is_finite() -> None:
    states = torch.tensor([[1e4], [-1e4]], requires_grad=True)
    items = torch.tensor([[0.0], [1.0], [-1.0]])
    loss = catalogue_cross_entropy(states, items, torch.tensor([1, 1]))
    assert loss.tolist() == [0.0, 2e4]
    loss.sum().backward()
    assert bool(states.grad.isfinite().all())


def test_cross_entropy_of_no_position_is_empty() -> None:
    items = draw(6, 3).requires_grad_()
    loss = catalogue_cross_entropy(
        torch.empty(0, 3, dtype=torch.float64), items, torch.empty(0, dtype=torch.long)
    )
    assert loss.shape == (0,)
    loss.sum().backward()
    assert not items.grad.any()


def test_cross_entropy_holds_a_block_of_scores_and_not_all() -> None:
    """Largest tensor made on the way: the block, not positions × items."""
    states, items = draw(200, 4).requires_grad_(), draw(301, 4, seed=1).requires_grad_()
    with Sizes() as sizes:
        catalogue_cross_entropy(
            states, items, torch.ones(200, dtype=torch.long), rows_at_once=10
        ).mean().backward()
    assert sizes.largest <= 10 * 301
