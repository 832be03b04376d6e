"""Names of columns, and checks of tables where they enter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

PAD_IDX = 0  # item_idx of padding; items are 1…N

USER_ID = "user_id"
ITEM_ID = "item_id"
ITEM_IDX = "item_idx"
TIMESTAMP = "timestamp"
RATING = "rating"
TITLE = "title"
HISTORY = "history"
TARGET = "target"
TARGET_IDX = "target_idx"
RANK = "rank"
METRIC = "metric"
K = "k"
GROUP = "group"
VALUE = "value"
PROTOCOL = "protocol"


class InputError(ValueError):
    """Input that cannot be used; the message names the place (file, row, field) and the remedy."""


def check(table: pd.DataFrame, columns: Mapping[str, str], *, source: str) -> pd.DataFrame:
    """The table itself, once its columns are there and of the right kind.

    columns: name → kind, one of "int", "float" (integers pass), "string", "bool", "any"; a kind that ends
    in "?" may have missing values, "any" may always. `source` names the table in errors.

    Raises InputError naming the source, the column, the first bad row (counted from 1) and its value.
    """
    missing = [name for name in columns if name not in table.columns]
    if missing:
        there = ", ".join(map(str, table.columns)) or "none"
        raise InputError(f"{source}: no column {', '.join(missing)}; the columns are {there}")
    for name, kind in columns.items():
        _check_column(table[name], kind, source)
    return table


def _check_column(column: pd.Series, kind: str, source: str) -> None:
    base = kind.removesuffix("?")
    if base == "any":
        return
    absent = column.isna()
    if absent.any() and base == kind:
        raise InputError(
            f"{source}: column {column.name} is empty in row {_first(absent)}; fill it in or drop the row"
        )
    bad = _is_bad(column[~absent], base)
    if bad.any():
        row = column[~absent].index.get_indexer_for(bad.index[bad])[0]
        value = column[~absent].iloc[row]
        place = int((~absent).to_numpy().nonzero()[0][row]) + 1
        raise InputError(f"{source}: column {column.name}, row {place}: {value!r} is not {_KINDS[base]}")


_KINDS = {"int": "a whole number", "float": "a number", "string": "text", "bool": "true or false"}


def _is_bad(values: pd.Series, kind: str) -> pd.Series:
    """Which values are not of the kind; whole columns of the right dtype are passed without a look."""
    import pandas as pd
    from pandas.api import types

    none = pd.Series(False, index=values.index)
    if kind == "bool":
        return none if types.is_bool_dtype(values) else values.map(lambda value: not isinstance(value, bool))
    if kind == "string":
        if types.is_string_dtype(values) and not types.is_object_dtype(values):
            return none
        return values.map(lambda value: not isinstance(value, str)).astype(bool)
    if types.is_bool_dtype(values):
        return ~none
    numbers = pd.to_numeric(values, errors="coerce")
    if kind == "int" and not types.is_integer_dtype(values):
        return numbers.isna() | (numbers % 1 != 0)
    if types.is_numeric_dtype(values):
        return none
    return values.map(lambda value: isinstance(value, str)).astype(bool) | numbers.isna()


def _first(flags: pd.Series) -> int:
    return int(flags.to_numpy().argmax()) + 1
