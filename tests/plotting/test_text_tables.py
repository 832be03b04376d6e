from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reclib.plotting import text_tables


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0182349, "0.01823"),
        (-0.5, "−0.5"),
        (123456.7, "123457"),
        (1e-7, "1e−07"),
        (np.nan, "–"),
        (pd.NA, "–"),
        (True, "yes"),
        (np.bool_(False), "no"),
        (7, "7"),
        ("two\nlines", "two lines"),
    ],
)
def test_cells(value: object, shown: str) -> None:
    table = pd.DataFrame({"x": pd.Series([value], dtype=object)})
    assert f"| {shown} |" in text_tables.markdown(table, "Caption.", digits=4)


def test_pipes_do_not_break_a_markdown_row() -> None:
    table = pd.DataFrame({"a|b": ["c|d"]})
    assert text_tables.markdown(table, "Caption.", digits=4).splitlines()[-1] == r"| c\|d |"


@given(st.text(alphabet="ab \\&%$#_{}~^<>–−±τ", max_size=20))
def test_no_special_character_reaches_latex_bare(text: str) -> None:
    escaped = text_tables.escape(text)
    bare = re.sub(r"\\text\w+\{\}|\\[&%$#_{}]|\$-\$|\$\\(pm|tau)\$", "", escaped)
    assert not re.search(r"[\\&%$#_{}~^<>−±τ]", bare)
