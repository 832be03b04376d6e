from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from reclib.evaluation.group_means import group_means
from reclib.evaluation.statistics import bootstrap_interval, percentile_interval
from reclib.schema import InputError


def generator() -> np.random.Generator:
    return np.random.default_rng(0)


def long(**values: np.ndarray) -> pd.DataFrame:
    parts = [
        pd.DataFrame({"method": name, "window": np.arange(len(one)), "metric": "HR", "k": 10, "value": one})
        for name, one in values.items()
    ]
    return pd.concat(parts, ignore_index=True).astype({"k": "Int64"})


def test_means_are_those_of_each_group() -> None:
    table = long(a=np.array([1.0, 0, 1, 1]), b=np.array([0.0, 0, 1, 0]))
    found = group_means(
        table, ["x", "y", "x", "y"], np.array([7, 7, 8, 9]), groups=["x", "y", "z"], generator=generator()
    )
    np.testing.assert_array_equal(found.mean, [[1, 0.5], [0.5, 0], [np.nan, np.nan]])
    assert found.n.tolist() == [2, 2, 0]
    assert found.keys["method"].tolist() == ["a", "b"]
    assert found.of("b").mean.ravel()[:2].tolist() == [0.5, 0]
    low, high = percentile_interval(found.draws)
    assert np.isnan([low[2], high[2]]).all()
    with pytest.raises(InputError, match="no method 'c': there are a, b"):
        found.of("c")


def test_one_window_a_user_is_the_bootstrap_of_the_package() -> None:
    values = generator().random(300)
    found = group_means(
        long(a=values), ["x"] * 300, np.arange(300), groups=["x"], generator=generator(), n_resamples=500
    )
    expected = bootstrap_interval(values, generator=generator(), n_resamples=500)
    np.testing.assert_allclose(np.ravel(percentile_interval(found.draws)), expected, rtol=1e-12)


def test_windows_of_a_user_go_together() -> None:
    """Ten copies of each example under its user's name say no more than one of them."""
    values = generator().random(100)
    copied = np.repeat(values, 10)
    widths = []
    for users in (np.repeat(np.arange(100), 10), np.arange(1000)):
        found = group_means(long(a=copied), ["x"] * 1000, users, groups=["x"], generator=generator())
        low, high = percentile_interval(found.draws)
        widths.append(float((high - low)[0, 0]))
    single = group_means(long(a=values), ["x"] * 100, np.arange(100), groups=["x"], generator=generator())
    low, high = percentile_interval(single.draws)
    assert widths[0] == pytest.approx(float((high - low)[0, 0]), rel=1e-9)
    assert widths[0] > 2.5 * widths[1]


def test_the_order_of_rows_does_not_matter() -> None:
    table = long(a=generator().random(50), b=generator().random(50))
    label, users = np.where(np.arange(50) % 2, "x", "y"), np.arange(50) // 2
    options = {"groups": ["x", "y"], "n_resamples": 20}
    plain = group_means(table, label, users, generator=generator(), **options)
    moved = table[table["method"] == "a"].sample(frac=1, random_state=1)
    moved = pd.concat([moved, table[table["method"] == "b"]])
    again = group_means(moved, label, users, generator=generator(), **options)
    np.testing.assert_array_equal(plain.draws, again.draws)


def test_tables_that_do_not_fit_are_refused() -> None:
    table, label, users = long(a=np.ones(4)), ["x"] * 4, np.arange(4)

    def run(table: pd.DataFrame, label: list[str], users: np.ndarray) -> None:
        group_means(table, label, users, groups=["x"], generator=generator())

    with pytest.raises(InputError, match="window 2: its group is none of x"):
        run(table, ["x", "x", "?", "x"], users)
    with pytest.raises(InputError, match="window 3"):
        run(table, label[:3], users)
    with pytest.raises(InputError, match="needs each window once"):
        run(table.iloc[1:], label, users)
    with pytest.raises(InputError, match="needs each window once"):
        run(pd.concat([table.iloc[1:], table.iloc[3:]]), label, users)
    with pytest.raises(InputError, match="windows of the metrics are not"):
        run(table.assign(window=table["window"] + 1), label, users)
