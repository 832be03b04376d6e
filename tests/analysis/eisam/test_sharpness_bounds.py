from __future__ import annotations

from functools import cache

import pandas as pd
import pytest

from reclib.analysis.eisam.sharpness_bounds import BoundConfig, bound_table, log_slope
from reclib.schema import InputError

CONFIG = BoundConfig(n_items=8, most=10_000, steps=150)


@cache
def table() -> pd.DataFrame:
    return bound_table(CONFIG, seed=0)


def test_both_bounds_hold_and_say_something_of_frequent_items() -> None:
    assert table()["n"].iloc[[0, -1]].tolist() == [30, 10_000]
    for name in ("bound_root", "bound_fast"):
        assert (table()[name] > table()["risk"]).all()
        assert table()[name].iloc[-1] < 0.5 < 1 < table()[name].iloc[0]
    assert table()["risk"].between(0, 0.25).all(), "better than a coin"


def test_complexity_falls_as_one_over_root_n_and_as_one_over_n() -> None:
    # The logarithms of n inside bend both a little.
    assert log_slope(table(), "term_root") == pytest.approx(-0.5, abs=0.06)
    assert log_slope(table(), "term_fast") == pytest.approx(-1.0, abs=0.06)


def test_losses_and_their_gap_are_those_of_the_model() -> None:
    found = table()
    assert (found["sharpness"] > 0).all()
    pd.testing.assert_series_equal(found["gap"], found["risk"] - found["loss"], check_names=False)
    # The items with the most examples decide the weights, and hardly have a gap.
    assert abs(found["gap"].iloc[-1]) < 0.02
    again = bound_table(CONFIG, seed=0)
    pd.testing.assert_frame_equal(found, again)


def test_settings_that_mean_nothing_are_refused() -> None:
    with pytest.raises(InputError, match=r"bound\.radius"):
        BoundConfig(radius=0.0)
