from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from reclib.evaluation.ranks import ranks_by_title, ranks_from_lists, ranks_from_scores, seen_items
from reclib.schema import InputError

SCORES = np.array(
    [
        # pad,  1,   2,   3,   4
        [9.0, 0.1, 0.4, 0.3, 0.2],
        [9.0, 0.5, 0.5, 0.5, 0.1],
        [9.0, -np.inf, 1.0, 2.0, 3.0],
    ]
)


def test_rank_is_the_place_in_the_list_and_missing_where_it_is_not() -> None:
    items = np.array([[4, 2, 7], [4, 2, 7], [4, 2, 0], [0, 0, 0]])
    ranks = ranks_from_lists(items, np.array([4, 7, 7, 1]))
    pd.testing.assert_series_equal(ranks, pd.Series([1, 3, pd.NA, pd.NA], name="rank", dtype="Int64"))


def test_by_title_items_of_one_title_take_one_place_and_are_all_hits() -> None:
    title = np.array([-1, 0, 1, 1, 2, 3])  # items 2 and 3 share theirs
    items = np.array([[2, 3, 4], [2, 3, 4], [1, 3, 0], [2, 3, 4], [1, 4, 0]])
    ranks = ranks_by_title(items, np.array([4, 3, 2, 5, 5]), title)
    pd.testing.assert_series_equal(ranks, pd.Series([2, 1, 2, pd.NA, pd.NA], name="rank", dtype="Int64"))


@given(items=st.permutations(range(1, 9)), target=st.integers(1, 8))
def test_by_title_is_by_item_where_no_title_is_shared(items: list[int], target: int) -> None:
    lists, wanted = np.array([items[:5]]), np.array([target])
    by_title = ranks_by_title(lists, wanted, np.arange(9) - 1)
    pd.testing.assert_series_equal(by_title, ranks_from_lists(lists, wanted))


@pytest.mark.parametrize(
    ("items", "target", "message"),
    [
        ([[1, 2, 1]], [1], "row 0: item_idx 1 stands twice"),
        ([[1, 2], [2, 3]], [1, 0], "row 1: target item_idx 0"),
        ([[1, 2], [2, 3]], [1], "one target a row"),
    ],
)
def test_bad_lists_are_refused_by_row(items: list, target: list, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ranks_from_lists(np.array(items), np.array(target))


def test_ties_count_against_the_target_and_padding_does_not_count() -> None:
    ranks = ranks_from_scores(SCORES, np.array([3, 1, 1]), seen="kept")
    assert ranks.tolist() == [2, 3, 4]


def test_seen_items_leave_the_ranking_each_once_and_the_target_never() -> None:
    history = np.array([[0, 2, 2], [1, 2, 4], [3, 4, 1]])
    ranks = ranks_from_scores(SCORES, np.array([3, 1, 1]), seen="removed", history=history)
    assert ranks.tolist() == [1, 2, 2]
    assert seen_items(history, np.array([3, 1, 1]), n_items=4).tolist() == [[0, 2, 0], [0, 2, 4], [0, 3, 4]]


def test_removing_seen_items_needs_a_history_of_this_catalogue() -> None:
    with pytest.raises(InputError, match="needs `history`"):
        ranks_from_scores(SCORES, np.array([3, 1, 1]), seen="removed")
    with pytest.raises(InputError, match="outside 0…4"):
        ranks_from_scores(SCORES, np.array([3, 1, 1]), seen="removed", history=np.full((3, 1), 5))


def test_nan_score_names_row_and_item_and_nan_in_the_padding_column_is_ignored() -> None:
    scores = SCORES.copy()
    scores[:, 0] = np.nan
    assert ranks_from_scores(scores, np.array([3, 1, 1]), seen="kept").tolist() == [2, 3, 4]
    scores[1, 4] = np.nan
    with pytest.raises(InputError, match="row 1: the score of item_idx 4 is NaN"):
        ranks_from_scores(scores, np.array([3, 1, 1]), seen="kept")


def test_target_outside_the_catalogue_is_refused() -> None:
    with pytest.raises(InputError, match="row 2: target item_idx 5 is outside 1…4"):
        ranks_from_scores(SCORES, np.array([1, 1, 5]), seen="kept")


@given(
    scores=arrays.arrays(np.float64, (6, 8), elements=st.sampled_from([0.0, 0.25, 0.5, 1.0])),
    target=arrays.arrays(np.int64, 6, elements=st.integers(1, 7)),
    history=arrays.arrays(np.int64, (6, 4), elements=st.integers(0, 7)),
)
def test_ranks_equal_a_slow_count(scores: np.ndarray, target: np.ndarray, history: np.ndarray) -> None:
    kept = ranks_from_scores(scores, target, seen="kept")
    removed = ranks_from_scores(scores, target, seen="removed", history=history)
    for row in range(6):
        better = {i for i in range(1, 8) if i != target[row] and scores[row, i] >= scores[row, target[row]]}
        assert kept[row] == 1 + len(better)
        assert removed[row] == 1 + len(better - set(history[row]))


@given(scores=arrays.arrays(np.float64, (4, 6), elements=st.floats(-5, 5), unique=True))
def test_without_ties_scores_and_the_sorted_list_give_the_same_rank(scores: np.ndarray) -> None:
    target = np.array([1, 2, 3, 5])
    lists = np.argsort(-scores[:, 1:], axis=1) + 1
    assert ranks_from_lists(lists, target).tolist() == ranks_from_scores(scores, target, seen="kept").tolist()
