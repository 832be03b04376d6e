"""Names of columns, and checks of tables and settings where they enter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from math import isfinite
from numbers import Integral, Real
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    import numpy as np
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
    in "?" may have missing values, "any" may always. A number written as text is text. `source` names the
    table in errors.

    Raises InputError naming the source, the column, the first bad row (counted from 1) and its value.
    """
    missing = [name for name in columns if name not in table.columns]
    if missing:
        there = ", ".join(map(str, table.columns)) or "none"
        raise InputError(
            f"{source}: no column {', '.join(missing)}; the columns are {there}: add or rename it there"
        )
    for name, kind in columns.items():
        _check_column(table[name], kind, source)
    return table


_KINDS = {"int": "a whole number", "float": "a number", "string": "text", "bool": "true or false"}


def _check_column(column: pd.Series, kind: str, source: str) -> None:
    import numpy as np

    base = kind.removesuffix("?")
    if base == "any":
        return
    is_absent = column.isna().to_numpy(dtype=bool)
    if is_absent.any() and base == kind:
        row = int(is_absent.argmax()) + 1
        raise InputError(f"{source}: column {column.name} is empty in row {row}; fill it in or drop the row")
    is_bad = _is_bad(column, base) & ~is_absent
    if is_bad.any():
        row = int(is_bad.argmax())
        value = column.iloc[row]
        value = value.item() if isinstance(value, np.generic) else value
        raise InputError(
            f"{source}: column {column.name}, row {row + 1}: {value!r} is not {_KINDS[base]}; "
            f"correct it there or drop the row"
        )


def _is_bad(column: pd.Series, kind: str) -> np.ndarray:
    """Which values are not of the kind; columns whose dtype says it all are passed without a look."""
    import numpy as np
    from pandas.api import types

    of_kind = {"int": types.is_integer_dtype, "bool": types.is_bool_dtype, "string": _is_text_dtype}
    if kind in of_kind and of_kind[kind](column):
        return np.zeros(len(column), dtype=bool)
    is_number = types.is_numeric_dtype(column) and not types.is_bool_dtype(column)
    if kind == "float" and is_number:
        return np.zeros(len(column), dtype=bool)
    if kind == "int" and is_number:
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
        return ~np.isfinite(values) | (values != np.floor(values))
    return np.array([not _is_of_kind(value, kind) for value in column], dtype=bool)


def _is_text_dtype(column: pd.Series) -> bool:
    from pandas.api import types

    return types.is_string_dtype(column.dtype) and not types.is_object_dtype(column.dtype)


def _is_of_kind(value: object, kind: str) -> bool:
    if kind in ("bool", "string"):
        return isinstance(value, bool if kind == "bool" else str)
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    return kind == "float" or float(value).is_integer()


def settle(
    config: Any,
    label: str,
    *,
    positive: tuple[str, ...] = (),
    not_negative: tuple[str, ...] = (),
    share: tuple[str, ...] = (),
) -> None:
    """Check the fields of a frozen dataclass against their types and ranges, from its `__post_init__`.

    1 for a float becomes 1.0 and a list a tuple, so that equal settings have equal hashes. `label` names the
    group in errors. Fields named in `positive` are above 0, in `not_negative` at least 0, in `share` from 0
    to 1: each entry of a tuple, and a value that may be None where it is not.

    Raises InputError naming the field, its value and what it may be.
    """
    hints = get_type_hints(type(config))
    for each in fields(config):
        value = _settled(getattr(config, each.name), hints[each.name], f"{label}.{each.name}")
        object.__setattr__(config, each.name, value)
    rules: tuple[tuple[tuple[str, ...], Callable[[Any], bool], str], ...] = (
        (positive, lambda value: value > 0, "above 0"),
        (not_negative, lambda value: value >= 0, "at least 0"),
        (share, lambda value: 0 <= value <= 1, "between 0 and 1"),
    )
    for names, is_met, must in rules:
        for name in names:
            value = getattr(config, name)
            values = value if isinstance(value, tuple) else () if value is None else (value,)
            if not all(map(is_met, values)):
                raise InputError(f"{label}.{name} is {value!r}: it must be {must}")


def _settled(value: Any, hint: Any, name: str) -> Any:
    """The value as the hinted type holds it."""
    if get_origin(hint) is UnionType:  # "float | None"
        return None if value is None else _settled(value, get_args(hint)[0], name)
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise InputError(f"{name} is {value!r}: choose one of {', '.join(get_args(hint))}")
        return value
    if get_origin(hint) is tuple and isinstance(value, tuple | list):
        return tuple(_settled(each, get_args(hint)[0], name) for each in value)
    if hint is int and isinstance(value, Integral) and not isinstance(value, bool):
        return int(value)
    if hint is float and isinstance(value, Real) and not isinstance(value, bool) and isfinite(value):
        return float(value)
    if hint in (int, float) or get_origin(hint) is tuple or not isinstance(value, hint):
        raise InputError(f"{name} is {value!r}: it must be {_WORDS.get(hint, _kind(hint))}")
    return value


_WORDS = {int: "a whole number", float: "a finite number", str: "text", bool: "True or False"}


def _kind(hint: Any) -> str:
    return "a list" if get_origin(hint) is tuple else f"of type {hint.__name__}"
