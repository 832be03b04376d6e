"""Ranks of targets, from ranked lists and from score matrices."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

from reclib.schema import PAD_IDX, RANK, InputError

Seen = Literal["kept", "removed"]


def ranks_from_lists(items: np.ndarray, target: np.ndarray) -> pd.Series:
    """Place of each target in its list; 1 is best, `<NA>` where the list does not hold it.

    items: (B, K) item_idx, best first, 0 where a list has no more items; target: (B,) item_idx.
    Returns (B,) Int64. Raises InputError on shapes that do not fit, a target below 1, and an item that
    stands twice in one list.
    """
    items, target = np.asarray(items), np.asarray(target)
    check_targets(target, rows=len(items), n_items=None)
    _check_unique(items)
    found = items == target[:, None]  # (B, K)
    rank = pd.Series(found.argmax(axis=1) + 1, name=RANK, dtype="Int64")
    return rank.mask(~found.any(axis=1))


def ranks_by_title(items: np.ndarray, target: np.ndarray, title: np.ndarray) -> pd.Series:
    """Place of each target's title among the distinct titles of its list, as code that compares titles does.

    rank = 1 + |{titles in the list before the first item with the target's title}|, so items of one title
    take one place and any of them is a hit.

    items, target: as for `ranks_from_lists`; title: (N+1,), equal numbers for equal titles, a number of its
    own at 0. Returns (B,) Int64, `<NA>` where the list holds no item of that title.
    """
    items, target = np.asarray(items), np.asarray(target)
    check_targets(target, rows=len(items), n_items=len(title) - 1)
    held = title[items]  # (B, K)
    before = np.tril(np.ones((held.shape[1], held.shape[1]), dtype=bool), k=-1)
    is_new = ~((held[:, :, None] == held[:, None, :]) & before).any(axis=2)
    found = held == title[target][:, None]
    place = np.take_along_axis(is_new.cumsum(axis=1), found.argmax(axis=1)[:, None], axis=1)[:, 0]
    return pd.Series(place, name=RANK, dtype="Int64").mask(~found.any(axis=1))


def ranks_from_scores(
    scores: np.ndarray, target: np.ndarray, *, seen: Seen, history: np.ndarray | None = None
) -> pd.Series:
    """Place of each target when all items are ranked by score, ties against the target.

    rank = 1 + |{i ≠ target : score_i ≥ score_target}|, over all items (`seen="kept"`) or over all but those
    of the row's history (`seen="removed"`; a target that is in its own history stays in the ranking).

    scores: (B, N+1), column 0 (padding) is ignored; target: (B,); history: (B, S) item_idx padded with 0,
    needed for "removed". Returns (B,) Int64 without `<NA>`.
    Raises InputError on a NaN score, naming row and item, and on items outside 1…N.
    """
    scores, target = np.asarray(scores), np.asarray(target)
    check_targets(target, rows=len(scores), n_items=scores.shape[1] - 1)
    _check_finite(scores)
    own = scores[np.arange(len(scores)), target][:, None]  # (B, 1)
    better = (scores[:, 1:] >= own).sum(axis=1)  # (B,), the target itself included
    if seen == "removed":
        better -= _seen_above(scores, own, seen_items(history, target, n_items=scores.shape[1] - 1))
    return pd.Series(better, name=RANK, dtype="Int64")


def seen_items(history: np.ndarray | None, target: np.ndarray, *, n_items: int) -> np.ndarray:
    """The items to leave out of each row's ranking: its history, each item once, the target never.

    history: (B, S). Returns (B, S) sorted, 0 where there is nothing to leave out.
    """
    if history is None or len(history) != len(target):
        raise InputError('seen="removed" needs `history` with one row a target; pass it, or seen="kept"')
    items = np.sort(np.asarray(history), axis=1)  # (B, S)
    if items.size and (items.min() < PAD_IDX or items.max() > n_items):
        raise InputError(
            f"a history holds an item outside 0…{n_items}: encode it as item_idx of this data set"
        )
    again = np.zeros_like(items, dtype=bool)
    again[:, 1:] = items[:, 1:] == items[:, :-1]
    return np.where(again | (items == target[:, None]), PAD_IDX, items)


def check_targets(target: np.ndarray, *, rows: int, n_items: int | None) -> None:
    """Refuse targets that are not one item_idx per row, naming the first bad row."""
    if target.shape != (rows,):
        raise InputError(f"{rows} rows of items but targets of shape {target.shape}: pass one target a row")
    bad = target < 1 if n_items is None else (target < 1) | (target > n_items)
    if bad.any():
        row = int(bad.argmax())
        allowed = "1…N" if n_items is None else f"1…{n_items}"
        raise InputError(f"row {row}: target item_idx {target[row]} is outside {allowed}")


def _seen_above(scores: np.ndarray, own: np.ndarray, seen: np.ndarray) -> np.ndarray:
    seen_scores = np.take_along_axis(scores, seen, axis=1)  # (B, S)
    return ((seen_scores >= own) & (seen != PAD_IDX)).sum(axis=1)


def _check_finite(scores: np.ndarray) -> None:
    bad = np.isnan(scores[:, 1:])
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise InputError(
            f"row {row}: the score of item_idx {column + 1} is NaN; a ranking needs numbers or −inf"
        )


def _check_unique(items: np.ndarray) -> None:
    ordered = np.sort(items, axis=1)
    twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != PAD_IDX)
    if twice.any():
        row, column = np.argwhere(twice)[0]
        raise InputError(f"row {row}: item_idx {ordered[row, column + 1]} stands twice in one list")
