"""MovieLens as GroupLens publishes it: 100K (u.data), 1M and 10M (ratings.dat), later ones (ratings.csv)."""

from __future__ import annotations

import csv
from pathlib import Path

import pandas as pd

from reclib.data.preprocess import undo_article
from reclib.data.sources.tables import find, numbers, read_text_table, unique_items
from reclib.schema import InputError

_RATINGS = ["user_id", "item_id", "rating", "timestamp"]


def recognises(folder: Path) -> bool:
    """Whether the folder holds ratings of one of the releases."""
    return any(find(folder, name) for name in ("u.data", "ratings.dat", "ratings.csv"))


def read(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Interactions with ratings, and films; a title's article is put back in front.

    Raises InputError for a missing film file, or a rating or time that is no number.
    """
    if path := find(folder, "u.data"):
        ratings = read_text_table(path, separator="\t", names=_RATINGS, encoding="latin-1")
        items = _films(folder, "u.item", separator="|", genres=None)
    elif path := find(folder, "ratings.dat"):
        ratings = _double_colon(path, _RATINGS)
        items = _films(folder, "movies.dat", separator="::", genres=2)
    else:
        path = find(folder, "ratings.csv") or folder / "ratings.csv"
        ratings = read_text_table(path, names=_RATINGS, header=0)
        items = _films(folder, "movies.csv", separator=",", genres=2)
    values = {name: numbers(ratings, name, path) for name in ("timestamp", "rating")}
    return ratings[["user_id", "item_id"]].assign(**values), items


def _films(folder: Path, stem: str, *, separator: str, genres: int | None) -> pd.DataFrame:
    path = find(folder, stem)
    if path is None:
        raise InputError(f"{folder} holds ratings and no {stem}; take it from the same release")
    if separator == "::":
        table = _double_colon(path, ["item_id", "title", "category"])
    elif separator == "|":
        options = {"header": None, "encoding": "latin-1", "quoting": csv.QUOTE_NONE}
        table = read_text_table(path, separator="|", **options).rename(columns={0: "item_id", 1: "title"})
    else:
        table = read_text_table(path, names=["item_id", "title", "category"], header=0)
    items = table[["item_id", "title", *(["category"] if genres else [])]].copy()
    items["title"] = items["title"].str.strip().map(undo_article)
    return unique_items(items, path)


def _double_colon(path: Path, names: list[str]) -> pd.DataFrame:
    """A file with "::" between its fields, which pandas' fast parser does not know."""
    lines = read_text_table(
        path, separator="\x01", names=["line"], header=None, encoding="latin-1", quoting=csv.QUOTE_NONE
    )["line"]
    fields = lines.str.split("::", expand=True)
    short = fields.isna().any(axis=1)
    if fields.shape[1] != len(names) or short.any():
        row = int(short.to_numpy().argmax())
        raise InputError(
            f"{path}: line {row + 1} has not {len(names)} fields: {lines.iloc[row]!r}; correct it"
        )
    return fields.set_axis(names, axis=1)
