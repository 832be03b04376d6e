"""What the readers share: delimited files as tables of text, and interactions with clear errors."""

from __future__ import annotations

import gzip
import warnings
import zlib
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reclib.schema import ITEM_ID, RATING, TIMESTAMP, USER_ID, InputError


def find(folder: Path, stem: str) -> Path | None:
    """The file `stem` or `stem`.gz of a folder, None where there is neither."""
    return next((path for path in (folder / stem, folder / f"{stem}.gz") if path.is_file()), None)


def read_texts(path: Path, *, separator: str = ",", **options: Any) -> pd.DataFrame:
    """A delimited file with every cell as text, empty cells as "".

    Raises InputError for an empty, undecodable or malformed file, naming file and, where known, line.
    """
    return _read(path, separator=separator, dtype=str, **options)


def read_interactions(
    path: Path,
    *,
    user: str = USER_ID,
    item: str = ITEM_ID,
    time: str = TIMESTAMP,
    time_may_be_empty: bool = False,
    separator: str = ",",
    **options: Any,
) -> pd.DataFrame:
    """user_id, item_id (categories of texts), timestamp (NaN where empty or absent), rating if there is one.

    user, item, time: the file's names of these columns. The rest of the file is left out.
    Raises InputError for a missing column, an empty id, or a time or rating that is no finite number.
    """
    options |= {"separator": separator, "na_values": {time: [""], RATING: [""]}}
    table = _read(path, dtype={user: str, item: str}, **options)
    require(table, [user, item], path)
    interactions = pd.DataFrame({USER_ID: ids(table[user], path), ITEM_ID: ids(table[item], path)})
    interactions[TIMESTAMP] = (
        numbers(table[time], path, may_be_empty=time_may_be_empty) if time in table else np.nan
    )
    if RATING in table:
        interactions[RATING] = numbers(table[RATING], path)
    return interactions


def require(table: pd.DataFrame, columns: Sequence[str], path: Path) -> None:
    """Raise InputError where a column is missing."""
    missing = [name for name in columns if name not in table.columns]
    if missing:
        header = ", ".join(map(str, table.columns))
        raise InputError(f"{path}: no column {', '.join(missing)}; its header is {header}")


def ids(column: pd.Series, path: Path) -> pd.Series:
    """Identifiers as categories of texts. Raises InputError naming the first row without one."""
    codes, values = pd.factorize(column)
    empty = (codes < 0) | (values == "")[codes]
    if empty.any():
        raise InputError(
            f"{path}: column {column.name} is empty in row {_first(empty)}; fill it in or drop the row"
        )
    return pd.Series(pd.Categorical.from_codes(codes, values), name=column.name)


def numbers(column: pd.Series, path: Path, *, may_be_empty: bool = False) -> pd.Series:
    """A column as float64, empty cells as NaN where that is allowed.

    Raises InputError naming file, column, row (counted from 1 below the header) and value.
    """
    values = pd.to_numeric(column, errors="coerce").astype(np.float64)
    bad = ~np.isfinite(values)
    if may_be_empty:
        bad &= column.notna() & (column != "")
    if bad.any():
        row = _first(bad)
        found = column.iloc[row - 1]
        what = "is empty" if pd.isna(found) or found == "" else f"is {str(found)!r}, not a finite number"
        raise InputError(f"{path}: column {column.name}, row {row} {what}; correct it or drop the row")
    return values


def unique_items(items: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The items themselves. Raises InputError where an item_id is empty or stands twice."""
    empty = items[ITEM_ID] == ""
    if empty.any():
        raise InputError(f"{path}: {ITEM_ID} is empty in row {_first(empty)}; fill it in or drop the row")
    repeated = items[ITEM_ID].duplicated()
    if repeated.any():
        row = _first(repeated)
        raise InputError(
            f"{path}: {ITEM_ID} {items[ITEM_ID].iloc[row - 1]!r} stands again in row {row}; keep one"
        )
    return items


def _first(flags: pd.Series | np.ndarray) -> int:
    """Row, counted from 1, of the first true flag."""
    return int(np.asarray(flags).argmax()) + 1


def _read(path: Path, *, separator: str, **options: Any) -> pd.DataFrame:
    """`pandas.read_csv` without guesses: "NA" is a text, a surplus field is an error and never an index."""
    source: Path | BytesIO = path
    try:
        if separator == "::":  # pandas' fast parser knows separators of one character
            content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            source, separator = BytesIO(content.replace(b"::", b"\t")), "\t"
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(
                source, sep=separator, index_col=False, keep_default_na=False, low_memory=False, **options
            )
    except pd.errors.EmptyDataError as error:
        raise InputError(f"{path} is empty; fetch or write it again") from error
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        raise InputError(f"{path}: {str(error).strip()}; correct that line") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not {error.encoding} text ({error.reason}); save it so") from error
    except (EOFError, OSError, zlib.error) as error:
        raise InputError(f"{path} cannot be read to its end ({error}); fetch it again") from error
    if table.empty:
        raise InputError(f"{path} has a header and no rows; fetch or write it again")
    return table
