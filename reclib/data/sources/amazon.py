"""Amazon reviews and product metadata as JSON lines: the releases of 2014, 2018 and 2023."""

from __future__ import annotations

import ast
import gzip
import html
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from reclib.schema import InputError

_ENDINGS = (".json", ".jsonl", ".json.gz", ".jsonl.gz")


def recognises(folder: Path) -> bool:
    """Whether the folder holds a file of reviews and one of metadata."""
    return len(_files(folder, meta=True)) > 0 and len(_files(folder, meta=False)) > 0


def read(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Interactions with ratings, and products.

    2014 and 2018: reviewerID, asin, overall, unixReviewTime; 2023: user_id, parent_asin, rating, timestamp in
    milliseconds. HTML entities in titles are undone. A product that stands more than once keeps its first
    entry. Raises InputError naming file and line for a line that is no record, or lacks a field.
    """
    reviews = _one(folder, meta=False)
    interactions = pd.DataFrame(_review(record, place) for place, record in _records(reviews))
    meta = _one(folder, meta=True)
    items = pd.DataFrame(_product(record, place) for place, record in _records(meta))
    if interactions.empty or items.empty:
        raise InputError(f"{reviews if interactions.empty else meta} holds no record")
    return interactions, items.drop_duplicates("item_id").reset_index(drop=True)


def _review(record: dict[str, Any], place: str) -> dict[str, Any]:
    is_2023 = "parent_asin" in record
    names = ("user_id", "parent_asin", "timestamp", "rating")
    if not is_2023:
        names = ("reviewerID", "asin", "unixReviewTime", "overall")
    user, item, time, rating = (_field(record, name, place) for name in names)
    try:
        seconds, stars = float(time) / (1000.0 if is_2023 else 1.0), float(rating)
    except (TypeError, ValueError) as error:
        raise InputError(f"{place}: {names[2]} {time!r} or {names[3]} {rating!r} is not a number") from error
    if seconds != seconds or stars != stars:
        raise InputError(f"{place}: {names[2]} or {names[3]} is NaN; correct it or drop the line")
    return {"user_id": str(user), "item_id": str(item), "timestamp": seconds, "rating": stars}


def _product(record: dict[str, Any], place: str) -> dict[str, str]:
    item = record.get("parent_asin") or _field(record, "asin", place)
    category = record.get("categories") or record.get("category") or []
    return {
        "item_id": str(item),
        "title": html.unescape(str(record.get("title") or "")),
        "brand": html.unescape(str(record.get("store") or record.get("brand") or "")),
        "category": html.unescape(_joined(category, ", ")),
        "description": html.unescape(_joined(record.get("description") or "", " ")),
    }


def _joined(value: Any, separator: str) -> str:
    """Text of a value that is a text, a list of texts, or (2014) a list of lists."""
    if isinstance(value, str):
        return value
    return separator.join(_joined(each, separator) for each in value)


def _field(record: dict[str, Any], name: str, place: str) -> Any:
    if record.get(name) is None:
        raise InputError(f"{place}: no field {name}; its fields are {', '.join(record)}")
    return record[name]


def _records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each line's record with its place; metadata of 2014 are Python literals, not JSON."""
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield f"{path}: line {number}", _record(line, f"{path}: line {number}")
    except (EOFError, UnicodeDecodeError, gzip.BadGzipFile) as error:
        raise InputError(f"{path} cannot be read to its end ({error}); fetch it again") from error


def _record(line: str, place: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except json.JSONDecodeError:
        try:
            record = ast.literal_eval(line.strip())
        except (ValueError, SyntaxError) as error:
            raise InputError(f"{place} is neither JSON nor a Python literal; the file is damaged") from error
    if not isinstance(record, dict):
        raise InputError(f"{place} is a {type(record).__name__}, not a record")
    return record


def _files(folder: Path, *, meta: bool) -> list[Path]:
    files = [path for path in sorted(folder.iterdir()) if path.name.lower().endswith(_ENDINGS)]
    return [path for path in files if path.name.lower().startswith("meta") == meta]


def _one(folder: Path, *, meta: bool) -> Path:
    files = _files(folder, meta=meta)
    if len(files) != 1:
        what = "meta*" if meta else "reviews"
        raise InputError(f"{folder} holds {len(files)} files of {what}; keep one category a folder")
    return files[0]
