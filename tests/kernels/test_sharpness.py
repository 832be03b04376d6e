from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from reclib.kernels.sharpness import (
    Coefficients,
    alignment_factor,
    effective_number_weights,
    eisam2_coefficients,
    eisam_coefficients,
    fast_bound,
    focal_max_weights,
    focal_weights,
    hinge_coefficients,
    indicator_weights,
    itemwise_complexity,
    normalised_weights,
    perturbation,
    power_weights,
    prior_aware_weights,
    rank_weights,
    root_bound,
)

COUNTS = torch.tensor([0, 100, 7, 0, 7, 1])  # padding, then five items; item 3 has no example


def by_loop(weight: Callable[[int, int], float]) -> Tensor:
    """Weights of items one by one, from item and count; padding is 0."""
    values = [weight(item, count) for item, count in enumerate(COUNTS.tolist())]
    return torch.tensor([0.0, *values[1:]], dtype=torch.float64)


def test_weights_equal_their_loops() -> None:
    n_items, total, most = 5, 115, 100
    prior = torch.tensor([0.0, 0.5, 0.2, 0.1, 0.1, 0.1])
    rank = {1: 1, 2: 2, 4: 3, 5: 4, 3: 5}
    pairs = [
        (power_weights(COUNTS, gamma=0.5), lambda item, n: max(n, 1) ** -0.5),
        (focal_weights(COUNTS, gamma=3), lambda item, n: (1 - n / total) ** 3),
        (focal_max_weights(COUNTS, gamma=2), lambda item, n: (1 - n / most) ** 2),
        (effective_number_weights(COUNTS, beta=0.9), lambda item, n: 0.1 / (1 - 0.9 ** max(n, 1))),
        (rank_weights(COUNTS, gamma=0.5), lambda item, n: (rank.get(item, 1) / n_items) ** 0.5),
        (
            prior_aware_weights(COUNTS, prior.double(), gamma=0.5, prior_gamma=0.25),
            lambda item, n: max(n, 1) ** -0.5 * max(prior[item].item(), 1e-9) ** -0.25,
        ),
    ]
    for found, weight in pairs:
        torch.testing.assert_close(found, by_loop(weight), rtol=1e-6, atol=0)  # type: ignore[arg-type]


def test_weights_at_their_limits() -> None:
    plain = by_loop(lambda item, n: 1.0)
    for found in (
        power_weights(COUNTS, gamma=0),
        focal_weights(COUNTS, gamma=0),
        focal_max_weights(COUNTS, gamma=0),
        effective_number_weights(COUNTS, beta=0),
        rank_weights(COUNTS, gamma=0),
    ):
        assert torch.equal(found, plain)
    assert torch.equal(effective_number_weights(COUNTS, beta=1), power_weights(COUNTS, gamma=1))
    assert focal_max_weights(COUNTS, gamma=1)[1] == 0
    assert torch.equal(
        indicator_weights(torch.tensor([False, True, False, False, False, False])),
        torch.tensor([0.0, 0, 1, 1, 1, 1], dtype=torch.float64),
    )
    assert power_weights(COUNTS, gamma=0.5)[3] == 1, "an item without examples weighs as one with one"


def test_a_prior_of_zero_is_an_infinite_weight() -> None:
    prior = torch.tensor([0.0, 0.5, 0.0, 0.3, 0.1, 0.1])
    weights = prior_aware_weights(COUNTS, prior, gamma=0.5, prior_gamma=0.5)
    assert weights.isinf().tolist() == [False, False, True, False, False, False]


@given(st.lists(st.integers(0, 500), min_size=1, max_size=30), st.floats(0, 2))
def test_rarer_items_weigh_no_less_and_examples_one_on_average(values: list[int], gamma: float) -> None:
    counts = torch.tensor([0, *values])
    if not counts.any():
        counts[1] = 1
    for raw in (
        power_weights(counts, gamma=gamma),
        focal_weights(counts, gamma=gamma),
        effective_number_weights(counts, beta=0.99),
        rank_weights(counts, gamma=gamma),
    ):
        order = torch.argsort(counts[1:], descending=True, stable=True) + 1
        assert (raw[order].diff() >= -1e-12).all()
        if (raw * counts).sum() > 0:
            weights = normalised_weights(raw, counts)
            assert float((weights * counts).sum() / counts.sum()) == pytest.approx(1, rel=1e-9)


def test_the_cap_cuts_what_is_above_it_and_nothing_else() -> None:
    raw = power_weights(COUNTS, gamma=1)
    free, capped = normalised_weights(raw, COUNTS), normalised_weights(raw, COUNTS, cap=10)
    assert free.max() > 10
    assert torch.equal(capped, free.clamp(max=10))


def test_weights_of_one_are_left_as_they_are() -> None:
    assert torch.equal(
        normalised_weights(power_weights(COUNTS, gamma=0), COUNTS), by_loop(lambda item, n: 1.0)
    )


def test_a_perturbation_has_length_radius_along_the_gradient() -> None:
    gradients = [torch.tensor([3.0, 0.0]), torch.tensor([[4.0]])]
    direction, norm = perturbation(gradients, radius=0.5)
    assert norm == 5
    torch.testing.assert_close(direction, [torch.tensor([0.3, 0.0]), torch.tensor([[0.4]])])
    direction, norm = perturbation([torch.zeros(3)], radius=0.5)
    assert norm == 0
    assert torch.equal(direction[0], torch.zeros(3))


CENTRE = torch.tensor([[1.0, -2.0], [0.5, 0.3], [4.0, 3.0]], dtype=torch.float64)
CURVATURE = torch.tensor([1.0, 3.0, 0.5], dtype=torch.float64)
WEIGHT = torch.tensor([0.2, 2.5, 1.0], dtype=torch.float64)
THETA = torch.tensor([0.7, 0.1], dtype=torch.float64)
RADIUS, PENALTY = 0.3, 0.8


def gradient(coefficients: Tensor, at: Tensor) -> Tensor:
    """∇ Σ_k coefficients_k h_k/2 ‖θ − c_k‖², by hand."""
    return ((coefficients * CURVATURE)[:, None] * (at - CENTRE)).sum(dim=0)


def losses(at: Tensor) -> Tensor:
    return CURVATURE / 2 * (at - CENTRE).square().sum(dim=1)


def step(scheme: Coefficients) -> Tensor:
    slope = gradient(scheme.ascent, THETA)
    at = THETA + RADIUS * slope / slope.norm()
    return gradient(scheme.base, THETA) + scheme.slope * slope + gradient(scheme.perturbed, at)


def test_coefficients_make_equations_three_and_four() -> None:
    one = torch.ones(3, dtype=torch.float64)
    plain, weighed = gradient(one, THETA), gradient(WEIGHT, THETA)
    at = THETA + RADIUS * weighed / weighed.norm()
    three = plain - PENALTY * weighed + PENALTY * gradient(WEIGHT, at)
    four = gradient(one, at) + PENALTY * gradient(WEIGHT, at) - PENALTY * weighed
    torch.testing.assert_close(step(eisam_coefficients(WEIGHT, penalty=PENALTY)), three)
    torch.testing.assert_close(step(eisam2_coefficients(WEIGHT, penalty=PENALTY)), four)
    assert not torch.allclose(three, four)


def test_equal_weights_make_sam() -> None:
    scheme = eisam_coefficients(torch.ones(3, dtype=torch.float64), penalty=1.0)
    assert not scheme.base.any(), "its gradient needs no pass"
    plain = gradient(scheme.ascent, THETA)
    torch.testing.assert_close(step(scheme), gradient(scheme.ascent, THETA + RADIUS * plain / plain.norm()))


def test_the_hinge_s_coefficients_are_the_slope_of_its_penalty() -> None:
    slope = gradient(torch.ones(3, dtype=torch.float64), THETA)
    shift = RADIUS * slope / slope.norm()
    rise = losses(THETA + shift) - losses(THETA)
    assert rise.min() < 0 < rise.max(), "the case must have both"
    base, perturbed = hinge_coefficients(WEIGHT, rise, penalty=PENALTY)
    found = gradient(base, THETA) + gradient(perturbed, THETA + shift)

    def objective(at: Tensor) -> Tensor:
        rises = losses(at + shift) - losses(at)
        return losses(at).sum() + PENALTY * (WEIGHT * rises.clamp(min=0)).sum()

    theta = THETA.clone().requires_grad_()
    (expected,) = torch.autograd.grad(objective(theta), theta)
    torch.testing.assert_close(found, expected)


def test_alignment_is_one_for_equal_gradients_and_falls_as_the_root_of_orthogonal_ones() -> None:
    weights, norms = torch.full((9,), 2.0), torch.full((9,), 3.0)
    assert alignment_factor(torch.tensor(54.0), weights, norms, n_examples=9) == 1
    orthogonal = torch.tensor(6.0 * math.sqrt(9))
    assert float(alignment_factor(orthogonal, weights, norms, n_examples=9)) == pytest.approx(1 / 3)
    sampled = alignment_factor(orthogonal, weights[:2], norms[:2], n_examples=9)
    assert float(sampled) == pytest.approx(1 / 3), "a sample stands for all"


BOUND = {"n_parameters": 20, "norm": 2.0, "radius": 0.5, "n_items": 50, "failure": 0.05}


def test_bounds_equal_the_formulas_item_by_item() -> None:
    n, loss, sharpness = (
        torch.tensor(values) for values in ([2, 40, 9000], [0.1, 0.2, 0.3], [0.0, 0.1, 0.05])
    )
    complexity = itemwise_complexity(n, **BOUND)  # type: ignore[arg-type]
    six = root_bound(loss, sharpness, n, complexity)
    seven = fast_bound(loss + sharpness, n, **BOUND, trade_off=0.6)  # type: ignore[arg-type]
    k, norm, radius, n_items, failure = BOUND.values()
    for row, count in enumerate(n.tolist()):
        spread = (1 + math.sqrt(math.log(count) / k)) ** 2
        c = k * math.log(1 + norm**2 / radius**2 * spread) + 4 * math.log(count * n_items / failure)
        total = float(loss[row] + sharpness[row])
        assert float(six[row]) == pytest.approx(total + math.sqrt(c / (count - 1)), rel=1e-6)
        sigma = radius / (math.sqrt(k) + math.sqrt(2 * math.log(count)))
        fast = k / 2 * math.log(1 + norm**2 / (k * sigma**2))
        fast += math.log(2 * math.sqrt(count) * n_items / failure)
        assert float(seven[row]) == pytest.approx(total / 0.7 + fast / (0.6 * 0.7 * count), rel=1e-6)


def test_complexity_falls_as_one_over_root_n_and_as_one_over_n() -> None:
    n = torch.tensor([10**4, 10**8])
    none = torch.zeros(2)
    root = root_bound(none, none, n, itemwise_complexity(n, **BOUND))  # type: ignore[arg-type]
    fast = fast_bound(none, n, **BOUND)  # type: ignore[arg-type]
    decades = math.log(10**4)
    # The logarithms of n inside bend both a little.
    assert math.log(root[1] / root[0]) / decades == pytest.approx(-0.5, abs=0.05)
    assert math.log(fast[1] / fast[0]) / decades == pytest.approx(-1.0, abs=0.05)


def test_bounds_say_nothing_where_there_are_no_examples() -> None:
    n, none = torch.tensor([0, 1]), torch.zeros(2)
    complexity = itemwise_complexity(n.clamp(min=1), **BOUND)  # type: ignore[arg-type]
    assert root_bound(none, none, n, complexity).isinf().all()
    assert fast_bound(none, n, **BOUND).isinf().tolist() == [True, False]  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="trade_off is 2"):
        fast_bound(none, n, **BOUND, trade_off=2.0)  # type: ignore[arg-type]
