from __future__ import annotations

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import assume, given, settings

from reclib.kernels.temperature import (
    NO_POSITIVE_ROOT,
    NO_REAL_ROOT,
    SOLVED,
    adaptive_temperature,
    moment_sums,
    moments,
)
from tests.reference import gaussian_log_probability, ragged, temperature_by_bisection


def solve(gap: float, variance: float, log_m_eta: float) -> tuple[float, int]:
    arguments = [torch.tensor(value, dtype=torch.float64) for value in (gap, variance, log_m_eta)]
    tau, status = adaptive_temperature(*arguments)
    return tau.item(), status.item()


@given(
    gap=st.floats(-8, 12),
    variance=st.floats(1e-3, 30),
    m=st.floats(1.05, 5000),
    eta=st.floats(0.05, 0.95),
)
@settings(max_examples=300)
def test_the_root_is_the_one_bisection_finds(gap: float, variance: float, m: float, eta: float) -> None:
    log_m_eta = math.log(m * eta)
    radicand = gap**2 - 2 * variance * log_m_eta
    assume(abs(log_m_eta) > 1e-6 and abs(gap) > 1e-6)  # nothing underflows
    assume(abs(radicand) > 1e-6)  # a double root is a matter of rounding
    tau, status = solve(gap, variance, log_m_eta)
    expected = temperature_by_bisection(gap, variance, m, eta)
    if expected is None:
        assert status == (NO_REAL_ROOT if gap > 0 else NO_POSITIVE_ROOT)
    else:
        assert status == SOLVED
        assert tau == pytest.approx(expected, rel=1e-7)
        assert gaussian_log_probability(tau, gap, variance, math.log(m)) == pytest.approx(
            math.log(eta), abs=1e-8
        )


def test_the_released_branch_at_plausible_logits() -> None:
    # msl_spec.md: about 2.1 on the plus root against 0.18 on the minus root.
    tau, status = solve(6.35, 2.1, math.log(64 * 0.25))
    assert status == SOLVED
    assert tau == pytest.approx(2.1, abs=0.05)


def test_no_real_root_leaves_the_clamped_radicand() -> None:
    tau, status = solve(1.0, 10.0, 2.0)
    assert status == NO_REAL_ROOT
    assert tau == 1.0 / (2 * 2.0)


@pytest.mark.parametrize("gap", [0.0, -3.0])
@pytest.mark.parametrize("log_m_eta", [0.0, 2.0])
def test_a_target_below_the_mean_has_no_positive_root(gap: float, log_m_eta: float) -> None:
    assert solve(gap, 0.5, log_m_eta) == (0.0, NO_POSITIVE_ROOT)


def test_the_limit_of_equal_odds() -> None:
    assert solve(3.0, 1.5, 0.0) == (1.5 / 6.0, SOLVED)
    for log_m_eta in (-1e-3, -1e-9, -1e-300):  # continuous from below, without cancellation
        assert solve(3.0, 1.5, log_m_eta)[0] == pytest.approx(1.5 / 6.0, rel=1e-3)


@pytest.mark.parametrize(("gap", "log_m_eta", "tau"), [(2.0, 1.0, 2.0), (-2.0, -1.0, 2.0), (2.0, -1.0, 0.0)])
def test_without_variance_the_equation_is_linear(gap: float, log_m_eta: float, tau: float) -> None:
    assert solve(gap, 0.0, log_m_eta) == (tau, SOLVED if tau else NO_POSITIVE_ROOT)


def test_nan_is_no_root() -> None:
    assert solve(math.nan, 1.0, 1.0) == (0.0, NO_POSITIVE_ROOT)
    assert solve(1.0, 1.0, math.nan) == (0.0, NO_POSITIVE_ROOT)


def test_the_root_is_elementwise() -> None:
    tau, status = adaptive_temperature(
        torch.tensor([[3.0, -1.0]]), torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0, 1.0]])
    )
    assert tau.shape == status.shape == (1, 2)
    assert status.tolist() == [[SOLVED, NO_POSITIVE_ROOT]]
    assert tau[0, 0].item() == pytest.approx((3 + math.sqrt(7)) / 2)


def test_moments_are_about_each_selected_row_s_mean_and_add_up() -> None:
    valid = ragged([[0, 1, 2], [3, 4], [0, 5]], [1, 3, 5])
    logits = torch.tensor([1.0, 5.0, 3.0, 100.0, 200.0, 2.0, 4.0])
    selected = torch.tensor([True, False, True])
    gap, variance, mean_valid = moments(moment_sums(logits, valid, selected))
    assert gap == ((5 - 3) + (4 - 3)) / 2
    assert variance == (4 + 4 + 0 + 1 + 1) / 5
    assert mean_valid == 5 / 2
    parts = [moment_sums(logits, valid, torch.tensor([row == 0, False, row == 2])) for row in (0, 2)]
    assert torch.equal(parts[0] + parts[1], moment_sums(logits, valid, selected))


def test_moments_do_not_see_a_row_s_level_as_the_loss_does_not() -> None:
    valid = ragged([[0, 1, 2], [3, 4]], [1, 3])
    logits = torch.tensor([1.0, 5.0, 3.0, 2.0, 4.0])
    shifted = logits + torch.tensor([64.0, 64.0, 64.0, -32.0, -32.0])
    every = torch.tensor([True, True])
    assert torch.equal(moment_sums(logits, valid, every), moment_sums(shifted, valid, every))


def test_moments_of_no_row_are_nan() -> None:
    valid = ragged([[0, 1]], [1])
    sums = moment_sums(torch.tensor([1.0, 2.0]), valid, torch.tensor([False]))
    assert all(math.isnan(value) for value in moments(sums))
