"""What the readers share: a delimited file as text, and its columns turned into numbers with clear errors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reclib.schema import ITEM_ID, InputError


def find(folder: Path, stem: str) -> Path | None:
    """The file `stem` or `stem`.gz of a folder, None where there is neither."""
    return next((path for path in (folder / stem, folder / f"{stem}.gz") if path.is_file()), None)


def read_text_table(path: Path, *, separator: str = ",", **options: Any) -> pd.DataFrame:
    """A delimited file with every cell as text, empty cells as "".

    Raises InputError for an empty, undecodable or malformed file, naming file and, where known, line.
    """
    try:
        table = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, **options)
    except pd.errors.EmptyDataError as error:
        raise InputError(f"{path} is empty; fetch or write it again") from error
    except pd.errors.ParserError as error:
        raise InputError(f"{path}: {error}; correct that line") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not {error.encoding} text ({error.reason}); save it so") from error
    except (EOFError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise InputError(f"{path} cannot be read to its end ({error}); fetch it again") from error
    if table.empty:
        raise InputError(f"{path} has a header and no rows")
    return table


def require(table: pd.DataFrame, columns: Sequence[str], path: Path) -> None:
    """Raise InputError where a column is missing."""
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise InputError(
            f"{path}: no column {', '.join(missing)}; its header is {', '.join(map(str, table.columns))}"
        )


def numbers(table: pd.DataFrame, column: str, path: Path, *, may_be_empty: bool = False) -> pd.Series:
    """A text column as float64, "" as NaN where that is allowed.

    Raises InputError naming file, column, row (counted from 1 below the header) and value.
    """
    text = table[column]
    values = pd.to_numeric(text, errors="coerce").astype(np.float64)
    bad = ~np.isfinite(values)
    if may_be_empty:
        bad &= text.notna() & (text != "")
    if bad.any():
        row = int(bad.to_numpy().argmax())
        raise InputError(
            f"{path}: column {column}, row {row + 1}: {text.iloc[row]!r} is not a number; "
            f"correct it or drop the row"
        )
    return values


def unique_items(items: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The items themselves. Raises InputError where an item_id stands twice."""
    repeated = items[ITEM_ID].duplicated()
    if repeated.any():
        row = int(repeated.to_numpy().argmax())
        raise InputError(
            f"{path}: item_id {items[ITEM_ID].iloc[row]} stands again in row {row + 1}; keep one"
        )
    return items
