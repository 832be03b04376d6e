from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from reclib.evaluation.correlation import partial_spearman, spearman
from reclib.schema import InputError


def generator() -> np.random.Generator:
    return np.random.default_rng(0)


def test_the_value_is_scipys_ties_included() -> None:
    a = generator().integers(0, 8, size=60).astype(float)
    b = a + generator().normal(size=60)
    found = spearman(a, b, generator=generator(), n_resamples=50)
    assert found.value == pytest.approx(scipy.stats.spearmanr(a, b).statistic, abs=1e-12)
    assert found.low < found.value < found.high
    assert found.n == 60


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    draws, covered = generator(), 0
    truth = 6 / np.pi * np.arcsin(0.5 / 2)  # Spearman of a bivariate normal with correlation 0.5
    for _ in range(100):
        x = draws.normal(size=150)
        y = 0.5 * x + np.sqrt(0.75) * draws.normal(size=150)
        found = spearman(x, y, generator=draws, n_resamples=200)
        covered += found.low <= truth <= found.high
    assert 86 <= covered <= 100  # 95 % of 100, with a standard deviation of 2.2, and small-sample error


def test_any_increasing_change_of_scale_leaves_it_as_it_is() -> None:
    a, b = generator().normal(size=(2, 40))
    plain = spearman(a, b, generator=generator(), n_resamples=20)
    assert spearman(np.exp(a), b**3, generator=generator(), n_resamples=20) == plain


def test_a_constant_has_no_correlation() -> None:
    found = spearman(np.ones(5), np.arange(5.0), generator=generator(), n_resamples=10)
    assert np.isnan([found.value, found.low, found.high]).all()


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ([1.0, 2.0], [1.0, 2.0], "3 or more items"),
        ([1.0, 2.0, 3.0], [1.0, 2.0], "3 or more items"),
        ([1.0, np.nan, 3.0], [1.0, 2.0, 3.0], "row 1: nan"),
    ],
)
def test_what_cannot_be_ranked_is_refused(a: list[float], b: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        spearman(np.array(a), np.array(b), generator=generator())
    with pytest.raises(InputError, match="n_resamples 0"):
        spearman(np.arange(5.0), np.arange(5.0), generator=generator(), n_resamples=0)


def test_what_a_third_number_makes_of_two_is_taken_out() -> None:
    draws = generator()
    third = draws.normal(size=400)
    a, b = third + 0.5 * draws.normal(size=400), third + 0.5 * draws.normal(size=400)
    plain = spearman(a, b, generator=generator(), n_resamples=100)
    found = partial_spearman(a, b, third, generator=generator(), n_resamples=200)
    assert plain.low > 0.6
    assert found.low < 0 < found.high
    ranks = np.column_stack([scipy.stats.rankdata(each) for each in (a, b, third)])
    inverse = np.linalg.inv(np.corrcoef(ranks.T))
    expected = -inverse[0, 1] / np.sqrt(inverse[0, 0] * inverse[1, 1])
    assert found.value == pytest.approx(expected, abs=1e-10)


def test_a_third_number_that_orders_as_another_leaves_nothing() -> None:
    a = np.arange(9.0)
    found = partial_spearman(a, a[::-1] ** 2, np.exp(a), generator=generator(), n_resamples=10)
    assert np.isnan(found.value)
