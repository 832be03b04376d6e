from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from reclib.schema import InputError, check


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2], "int"),
        (np.array([1, 2], dtype=np.int32), "int"),
        ([1.0, 2.0], "int"),
        (pd.array([1, None], dtype="Int64"), "int?"),
        ([1.0, np.nan], "int?"),
        (pd.array([1, 2], dtype=object), "int"),
        ([1, 2], "float"),
        ([1.5, np.inf], "float"),
        (pd.array([1.5, None], dtype="Float64"), "float?"),
        (pd.array([np.float32(1.5), 2], dtype=object), "float"),
        (["a", ""], "string"),
        (pd.array(["a", None], dtype="string"), "string?"),
        (pd.array(["a", None], dtype=object), "string?"),
        (pd.Categorical(["a", "b"]), "string"),
        ([True, False], "bool"),
        (pd.array([True, None], dtype="boolean"), "bool?"),
        ([None, object()], "any"),
        ([], "int"),
    ],
)
def test_a_column_of_the_kind_passes(values: Any, kind: str) -> None:
    table = pd.DataFrame({"x": values, "y": "not looked at"})
    assert check(table, {"x": kind}, source="a.csv") is table


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        ([1.0, 2.5], "int", r"row 2: 2\.5 is not a whole number"),
        ([1.0, np.inf], "int", "row 2: inf is not a whole number"),
        (pd.array([1, "2"], dtype=object), "int", "row 2: '2' is not a whole number"),
        (pd.array([1, True], dtype=object), "int", "row 2: True is not a whole number"),
        ([True, False], "int", "row 1: True is not a whole number"),
        (["4", "five"], "float", "row 1: '4' is not a number"),
        (pd.array([4.0, "five"], dtype=object), "float", "row 2: 'five' is not a number"),
        ([True], "float", "is not a number"),
        (pd.array(["a", 3], dtype=object), "string", "row 2: 3 is not text"),
        ([1, 2], "string", "row 1: 1 is not text"),
        ([0, 1], "bool", "row 1: 0 is not true or false"),
        ([1.0, np.nan], "int", "empty in row 2; fill it in or drop the row"),
        ([1.0, np.nan], "float", "empty in row 2"),
        (pd.array([None, "a"], dtype=object), "string", "empty in row 1"),
        (pd.array([None, "a", 3], dtype=object), "string?", "row 3: 3 is not text"),
    ],
)
def test_a_bad_value_is_named_with_its_file_column_and_row(values: Any, kind: str, message: str) -> None:
    with pytest.raises(InputError, match=rf"^a\.csv: column x.*{message}"):
        check(pd.DataFrame({"x": values}), {"x": kind}, source="a.csv")


def test_rows_are_counted_whatever_the_index() -> None:
    table = pd.DataFrame({"x": [1.0, 2.0, 2.5]}, index=[7, 7, 7])
    with pytest.raises(InputError, match="row 3"):
        check(table, {"x": "int"}, source="a.csv")


def test_a_missing_column_is_named_beside_those_there_are() -> None:
    with pytest.raises(InputError, match=r"a\.csv: no column user_id, title; the columns are user, rating"):
        check(pd.DataFrame({"user": [1], "rating": [2]}), {"user_id": "any", "title": "any"}, source="a.csv")


def test_bad_input_is_a_value_error() -> None:
    assert issubclass(InputError, ValueError)
