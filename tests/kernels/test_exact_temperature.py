"""The exact temperatures against a search on a fine grid, row by row."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from reclib.kernels.exact_temperature import exact_temperatures
from reclib.kernels.temperature import adaptive_temperature
from tests.reference import ragged, temperature_by_bisection


def probability(row: list[float], target: int, tau: float) -> float:
    shares = [math.exp((value - max(row)) / tau) for value in row]
    return shares[target] / sum(shares)


def crossings(row: list[float], target: int, eta: float) -> tuple[list[float], list[float]]:
    """Temperatures of a fine grid between which P falls, and rises, through η as τ grows."""
    grid = np.geomspace(1e-3, 1e4, 40_000)
    above = np.array([probability(row, target, tau) >= eta for tau in grid])
    change = np.diff(above.astype(int))
    return grid[:-1][change < 0].tolist(), grid[:-1][change > 0].tolist()


ROWS = [
    ([3.0, 0.2, 0.1, -1.0, -0.5], 0),  # the best: no branch where P rises
    ([1.2, 1.0, 0.1, -1.0, -0.5, -2.0, -3.0], 1),  # second best: both branches
    ([1.0, 0.5, 0.0, -3.0], 3),  # below the mean
    ([4.0, 0.4, 0.3, 0.2, 0.1], 1),  # above chance nowhere near η
    ([0.5, -0.5], 1),  # two tokens: η below chance
    ([1.0, 1.0, 1.0, 0.0, 0.0], 0),  # shares the first place
]


@pytest.mark.parametrize("eta", [0.1, 0.25, 0.6])
def test_both_branches_are_where_a_search_finds_them(eta: float) -> None:
    valid = ragged([range(len(row)) for row, _ in ROWS], [target for _, target in ROWS])
    logits = torch.tensor([value for row, _ in ROWS for value in row])
    found = exact_temperatures(logits, valid, target_probability=eta)
    for place, (row, target) in enumerate(ROWS):
        for roots, tau in zip(crossings(row, target, eta), (found.falling, found.rising), strict=True):
            assert len(roots) <= 1
            assert bool(tau[place].isnan()) == (not roots), (row, target, roots, tau[place])
            if roots:
                assert float(tau[place]) == pytest.approx(roots[0], rel=1e-3)
        best = max(probability(row, target, tau) for tau in np.geomspace(1e-3, 1e5, 4000))
        assert float(found.peak[place]) == pytest.approx(best, rel=1e-3)


def test_equal_logits_have_no_root() -> None:
    found = exact_temperatures(torch.ones(4), ragged([range(4)], [2]), target_probability=0.25)
    assert found.falling.isnan().all()
    assert found.rising.isnan().all()
    assert float(found.peak) == pytest.approx(0.25)


@pytest.mark.parametrize(("gap", "eta"), [(3.6, 0.01), (1.0, 0.0002)])
def test_on_gaussian_logits_the_lemma_comes_near(gap: float, eta: float) -> None:
    """Evenly spread quantiles of N(0, 1) and a target: the sum is that of the lemma but for its tails."""
    m = 2000
    normal = torch.distributions.Normal(torch.zeros((), dtype=torch.float64), 1.0)
    logits = normal.icdf((torch.arange(m, dtype=torch.float64) + 0.5) / m)
    target = int((logits - gap).abs().argmin())
    logits[target] = gap
    found = exact_temperatures(logits, ragged([range(m)], [target]), target_probability=eta)
    exact = found.falling if m * eta > 1 else found.rising
    log_m_eta = torch.tensor(math.log(m * eta), dtype=torch.float64)
    lemma, _ = adaptive_temperature(
        torch.tensor(gap, dtype=torch.float64), torch.ones_like(log_m_eta), log_m_eta
    )
    assert float(lemma) == pytest.approx(temperature_by_bisection(gap, 1.0, m, eta), rel=1e-6)
    assert float(exact) == pytest.approx(float(lemma), rel=0.05)
