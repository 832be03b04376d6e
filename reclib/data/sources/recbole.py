"""RecBole's atomic files: `*.inter` and `*.item`, tab separated, with typed headers such as `user_id:token`."""

from __future__ import annotations

import csv
from pathlib import Path

import pandas as pd

from reclib.data.preprocess import undo_article
from reclib.data.sources.tables import numbers, read_text_table, require, unique_items
from reclib.schema import InputError

# Names under which RecBole's data sets keep what we need, most specific first.
_TITLES = ("title", "movie_title", "item_name", "name", "artist_name", "product_name")
_YEAR = "release_year"


def recognises(folder: Path) -> bool:
    """Whether the folder holds an interaction file of this format."""
    return any(folder.glob("*.inter"))


def read(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Interactions and items of the data set in a folder.

    Film titles get their article back in front and their year behind: "Matrix, The" of 1999 is read as
    "The Matrix (1999)". Raises InputError for a missing file, column or title, or a value that is no number.
    """
    path = _one(folder, "inter")
    table = _untyped(read_text_table(path, separator="\t", quoting=csv.QUOTE_NONE))
    require(table, ["user_id", "item_id"], path)
    interactions = table[["user_id", "item_id"]].copy()
    interactions["timestamp"] = numbers(table, "timestamp", path) if "timestamp" in table else float("nan")
    if "rating" in table:
        interactions["rating"] = numbers(table, "rating", path)
    return interactions, _items(_one(folder, "item"))


def _items(path: Path) -> pd.DataFrame:
    table = _untyped(read_text_table(path, separator="\t", quoting=csv.QUOTE_NONE))
    require(table, ["item_id"], path)
    column = next((name for name in _TITLES if name in table), None)
    if column is None:
        raise InputError(f"{path}: no column with titles; its header is {', '.join(table.columns)}")
    title = table[column].str.strip()
    if _YEAR in table:
        title = title.map(undo_article)
        year = table[_YEAR].str.strip()
        title = title.where(year == "", title + " (" + year + ")")
    items = pd.DataFrame({"item_id": table["item_id"], "title": title})
    for name, column in (("brand", "brand"), ("category", "class"), ("category", "categories")):
        if column in table:
            items[name] = table[column]
    return unique_items(items, path)


def _one(folder: Path, ending: str) -> Path:
    paths = sorted(folder.glob(f"*.{ending}"))
    if len(paths) != 1:
        raise InputError(f"{folder} holds {len(paths)} files *.{ending}; one data set a folder")
    return paths[0]


def _untyped(table: pd.DataFrame) -> pd.DataFrame:
    """Columns without their types: `user_id:token` → `user_id`."""
    return table.rename(columns=lambda name: name.split(":")[0])
