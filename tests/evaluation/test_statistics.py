from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats

from reclib.evaluation import statistics
from reclib.evaluation.statistics import (
    bootstrap_interval,
    estimate,
    half_width,
    paired_bootstrap,
    resampled_means,
    resampling_weights,
)
from reclib.schema import InputError


def generator() -> np.random.Generator:
    return np.random.default_rng(0)


def test_interval_of_many_values_is_the_normal_one() -> None:
    values = np.random.default_rng(1).normal(3.0, 2.0, size=2000)
    low, high = bootstrap_interval(values, generator=generator(), n_resamples=4000)
    expected = stats.norm.interval(0.95, loc=values.mean(), scale=values.std() / np.sqrt(2000))
    # the 2.5 % quantile of 4000 means has a standard error of 2.7/√4000 = 4 % of theirs, 0.045
    assert [low, high] == pytest.approx(expected, abs=4 * 0.04 * values.std() / np.sqrt(2000))


def test_interval_covers_the_mean_as_often_as_it_says() -> None:
    samples = np.random.default_rng(2).exponential(size=(60, 400))
    covered = 0
    for row, sample in enumerate(samples.T):
        low, high = bootstrap_interval(sample, generator=np.random.default_rng(row), n_resamples=300)
        covered += low <= 1.0 <= high
    assert 0.88 <= covered / 400 <= 0.98  # percentile intervals of 60 skewed values cover a little less


def test_columns_share_their_resamples() -> None:
    values = np.random.default_rng(1).normal(size=(30, 1))
    low, high = bootstrap_interval(np.hstack([values, 2 * values]), generator=generator())
    assert 2 * low[0] == pytest.approx(low[1])
    assert 2 * high[0] == pytest.approx(high[1])


def test_blocks_change_neither_weights_nor_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(1).normal(size=50)
    whole = bootstrap_interval(values, generator=generator(), n_resamples=64)
    monkeypatch.setattr(statistics, "_BLOCK", 50 * 7)
    assert bootstrap_interval(values, generator=generator(), n_resamples=64) == pytest.approx(whole)
    weights = list(resampling_weights(50, generator=generator(), n_resamples=64))
    assert [len(weight) for weight in weights] == [7] * 9 + [1]
    assert all((weight.sum(axis=1) == 50).all() for weight in weights)


@given(arrays.arrays(np.float64, st.integers(1, 20), elements=st.floats(-10, 10)))
def test_interval_lies_within_the_values_and_shifts_with_them(values: np.ndarray) -> None:
    assume(np.ptp(values) > 1e-6)
    low, high = bootstrap_interval(values, generator=generator(), n_resamples=40)
    assert values.min() - 1e-9 <= low <= high <= values.max() + 1e-9
    shifted = bootstrap_interval(values + 5, generator=generator(), n_resamples=40)
    assert shifted == pytest.approx((low + 5, high + 5))


@pytest.mark.parametrize("values", [np.array([0.5]), np.zeros(9), np.full(9, 0.1), np.full((3, 9), 0.1)])
def test_values_that_are_all_alike_have_no_interval(values: np.ndarray) -> None:
    """One window, windows without a hit, and the same in several seeds: 0 of 9 is not "surely 0"."""
    found = estimate(values, generator=generator())
    assert found.mean == pytest.approx(values.ravel()[0])
    assert np.isnan([found.low, found.high]).all()
    low, high = bootstrap_interval(
        np.stack([values.ravel(), np.arange(values.size)], 1), generator=generator()
    )
    assert np.isnan([low[0], high[0]]).all()
    assert values.size == 1 or low[1] < high[1], "of the other column"


def test_seeds_of_constant_values_that_differ_have_the_interval_of_the_seeds() -> None:
    values = np.array([[0.0] * 5, [0.1] * 5, [0.2] * 5])
    found = estimate(values, generator=generator())
    assert (found.low, found.high) == pytest.approx((0.1 - 0.248, 0.1 + 0.248), abs=1e-3)  # t of 2: 4.303


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([], {}, "at least one window"),
        ([1.0, np.nan], {}, "row 1: the value is NaN"),
        ([1.0], {"level": 1.0}, "level is 1.0"),
        ([1.0], {"n_resamples": 0}, "n_resamples is 0"),
    ],
)
def test_bad_input_is_refused(values: list[float], options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        bootstrap_interval(np.array(values), generator=generator(), **options)


def test_pairing_removes_what_the_windows_share() -> None:
    hard = np.random.default_rng(3).normal(0, 10, size=200)
    better, worse = hard + 1 + np.random.default_rng(4).normal(0, 0.1, size=200), hard
    difference = paired_bootstrap(better, worse, generator=generator())
    assert difference.mean == pytest.approx(np.mean(better - worse))
    assert 0.9 < difference.low < difference.mean < difference.high < 1.1
    assert difference.n == 200
    backwards = paired_bootstrap(worse, better, generator=generator())
    assert (backwards.low, backwards.high) == pytest.approx((-difference.high, -difference.low))


def test_equal_methods_differ_by_nothing() -> None:
    a = np.arange(10.0)
    found = paired_bootstrap(a, a, generator=generator())
    assert (found.mean, found.n) == (0.0, 10)
    assert np.isnan([found.low, found.high]).all()


def test_seeds_that_disagree_widen_the_interval_to_that_of_students_t() -> None:
    noise = np.random.default_rng(5).normal(0, 0.1, size=(3, 400))
    a = np.array([[-1.0], [1.0], [3.0]]) + noise
    found = paired_bootstrap(a, np.zeros_like(a), generator=generator())
    per_seed = a.mean(axis=1)
    expected = stats.t.interval(0.95, 2, loc=per_seed.mean(), scale=per_seed.std(ddof=1) / np.sqrt(3))
    assert (found.low, found.high) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize(("n_seeds", "of_seeds"), [(2, 1.0), (3, 3.4), (3, 0.5), (5, 1.0)])
def test_the_interval_over_seeds_covers_as_often_as_it_says(n_seeds: int, of_seeds: float) -> None:
    """Windows with a standard error of 1, seeds with a deviation of `of_seeds`; the true mean is 0."""
    draw, n_windows, covered = np.random.default_rng(7), 50, 0
    for trial in range(400):
        windows = draw.normal(0, np.sqrt(n_windows), size=n_windows)
        values = windows + draw.normal(0, of_seeds, size=(n_seeds, 1))
        found = estimate(values, generator=np.random.default_rng(trial), n_resamples=200)
        covered += found.low <= 0 <= found.high
    assert 0.92 <= covered / 400 <= 1


def test_one_seed_and_equal_seeds_speak_of_windows_alone() -> None:
    assert half_width(np.zeros((1, 2)), np.array([1.0, 2.0])) == pytest.approx([1.96, 3.92], abs=1e-3)
    assert half_width(np.ones((4, 1)), np.array([1.0])) == pytest.approx([1.96], abs=1e-3)


def test_windows_of_a_user_stay_together() -> None:
    """Copies of a user's window say nothing new: the interval is that of users, not of windows."""
    users = np.random.default_rng(8).normal(size=80)
    alone = bootstrap_interval(users, generator=generator())
    copies, cluster = np.repeat(users, 9), np.repeat(np.arange(80), 9)
    assert bootstrap_interval(copies, generator=generator(), cluster=cluster) == pytest.approx(alone)
    low, high = bootstrap_interval(copies, generator=generator())
    assert high - low < 0.5 * (alone[1] - alone[0])
    paired = paired_bootstrap(copies, 0 * copies, generator=generator(), cluster=cluster)
    assert (paired.low, paired.high, paired.n) == pytest.approx((*alone, 720))


def test_users_weigh_by_their_windows_as_the_mean_does() -> None:
    values, cluster = np.array([1.0, 2.0, 6.0]), np.array(["b", "a", "b"])
    means = resampled_means(values, generator=generator(), cluster=cluster, n_resamples=200)
    assert set(np.round(means, 9)) == {2.0, 3.0, 3.5}  # of a twice, of both, of b twice
    with pytest.raises(InputError, match="2 users for 3 windows"):
        resampled_means(values, generator=generator(), cluster=cluster[:2])


def test_a_window_counts_alike_in_every_seed() -> None:
    """Copies of one run are one run: its interval must not shrink."""
    a = np.random.default_rng(6).normal(size=100)
    one = paired_bootstrap(a, 0 * a, generator=generator())
    five = paired_bootstrap(np.tile(a, (5, 1)), np.zeros((5, 100)), generator=generator())
    assert (five.low, five.high) == pytest.approx((one.low, one.high), abs=0.02 * (one.high - one.low))


def test_unpaired_values_are_refused() -> None:
    with pytest.raises(InputError, match="pass the same windows"):
        paired_bootstrap(np.ones(3), np.ones(4), generator=generator())
