"""RecBole's atomic files `*.inter` and `*.item`: tab separated, typed headers such as `user_id:token`."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pandas as pd

from reclib.data.dataset import Report
from reclib.data.preprocess import undo_article
from reclib.data.sources.tables import read_interactions, read_texts, unique_items
from reclib.schema import ITEM_ID, TITLE, USER_ID, InputError

# Names under which RecBole's data sets keep what we need, most specific first.
_TITLES = (
    "title",
    "movie_title",
    "book_title",
    "item_name",
    "product_name",
    "app_name",
    "artist_name",
    "track_name",
    "name",
)
_TEXTS = {
    "brand": ("brand",),
    "category": ("categories", "category", "genre", "genres", "class"),
    "description": ("description",),
}
_YEAR = "release_year"


def recognises(folder: Path) -> bool:
    """Whether the folder holds an interaction file of this format."""
    return any(folder.glob("*.inter"))


def read(folder: Path, report: Report) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Interactions and items of the data set in a folder.

    The item's field is `item_id`, or else the first of the `.item` file; the user's is `user_id`, or else the
    first other field of the `.inter` file. Film titles (those with a release year) get their articles back in
    front and the year behind: "Matrix, The" of 1999 becomes "The Matrix (1999)"; other titles are verbatim.

    Raises InputError for a missing file, column or title, or a value that is no number.
    """
    path, item_path = _one(folder, "inter"), _one(folder, "item")
    items = read_texts(item_path, **_format(item_path))
    options = _format(path)
    item = _field(list(items.columns), ITEM_ID)
    if item not in options["names"]:
        raise InputError(f"{path}: no field {item}; its header is {', '.join(options['names'])}")
    user = _field([name for name in options["names"] if name != item], USER_ID)
    interactions = read_interactions(path, user=user, item=item, **options)
    return interactions, _items(items.rename(columns={item: ITEM_ID}), item_path)


def _items(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    column = next((name for name in _TITLES if name in table), None)
    if column is None:
        raise InputError(f"{path}: no field with titles; its header is {', '.join(table.columns)}")
    items = table[[ITEM_ID]].assign(**{TITLE: table[column]})
    if _YEAR in table:
        items[TITLE] = [
            _with_year(undo_article(title.strip()), year.strip())
            for title, year in zip(table[column], table[_YEAR], strict=True)
        ]
    for name, fields in _TEXTS.items():
        field = next((each for each in fields if each in table and each != column), None)
        if field is not None:
            items[name] = table[field]
    return unique_items(items, path)


def _with_year(title: str, year: str) -> str:
    return f"{title} ({year})" if year.isdigit() and not title.endswith(f"({year})") else title


def _field(names: list[str], wanted: str) -> str:
    """The wanted field where there is one, or else the first."""
    return wanted if wanted in names or not names else names[0]


def _format(path: Path) -> dict[str, Any]:
    """How to read an atomic file: `user_id:token` in its header is the field user_id."""
    plain: dict[str, Any] = {"separator": "\t", "quoting": csv.QUOTE_NONE}
    header = read_texts(path, nrows=1, **plain).columns
    return plain | {"header": 0, "names": [name.split(":")[0] for name in header]}


def _one(folder: Path, ending: str) -> Path:
    paths = sorted(folder.glob(f"*.{ending}"))
    if len(paths) != 1:
        raise InputError(f"{folder} holds {len(paths)} files *.{ending}; one data set a folder")
    return paths[0]
