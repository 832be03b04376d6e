"""Amazon reviews and product metadata as JSON lines: the releases of 2014, 2018 and 2023."""

from __future__ import annotations

import ast
import gzip
import html
import json
import math
import warnings
import zlib
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import pandas as pd

from reclib.data.dataset import Report
from reclib.schema import ITEM_ID, RATING, TIMESTAMP, TITLE, USER_ID, InputError

_ENDINGS = (".json", ".jsonl", ".json.gz", ".jsonl.gz")
_SCRIPT = "getTime"  # some titles of 2018 are pieces of a page's script


def recognises(folder: Path) -> bool:
    """Whether the folder holds JSON lines."""
    return any(path.name.lower().endswith(_ENDINGS) for path in folder.iterdir())


def read(folder: Path, report: Report) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Interactions with ratings, and products.

    Reviews of 2014 and 2018: reviewerID, asin, overall, unixReviewTime; of 2023: user_id, parent_asin,
    rating, timestamp in milliseconds. HTML entities in texts are undone; a title that is a piece of a page's
    script counts as empty; a product that stands more than once keeps its first entry; the latter two are
    counted. Raises InputError naming file and line for a line that is no record, lacks a field or holds a
    value that is no finite number.
    """
    return _interactions(_one(folder, meta=False)), _items(_one(folder, meta=True), report)


def _interactions(path: Path) -> pd.DataFrame:
    """All reviews, as codes and numbers while reading: ten million of them fit in memory."""
    users: dict[str, int] = {}
    items: dict[str, int] = {}
    user_code, item_code, timestamp, ratings = array("q"), array("q"), array("d"), array("d")
    for line, record in _records(path):
        if "parent_asin" in record:
            names, per_second = ("user_id", "parent_asin", "timestamp", "rating"), 1000.0
        else:
            names, per_second = ("reviewerID", "asin", "unixReviewTime", "overall"), 1.0
        try:
            user, item, time, rating = [record[name] for name in names]
            seconds, stars = float(time) / per_second, float(rating)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(_complaint(path, line, record, names)) from error
        if not (_is_id(user) and _is_id(item) and math.isfinite(seconds) and math.isfinite(stars)):
            raise InputError(_complaint(path, line, record, names))
        user_code.append(users.setdefault(user, len(users)))
        item_code.append(items.setdefault(item, len(items)))
        timestamp.append(seconds)
        ratings.append(stars)
    if not users:
        raise InputError(f"{path} holds no record; fetch it again")
    return pd.DataFrame(
        {
            USER_ID: _categories(user_code, users),
            ITEM_ID: _categories(item_code, items),
            TIMESTAMP: np.frombuffer(timestamp),
            RATING: np.frombuffer(ratings),
        }
    )


def _categories(codes: array[int], names: dict[str, int]) -> pd.Categorical:
    return pd.Categorical.from_codes(np.frombuffer(codes, np.int64), pd.Index(list(names)).astype(str))


def _is_id(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and value != ""


def _complaint(path: Path, line: int, record: dict[str, Any], names: tuple[str, ...]) -> str:
    found = ", ".join(f"{name} {record[name]!r}" if name in record else f"no {name}" for name in names)
    return f"{path}: line {line} has {found}; it needs two ids and two finite numbers: correct or drop it"


def _items(path: Path, report: Report) -> pd.DataFrame:
    products: dict[str, dict[str, str]] = {}
    n_repeated = n_scripts = 0
    for line, record in _records(path):
        item = record.get("parent_asin") or record.get("asin")
        if not _is_id(item):
            raise InputError(f"{path}: line {line} has neither parent_asin nor asin; drop the line")
        if item in products:
            n_repeated += 1
            continue
        products[item] = _product(record)
        n_scripts += _SCRIPT in products[item][TITLE]
    if not products:
        raise InputError(f"{path} holds no record; fetch it again")
    report.add("source", "products that stand again in the metadata, first entry kept", n_repeated)
    report.add("source", "titles that are a piece of a page's script, read as empty", n_scripts)
    table = pd.DataFrame(list(products.values()), dtype=str)
    table[TITLE] = table[TITLE].mask(table[TITLE].str.contains(_SCRIPT, regex=False), "")
    return table.assign(**{ITEM_ID: list(products)})[[ITEM_ID, *table.columns]]


def _product(record: dict[str, Any]) -> dict[str, str]:
    category = record.get("categories") or record.get("category")
    if isinstance(category, list) and category and isinstance(category[0], list):
        category = category[0]  # 2014 has several paths from the root
    texts = {
        TITLE: record.get("title"),
        "brand": record.get("store") or record.get("brand"),
        "category": " > ".join(map(str, category)) if isinstance(category, list) else category,
        "description": record.get("description"),
    }
    return {name: html.unescape(_joined(value)).strip() for name, value in texts.items()}


def _joined(value: Any) -> str:
    """Text of a value that is a text, a list of texts, or absent."""
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "" if value is None else str(value)


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The record of each line that is not blank, with the line's number.

    The metadata of 2014 are Python literals; they are parsed as such, never evaluated.
    """
    number = 0
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield number, _record(line, path, number)
    except (EOFError, OSError, zlib.error) as error:
        raise InputError(f"{path} cannot be read beyond line {number} ({error}); fetch it again") from error


def _record(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a backslash in a text may look like a wrong escape
                record = ast.literal_eval(line.decode().strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
            raise InputError(
                f"{path}: line {number} is no JSON and no Python literal; fetch it again, or drop the line"
            ) from error
    if not isinstance(record, dict):
        raise InputError(f"{path}: line {number} is a {type(record).__name__}, not a record; drop the line")
    return record


def _files(folder: Path, *, meta: bool) -> list[Path]:
    files = [path for path in sorted(folder.iterdir()) if path.name.lower().endswith(_ENDINGS)]
    return [path for path in files if path.name.lower().startswith("meta") == meta]


def _one(folder: Path, *, meta: bool) -> Path:
    files = _files(folder, meta=meta)
    if len(files) != 1:
        names = ", ".join(path.name for path in files)
        what = "metadata" if meta else "reviews"
        raise InputError(f"{folder} holds {len(files)} files of {what} ({names}); keep one category a folder")
    return files[0]
