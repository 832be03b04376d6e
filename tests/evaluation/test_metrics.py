from __future__ import annotations

from math import log2

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from reclib.evaluation.metrics import catalogue_nll, coverage, head_or_tail, per_window, summarise
from reclib.evaluation.ranks import ranks_from_scores
from reclib.schema import InputError

# hits first, second, fourth, late, is missing
RANKS = pd.Series([1, 2, 4, 9, pd.NA], dtype="Int64")


def values(table: pd.DataFrame, metric: str, k: int) -> list[float]:
    return table.query("metric == @metric and k == @k").sort_values("window")["value"].tolist()


@pytest.mark.parametrize(
    ("k", "hit", "ndcg"),
    [
        (1, [1, 0, 0, 0, 0], [1, 0, 0, 0, 0]),
        (3, [1, 1, 0, 0, 0], [1, 1 / log2(3), 0, 0, 0]),
        (10, [1, 1, 1, 1, 0], [1, 1 / log2(3), 1 / log2(5), 1 / log2(10), 0]),
    ],
)
def test_hit_and_gain_of_every_window(k: int, hit: list[float], ndcg: list[float]) -> None:
    table = per_window(RANKS, (k,), n_items=20)
    assert values(table, "HR", k) == hit
    assert values(table, "NDCG", k) == pytest.approx(ndcg)
    assert table.columns.tolist() == ["window", "metric", "k", "value"]


def test_a_cut_off_at_the_catalogue_finds_every_target() -> None:
    ranks = pd.Series(range(1, 8), dtype="Int64")
    assert values(per_window(ranks, (7,), n_items=7), "HR", 7) == [1.0] * 7


@pytest.mark.parametrize(
    ("cutoffs", "depth", "message"),
    [
        ((5, 21), None, "K = 21, the catalogue has 20 items"),
        ((0,), None, "K = 0"),
        ((5, 10), 8, "K = 10, the lists hold 8 items"),
        ((), None, "no cut-offs"),
    ],
)
def test_impossible_cut_offs_are_refused(cutoffs: tuple, depth: int | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        per_window(RANKS, cutoffs, n_items=20, depth=depth)


def test_a_rank_below_one_is_refused() -> None:
    with pytest.raises(InputError, match="row 1: rank 0"):
        per_window(pd.Series([1, 0], dtype="Int64"), (1,), n_items=5)


@given(st.lists(st.one_of(st.integers(1, 30), st.none()), min_size=1, max_size=20))
def test_metrics_grow_with_the_cut_off_and_gain_never_exceeds_hit(ranks: list[int | None]) -> None:
    table = per_window(pd.Series(ranks, dtype="Int64"), (1, 5, 30), n_items=30)
    for metric in ("HR", "NDCG"):
        low, middle, high = (np.array(values(table, metric, k)) for k in (1, 5, 30))
        assert (low <= middle).all()
        assert (middle <= high).all()
    assert (np.array(values(table, "NDCG", 5)) <= np.array(values(table, "HR", 5))).all()
    assert values(table, "HR", 30) == [float(rank is not None) for rank in ranks]


def test_gain_equals_scikit_learns() -> None:
    scores = np.random.default_rng(0).normal(size=(40, 13))
    target = np.random.default_rng(1).integers(1, 13, size=40)
    relevant = np.zeros((40, 12))
    relevant[np.arange(40), target - 1] = 1
    table = per_window(ranks_from_scores(scores, target, seen="kept"), (5, 12), n_items=12)
    for k in (5, 12):
        expected = ndcg_score(relevant, scores[:, 1:], k=k)
        assert np.mean(values(table, "NDCG", k)) == pytest.approx(expected)


def test_catalogue_nll_has_no_cut_off_and_refuses_what_is_no_probability() -> None:
    table = catalogue_nll(np.array([0.0, 2.5]))
    assert table["metric"].tolist() == ["catalogue_nll"] * 2
    assert table["k"].isna().all()
    for bad in (np.nan, -0.1, np.inf):
        with pytest.raises(InputError, match="row 1"):
            catalogue_nll(np.array([1.0, bad]))


def test_summary_gives_means_of_all_and_of_each_group() -> None:
    table = pd.concat([per_window(RANKS, (3,), n_items=20), catalogue_nll(np.arange(5.0))])
    groups = ["head", "head", "tail", "tail", "tail"]
    means = summarise(table, groups, generator=np.random.default_rng(0), n_resamples=50)
    by = means.set_index(["metric", "group"])["value"].to_dict()
    assert by["HR", "all"] == pytest.approx(2 / 5)
    assert by["HR", "head"] == 1
    assert by["NDCG", "head"] == pytest.approx((1 + 1 / log2(3)) / 2)
    assert by["HR", "tail"] == 0
    assert by["catalogue_nll", "tail"] == pytest.approx((2 + 3 + 4) / 3)
    assert means["n"].tolist() == [5] * 3 + [2] * 3 + [3] * 3
    assert means.columns.tolist() == ["metric", "k", "group", "value", "low", "high", "n"]
    known = means.dropna(subset=["low", "high"])
    assert (known["low"] <= known["value"]).all()
    assert (known["value"] <= known["high"]).all()


def test_summary_keeps_methods_apart_and_empty_groups_out() -> None:
    table = per_window(RANKS, (3,), n_items=20)
    both = pd.concat([table.assign(method="a"), table.assign(method="b", value=0.0)])
    groups = pd.Categorical(["rare"] * 5, categories=["rare", "often"])
    means = summarise(both, groups, generator=np.random.default_rng(0), n_resamples=10)
    assert means.query("metric == 'HR'")[["method", "group", "value"]].to_numpy().tolist() == [
        ["a", "all", 2 / 5],
        ["a", "rare", 2 / 5],
        ["b", "all", 0.0],
        ["b", "rare", 0.0],
    ]


def test_summary_of_several_runs_is_their_mean_with_an_interval_for_other_runs() -> None:
    table = per_window(RANKS, (1, 3), n_items=20)
    worse = table.assign(value=0.5 * table["value"])
    runs = pd.concat([table.assign(method="a", seed=0), worse.assign(method="a", seed=1)])
    means = summarise(pd.concat([runs, table.assign(method="b")]), generator=np.random.default_rng(0))
    ours, theirs = (means[means["method"] == name].reset_index(drop=True) for name in ("a", "b"))
    assert ours["value"].tolist() == pytest.approx((0.75 * theirs["value"]).tolist())
    assert ours[["metric", "k"]].equals(theirs[["metric", "k"]])
    assert ((ours["high"] - ours["low"]) > (theirs["high"] - theirs["low"])).all()
    assert ours["n"].tolist() == [len(RANKS)] * 4
    with pytest.raises(InputError, match="do not cover the same windows"):
        summarise(runs.iloc[:-1], generator=np.random.default_rng(0))


def test_summary_keeps_a_users_windows_together() -> None:
    table = per_window(RANKS, (3,), n_items=20)
    (low, high), (low_alone, high_alone) = (
        summarise(table, generator=np.random.default_rng(0), cluster=users).loc[0, ["low", "high"]]
        for users in (np.zeros(5), np.arange(5))
    )
    assert np.isnan([low, high]).all(), "one user: no resample differs, so there is no interval"
    assert low_alone < 2 / 5 < high_alone


def test_summary_refuses_mixed_runs_and_missing_windows() -> None:
    table = per_window(RANKS, (3,), n_items=20)
    generator = np.random.default_rng(0)
    with pytest.raises(InputError, match="several values of one metric"):
        summarise(pd.concat([table, table]), generator=generator)
    with pytest.raises(InputError, match="do not cover the same windows"):
        summarise(table.iloc[:-1], generator=generator)
    with pytest.raises(InputError, match="one label a window"):
        summarise(table, ["head"] * 4, generator=generator)


def test_coverage_counts_items_shown_to_anyone() -> None:
    items = np.array([[1, 2, 3], [1, 4, 0]])
    counts = np.array([0, 9, 8, 1, 1, 1, 1, 1, 1, 1, 1])  # of ten items, two are head
    table = coverage(items, (1, 3), n_items=10, counts=counts)
    by = table.set_index(["k", "group"])["value"].to_dict()
    assert by[1, "all"] == 1 / 10
    assert by[3, "all"] == 4 / 10
    assert by[3, "head"] == 2 / 2
    assert by[3, "tail"] == 2 / 8


def test_lists_of_another_catalogue_are_refused() -> None:
    with pytest.raises(InputError, match="outside 0…3"):
        coverage(np.array([[1, 4]]), (1,), n_items=3)


def test_targets_are_head_or_tail_by_their_own_item() -> None:
    counts = np.array([0, 1, 9, 1, 1, 1])
    assert head_or_tail(np.array([2, 1, 2]), counts).tolist() == ["head", "tail", "head"]
