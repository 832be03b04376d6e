"""Normalised CSV: items, interactions and, where the source has them, ready windows.

`items.csv` (item_id, title, …), `interactions.csv` (user_id, item_id, timestamp and rating where there are;
rows of a user oldest first) and `sequences_{train,valid,test}.csv` (user_id, history as item ids separated by
blanks, target, timestamp of the target); each may be gzip-compressed. An empty timestamp means unknown.
Titles are taken verbatim, HTML entities included: so have the released windows and the papers' token counts.
Only those of MovieLens (a folder ml…) get their articles back in front, as by the readers of its own files.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from reclib.data.dataset import Report, Windows
from reclib.data.preprocess import undo_article
from reclib.data.sources.tables import (
    find,
    ids,
    numbers,
    read_interactions,
    read_texts,
    require,
    unique_items,
)
from reclib.schema import HISTORY, ITEM_ID, ITEM_IDX, TARGET, TIMESTAMP, TITLE, USER_ID, InputError

_PARTS = ("train", "valid", "test")


class Ready(NamedTuple):
    """Windows a source has cut itself, by part, with its catalogue and counts."""

    items: pd.DataFrame
    parts: dict[str, Windows]
    n_users: int
    n_interactions: int


def recognises(folder: Path) -> bool:
    """Whether the folder holds items and interactions of this format."""
    return find(folder, "items.csv") is not None and find(folder, "interactions.csv") is not None


def has_windows(folder: Path) -> bool:
    """Whether the folder holds ready windows for training and test."""
    return all(find(folder, f"sequences_{part}.csv") for part in ("train", "test"))


def read(folder: Path, report: Report) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Interactions and items.

    Raises InputError for a missing file or column, an item_id that stands twice, a value that is no number.
    """
    interactions = read_interactions(_path(folder, "interactions.csv"), time_may_be_empty=True)
    items = _items(folder)
    if re.match("ml[-_]", folder.name):
        items[TITLE] = items[TITLE].map(undo_article)
    return interactions, items


def read_windows(folder: Path) -> Ready:
    """The ready windows of a folder; item_idx follow the order of the items file.

    Raises InputError for a missing file or column, an item that is not in the catalogue, an empty history.
    """
    items = _items(folder)
    items.index = pd.RangeIndex(1, len(items) + 1, name=ITEM_IDX)
    paths = {part: find(folder, f"sequences_{part}.csv") for part in _PARTS}
    parts = {part: _windows(path, items) for part, path in paths.items() if path is not None}
    interactions = read_interactions(_path(folder, "interactions.csv"), time_may_be_empty=True)
    users = [
        interactions[USER_ID].cat.categories.to_numpy(object),
        *(part.user_id for part in parts.values()),
    ]
    return Ready(items, parts, len(pd.unique(np.concatenate(users))), len(interactions))


def _items(folder: Path) -> pd.DataFrame:
    path = _path(folder, "items.csv")
    items = read_texts(path)
    require(items, [ITEM_ID, TITLE], path)
    return unique_items(items, path)


def _windows(path: Path, items: pd.DataFrame) -> Windows:
    table = read_texts(path)
    require(table, [USER_ID, HISTORY, TARGET], path)
    place = pd.Index(items[ITEM_ID])
    lengths = table[HISTORY].str.count(r"\S+").to_numpy(np.int64)
    if not lengths.all():
        raise InputError(f"{path}: row {int(lengths.argmin()) + 1} has an empty history; drop the row")
    history = np.zeros((len(table), lengths.max()), dtype=np.int32)
    is_there = np.arange(history.shape[1]) >= (lengths.max() - lengths)[:, None]
    row = np.repeat(np.arange(len(table)), lengths)
    history[is_there] = _item_idx(" ".join(table[HISTORY]).split(), row, place, path)
    target = _item_idx(table[TARGET], np.arange(len(table)), place, path)
    time = (
        numbers(table[TIMESTAMP], path, may_be_empty=True).to_numpy()
        if TIMESTAMP in table
        else np.full(len(table), np.nan)
    )
    return Windows(ids(table[USER_ID], path).to_numpy(object), history, target, time)


def _item_idx(item_ids: list[str] | pd.Series, row: np.ndarray, place: pd.Index, path: Path) -> np.ndarray:
    """item_idx of item ids; `row` is each one's row in the file."""
    values = pd.Series(item_ids, dtype=place.dtype)
    codes, distinct = pd.factorize(values)
    found = place.get_indexer(distinct)[codes] + 1
    if (found == 0).any():
        bad = int((found == 0).argmax())
        raise InputError(
            f"{path}: row {row[bad] + 1}: item {values.iloc[bad]!r} is not in the items file; add it there "
            f"or drop the row"
        )
    return found.astype(np.int32)


def _path(folder: Path, stem: str) -> Path:
    path = find(folder, stem)
    if path is None:
        raise InputError(f"{folder} holds neither {stem} nor {stem}.gz")
    return path
