from __future__ import annotations

from math import log, log2

import numpy as np
import pytest

from reclib.evaluation.baselines import baseline_rows, popularity_nll, popularity_ranks
from reclib.schema import InputError

COUNTS = np.array([0, 2, 5, 0, 2])  # items 1…4; the popular order is 2, 1, 4, 3
TARGET = np.array([2, 4, 3])


def test_rank_is_the_place_in_the_list_that_everyone_gets() -> None:
    assert popularity_ranks(COUNTS, TARGET, seen="kept").tolist() == [1, 3, 4]


def test_seen_items_move_the_others_up() -> None:
    history = np.array([[0, 2, 1], [2, 2, 3], [1, 2, 4]])
    assert popularity_ranks(COUNTS, TARGET, seen="removed", history=history).tolist() == [1, 2, 1]


def test_popularity_is_smoothed_by_one() -> None:
    assert popularity_nll(COUNTS, TARGET) == pytest.approx([-log(6 / 13), -log(3 / 13), -log(1 / 13)])


def test_rows_stand_in_the_table_of_the_methods() -> None:
    table = baseline_rows(COUNTS, TARGET, (1, 3), seen="kept")
    assert table.columns.tolist() == ["method", "window", "metric", "k", "value"]
    means = table.groupby(["method", "metric", table["k"].fillna(0)])["value"].mean()
    assert means["popularity", "HR", 1] == pytest.approx(1 / 3)
    assert means["popularity", "NDCG", 3] == pytest.approx((1 + 1 / log2(4)) / 3)
    assert means["popularity", "catalogue_nll", 0] == pytest.approx(log(13) - (log(6) + log(3)) / 3)
    assert means["uniform", "HR", 3] == pytest.approx(3 / 4)
    assert means["uniform", "NDCG", 3] == pytest.approx((1 + 1 / log2(3) + 1 / log2(4)) / 4)
    assert means["uniform", "catalogue_nll", 0] == pytest.approx(log(4))


def test_uniform_is_the_mean_over_random_rankings() -> None:
    ranks = np.arange(1, 5)
    table = baseline_rows(COUNTS, np.array([1]), (2, 4), seen="kept").query("method == 'uniform'")
    for metric, k, value in table.dropna()[["metric", "k", "value"]].itertuples(index=False):
        gain = (ranks <= k) * (1.0 if metric == "HR" else 1 / np.log2(ranks + 1))
        assert value == pytest.approx(gain.mean())


def test_a_cut_off_above_the_catalogue_is_refused() -> None:
    with pytest.raises(InputError, match="K = 5, the catalogue has 4"):
        baseline_rows(COUNTS, TARGET, (5,), seen="kept")
