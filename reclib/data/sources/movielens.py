"""MovieLens as GroupLens publishes it: 100K (u.data), 1M and 10M (ratings.dat), later ones (ratings.csv)."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from reclib.data.dataset import Report
from reclib.data.preprocess import undo_article
from reclib.data.sources.tables import find, read_interactions, read_texts, unique_items
from reclib.schema import ITEM_ID, RATING, TIMESTAMP, TITLE, USER_ID, InputError

_RATINGS = [USER_ID, ITEM_ID, RATING, TIMESTAMP]
_FILMS = [ITEM_ID, TITLE, "category"]
_GENRES = [f"genre {number}" for number in range(19)]
_BARE: dict[str, Any] = {"header": None, "quoting": csv.QUOTE_NONE}


class _Release(NamedTuple):
    """How the two files of a release are written."""

    ratings: str
    films: str
    ratings_format: dict[str, Any]
    films_format: dict[str, Any]


_RELEASES = (
    _Release(
        "u.data",
        "u.item",
        {"separator": "\t", **_BARE},
        {"separator": "|", "names": [ITEM_ID, TITLE, "release", "video", "link", *_GENRES], **_BARE},
    ),
    _Release("ratings.dat", "movies.dat", {"separator": "::", **_BARE}, {"separator": "::", **_BARE}),
    _Release("ratings.csv", "movies.csv", {"header": 0}, {"header": 0}),
)


def recognises(folder: Path) -> bool:
    """Whether the folder holds ratings of one of the releases."""
    return any(find(folder, release.ratings) for release in _RELEASES)


def read(folder: Path, report: Report) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Interactions with ratings, and films; a title's articles are put back in front.

    Raises InputError for a missing film file, a film that stands twice, a rating or time that is no number.
    """
    release = next(release for release in _RELEASES if find(folder, release.ratings))
    ratings, films = find(folder, release.ratings), find(folder, release.films)
    if ratings is None or films is None:
        raise InputError(
            f"{folder} holds {release.ratings} and no {release.films}; take it from the same release"
        )
    interactions = read_interactions(ratings, names=_RATINGS, **release.ratings_format)
    items = _films(films, {"names": _FILMS} | release.films_format)
    columns = [ITEM_ID, TITLE, *(["category"] if "category" in items else [])]
    items = items[columns].assign(**{TITLE: items[TITLE].str.strip().map(undo_article)})
    return interactions, unique_items(items, films)


def _films(path: Path, options: dict[str, Any]) -> pd.DataFrame:
    """The films of any release: those of 100K and 1M are Latin-1, later ones UTF-8, and none says which."""
    try:
        return read_texts(path, **options)
    except InputError as error:
        if not isinstance(error.__cause__, UnicodeDecodeError):
            raise
        return read_texts(path, encoding="latin-1", **options)
