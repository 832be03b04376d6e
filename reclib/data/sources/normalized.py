"""Normalised CSV: items, interactions and, where the source has them, ready windows.

`items.csv` (item_id, title, …), `interactions.csv` (user_id, item_id, timestamp where there is one; rows of a
user oldest first) and `sequences_{train,valid,test}.csv` (user_id, history as item ids separated by blanks,
target, timestamp of the target); each may be gzip-compressed. An empty timestamp means unknown.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from reclib.data.dataset import Windows
from reclib.data.sources.tables import find, numbers, read_text_table, require, unique_items
from reclib.schema import InputError

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


def read(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Interactions and items. Raises InputError for a missing column or a value that is no number."""
    path = _path(folder, "interactions.csv")
    table = read_text_table(path)
    require(table, ["user_id", "item_id"], path)
    interactions = table[["user_id", "item_id"]].copy()
    has_time = "timestamp" in table
    interactions["timestamp"] = numbers(table, "timestamp", path, may_be_empty=True) if has_time else np.nan
    if "rating" in table:
        interactions["rating"] = numbers(table, "rating", path)
    return interactions, _items(folder)


def read_windows(folder: Path) -> Ready:
    """The ready windows of a folder; item_idx follow the order of the items file.

    Raises InputError for a missing file or column, an item that is not in the catalogue, an empty history.
    """
    items = _items(folder)
    items.index = pd.RangeIndex(1, len(items) + 1, name="item_idx")
    place = pd.Series(items.index, index=items["item_id"])
    paths = {part: find(folder, f"sequences_{part}.csv") for part in _PARTS}
    parts = {part: _windows(path, place) for part, path in paths.items() if path is not None}
    interactions, _ = read(folder)
    return Ready(items, parts, interactions["user_id"].nunique(), len(interactions))


def _items(folder: Path) -> pd.DataFrame:
    path = _path(folder, "items.csv")
    items = read_text_table(path)
    require(items, ["item_id", "title"], path)
    return unique_items(items, path)


def _windows(path: Path, place: pd.Series) -> Windows:
    table = read_text_table(path)
    require(table, ["user_id", "history", "target"], path)
    ids = table["history"].str.split()
    lengths = ids.str.len().to_numpy()
    if not lengths.all():
        raise InputError(f"{path}: row {int(lengths.argmin()) + 1} has an empty history; drop the row")
    history = np.zeros((len(table), lengths.max()), dtype=np.int32)
    is_there = np.arange(history.shape[1]) >= (lengths.max() - lengths)[:, None]
    history[is_there] = _item_idx(ids.explode(), place, path)
    has_time = "timestamp" in table
    time = (
        numbers(table, "timestamp", path, may_be_empty=True) if has_time else pd.Series(np.nan, table.index)
    )
    target = _item_idx(table["target"], place, path)
    return Windows(table["user_id"].to_numpy(), history, target, time.to_numpy(np.float64))


def _item_idx(ids: pd.Series, place: pd.Series, path: Path) -> np.ndarray:
    found = ids.map(place)
    unknown = found.isna()
    if unknown.any():
        row = int(unknown.to_numpy().argmax())
        raise InputError(
            f"{path}: row {int(ids.index[row]) + 1}: item {ids.iloc[row]!r} is not in the items file; add it there "
            f"or drop the row"
        )
    return found.to_numpy(np.int32)


def _path(folder: Path, stem: str) -> Path:
    path = find(folder, stem)
    if path is None:
        raise InputError(f"{folder} holds neither {stem} nor {stem}.gz")
    return path
