"""Item texts follow the template with the fields there are."""

from __future__ import annotations

import pandas as pd
import pytest

from reclib.text.item_text import item_texts


def test_every_field_stands_where_the_template_has_it() -> None:
    items = pd.DataFrame(
        {
            "item_id": [7],
            "title": ["Rose Soap"],
            "brand": ["Acme"],
            "date": ["2014-05-01"],
            "price": [4.5],
            "category": ["Beauty,Bath"],
            "description": ["Smells  of\nroses."],
        }
    )
    (text,) = item_texts(items, "items")
    assert text.splitlines()[1:] == [
        "name is Rose Soap; brand is Acme; date is 2014-05-01; price is 4.5.",
        "The item has following features: Beauty,Bath.",
        "The item has following descriptions: Smells of roses.",
    ]
    assert "Acme" in text
    assert "7" not in text


def test_empty_fields_and_their_sentences_are_left_out() -> None:
    items = pd.DataFrame(
        {"title": ["A", None, "C"], "brand": [None, "B", "nan"], "description": ["", "long", None]}
    )
    first, second, third = (text.splitlines()[1:] for text in item_texts(items, "books"))
    assert first == ["name is A."]
    assert second == ["brand is B.", "The item has following descriptions: long."]
    assert third == ["name is C."]
    assert item_texts(items, "books")[0].startswith("The book item has the following")


@pytest.mark.parametrize("columns", [{}, {"title": [""]}])
def test_an_item_of_which_nothing_is_known_keeps_its_place(columns: dict) -> None:
    items = pd.DataFrame(columns, index=pd.Index([1], name="item_idx"))
    (text,) = item_texts(items, "items")
    assert text == "The item has the following attributes:"
