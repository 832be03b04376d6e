from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reclib.config import DataConfig, override
from reclib.data.dataset import Report
from reclib.data.preprocess import clean, cut_title, k_core, undo_article
from reclib.data.splits import Sequences
from reclib.schema import InputError

CONFIG = DataConfig(source="made", min_interactions=1)


def tables(
    rows: list[tuple[str, str, float]], titles: dict[str, str], rating: list[float] | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    interactions = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])
    interactions = interactions.astype({"user_id": "category", "item_id": "category", "timestamp": float})
    if rating is not None:
        interactions["rating"] = rating
    return interactions, pd.DataFrame({"item_id": list(titles), "title": list(titles.values())})


def cleaned(
    rows: list[tuple[str, str, float]],
    titles: dict[str, str],
    *,
    rating: list[float] | None = None,
    **changes: object,
) -> tuple[list[tuple[str, str]], list[str], dict[str, int]]:
    """(user, title) of the interactions in order, titles of the catalogue, and counts of the report."""
    report = Report()
    data, items = clean(*tables(rows, titles, rating), override(CONFIG, **changes), report)
    pairs = [(user, items.loc[item, "title"]) for user, item in zip(data.user_id, data.item_idx, strict=True)]
    table = report.table()
    return pairs, items["title"].tolist(), dict(zip(table["what"], table["count"], strict=True))


@pytest.mark.parametrize(
    ("moved", "title"),
    [
        ("Matrix, The (1999)", "The Matrix (1999)"),
        ("American President, The", "The American President"),
        ("Beautiful Thing, A (1996)", "A Beautiful Thing (1996)"),
        ("Affair to Remember, An", "An Affair to Remember"),
        ("Misérables, Les (1995)", "Les Misérables (1995)"),
        ("Enfer, L' (1994)", "L'Enfer (1994)"),
        ("Postino, Il (1994)", "Il Postino (1994)"),
        ("Boot, Das (1981)", "Das Boot (1981)"),
        ("Promise, The (Versprechen, Das) (1994)", "The Promise (Das Versprechen) (1994)"),
        ("Convent, The (Convento, O)", "The Convent (O Convento)"),
        ("Star Maker, The (Uomo delle stelle, L')", "The Star Maker (L'Uomo delle stelle)"),
        ("Queen Margot (Reine Margot, La) (1994)", "Queen Margot (La Reine Margot) (1994)"),
        ("Good, The Bad and The Ugly, The (1966)", "The Good, The Bad and The Ugly (1966)"),
        ("I, Worst of All (Yo, la peor de todas)", "I, Worst of All (Yo, la peor de todas)"),
        ("Mrs. Brown (Her Majesty, Mrs. Brown)", "Mrs. Brown (Her Majesty, Mrs. Brown)"),
        ("Toy Story (1995)", "Toy Story (1995)"),
        ("", ""),
    ],
)
def test_articles_come_back_in_front(moved: str, title: str) -> None:
    assert undo_article(moved) == title
    assert undo_article(title) == title


pairs_of_ids = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=60)


def slow_k_core(pairs: list[tuple[int, int]], k: int) -> list[int]:
    """Drop one rarer user or item after another, in the order they are met."""
    rows = list(range(len(pairs)))
    while True:
        for side in (0, 1):
            ids = [pairs[row][side] for row in rows]
            rare = [each for each in ids if ids.count(each) < k]
            if rare:
                rows = [row for row in rows if pairs[row][side] != rare[0]]
                break
        else:
            return rows


@given(pairs_of_ids, st.integers(1, 5))
def test_the_k_core_equals_one_by_one_removal(pairs: list[tuple[int, int]], k: int) -> None:
    user, item = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    rows, rounds = k_core(user, item, k)
    assert rows.tolist() == slow_k_core(pairs, k)
    assert (rounds == 0) == (len(rows) == len(pairs))


def test_a_k_core_may_take_many_rounds() -> None:
    """A chain u0 i0 u1 i1 …, each with two rows but the ends: every round drops both ends."""
    user, item = np.repeat(np.arange(10), 2)[1:], np.repeat(np.arange(10), 2)[:-1]
    rows, rounds = k_core(user, item, 2)
    assert len(rows) == 0
    assert rounds > 3


def test_the_core_is_dense_and_what_it_drops_is_counted() -> None:
    rows = [(user, item, 1.0) for user in "abc" for item in "xyz"] + [("d", "x", 1.0), ("a", "w", 2.0)]
    titles = {each: f"title {each}" for each in "xyzwv"}
    pairs, catalogue, counts = cleaned(rows, titles, min_interactions=3)
    assert len(pairs) == 9
    assert catalogue == ["title x", "title y", "title z"]
    assert counts["users with one interaction, dropped"] == 1
    assert counts["users with fewer than 3 interactions, dropped"] == 1
    assert counts["items with fewer than 3 interactions, dropped"] == 1
    assert counts["interactions of these, dropped"] == 2


def test_the_same_user_item_and_time_is_one_interaction() -> None:
    nan = float("nan")
    rows = [
        ("a", "x", 1.0),
        ("a", "x", 1.0),
        ("a", "x", 2.0),
        ("b", "x", 1.0),
        ("c", "x", nan),
        ("c", "x", nan),
    ]
    pairs, _, counts = cleaned(rows, {"x": "X"})
    assert [user for user, _ in pairs] == ["a", "a", "b", "c", "c"]
    assert counts["interactions of the same user, item and time, dropped"] == 1


def test_users_are_ordered_by_time_with_ties_as_in_the_file() -> None:
    rows = [("b", "x", 3.0), ("a", "x", 2.0), ("b", "y", 1.0), ("a", "z", 2.0), ("b", "z", 1.0)]
    pairs, _, _ = cleaned(rows, {"x": "X", "y": "Y", "z": "Z"})
    assert pairs == [("b", "Y"), ("b", "Z"), ("b", "X"), ("a", "X"), ("a", "Z")]


def test_a_user_with_an_unknown_time_stays_in_the_order_of_the_file() -> None:
    nan = float("nan")
    rows = [("a", "x", 9.0), ("a", "y", nan), ("a", "z", 1.0), ("b", "x", 9.0), ("b", "y", 1.0)]
    pairs, _, counts = cleaned(rows, {"x": "X", "y": "Y", "z": "Z"})
    assert pairs == [("a", "X"), ("a", "Y"), ("a", "Z"), ("b", "Y"), ("b", "X")]
    assert counts["interactions of unknown time"] == 1


def test_item_idx_follow_the_order_of_the_source() -> None:
    data, items = clean(
        *tables([("a", "z", 1.0), ("a", "x", 2.0)], {"x": "X", "y": "Y", "z": "Z"}), CONFIG, Report()
    )
    assert items["item_id"].tolist() == ["x", "z"]
    assert items.index.tolist() == [1, 2]
    assert data.item_idx.tolist() == [2, 1]
    assert data.item_idx.dtype == np.int32


def test_ids_that_look_like_one_number_are_two() -> None:
    pairs, catalogue, _ = cleaned([("1", "7", 1.0), ("01", "007", 1.0)], {"7": "X", "007": "Y"})
    assert pairs == [("1", "X"), ("01", "Y")]
    assert catalogue == ["X", "Y"]


@pytest.mark.parametrize(("policy", "kept"), [("drop", ["X"]), ("keep", ["X", ""])])
def test_items_without_a_title(policy: str, kept: list[str]) -> None:
    rows = [("a", "x", 1.0), ("a", "y", 2.0), ("a", "unknown", 3.0)]
    pairs, catalogue, counts = cleaned(rows, {"x": "X", "y": " \t "}, empty_title=policy)
    assert catalogue == kept
    assert len(pairs) == len(kept)
    assert sum(count for what, count in counts.items() if what.startswith("items without a title")) == 1
    dropped = counts["interactions with an item that has no entry or no title, dropped"]
    assert dropped == 3 - len(kept)


def test_titles_are_cut_at_a_word_and_get_single_blanks() -> None:
    rows = [("a", item, 1.0) for item in "xyz"]
    titles = {"x": "one two\n three", "y": "a  b", "z": "one two four"}
    _, catalogue, counts = cleaned(rows, titles, max_title_characters=9)
    assert catalogue == ["one two", "a b", "one two"]
    assert counts["cut to 9 characters at a word"] == 2
    assert counts["items that share their title with another, kept"] == 2
    assert cleaned(rows, titles, max_title_characters=None)[1] == ["one two three", "a b", "one two four"]


@given(st.text(alphabet="ab ", max_size=12), st.integers(1, 12))
def test_a_cut_title_is_a_beginning_and_fits(title: str, limit: int) -> None:
    cut = cut_title(title, limit)
    assert len(cut) <= limit
    assert title.startswith(cut)
    if len(title) <= limit:
        assert cut == title
    words, rest = cut.split(), title[len(cut) :]
    assert rest[:1] in ("", " ") or len(words) <= 1, "only a single word is broken"


def test_low_ratings_go() -> None:
    rows = [("a", "x", 1.0), ("a", "y", 2.0), ("a", "z", 3.0)]
    pairs, _, counts = cleaned(rows, {"x": "X", "y": "Y", "z": "Z"}, rating=[3.0, 4.0, 5.0], min_rating=4.0)
    assert pairs == [("a", "Y"), ("a", "Z")]
    assert counts["interactions rated below 4, dropped"] == 1


def test_a_rating_is_needed_to_filter_by() -> None:
    with pytest.raises(InputError, match="made: min_rating is set and there is no column rating"):
        cleaned([("a", "x", 1.0)], {"x": "X"}, min_rating=4.0)


@pytest.mark.parametrize("titles", [{"x": "X"}, {"x": ""}])
def test_nothing_left_is_an_error_with_the_remedies(titles: dict[str, str]) -> None:
    with pytest.raises(
        InputError, match=r'made: no interaction is left .*=2; lower it, set empty_title="keep"'
    ):
        cleaned([("a", "x", 1.0)], titles, min_interactions=2)


def test_sequences_can_be_filtered() -> None:
    data = Sequences(np.array(["a", "b"], dtype=object), np.array([1, 2]), np.array([0.0, 1.0]))
    assert data.where(np.array([False, True])).item_idx.tolist() == [2]
