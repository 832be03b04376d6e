"""One text an item, from whatever fields a catalogue has, for an encoder to embed."""

from __future__ import annotations

import pandas as pd

from reclib.schema import TITLE
from reclib.text.prompts import DOMAINS

# Fields of the first sentence: what the template calls them. A catalogue may name a field differently.
_ATTRIBUTES = {TITLE: "name", "brand": "brand", "author": "author", "year": "year", "date": "date"}
_ATTRIBUTES |= {"release_date": "date", "price": "price"}
_FEATURES = ("category", "categories", "genres", "genre", "features")
_DESCRIPTIONS = ("description",)
_MISSING = ("", "nan", "none", "n/a")


def item_texts(items: pd.DataFrame, domain: str) -> list[str]:
    """The attribute prompt of every item, in the order of item_idx, (N,).

        The <kind> item has the following attributes:
        name is <title>; brand is <brand>; date is <date>; price is <price>.
        The item has following features: <categories>.
        The item has following descriptions: <description>.

    A field that a catalogue has not, or an item leaves empty, is left out, and so is its sentence; an item
    without any field is the first line alone. <kind> is the domain's singular ("movie"), and nothing where
    the domain is "items". items: `Dataset.items`; domain: a key of `prompts.DOMAINS`.
    Source: [FAERec] §4.1, the template (which prints "rating is <DATE>").
    """
    kind = DOMAINS[domain].singular
    subject = "The item" if kind == "item" else f"The {kind} item"
    columns = {column: _clean(items[column]) for column in items.columns if _role(column)}
    attributes = [
        [f"{_ATTRIBUTES[column]} is {value}" if value else "" for value in values]
        for column, values in columns.items()
        if column in _ATTRIBUTES
    ]
    lines = [[f"{subject} has the following attributes:"] * len(items)]
    lines.append([_sentence("; ".join(filter(None, parts))) for parts in _rows(attributes, len(items))])
    for what, names in (("features", _FEATURES), ("descriptions", _DESCRIPTIONS)):
        given = [values for column, values in columns.items() if column in names]
        told = ["; ".join(filter(None, parts)) for parts in _rows(given, len(items))]
        lines.append([_sentence(f"The item has following {what}: {text}" if text else "") for text in told])
    return ["\n".join(filter(None, parts)) for parts in zip(*lines, strict=True)]


def _role(column: str) -> bool:
    return column in _ATTRIBUTES or column in _FEATURES or column in _DESCRIPTIONS


def _clean(values: pd.Series) -> list[str]:
    """Texts with single blanks; "" where there is none."""
    texts = values.astype("string").fillna("").str.split().str.join(" ").tolist()
    return ["" if text.lower() in _MISSING else text for text in texts]


def _rows(columns: list[list[str]], n_rows: int) -> list[tuple[str, ...]]:
    return list(zip(*columns, strict=True)) if columns else [()] * n_rows


def _sentence(text: str) -> str:
    return text if not text or text.endswith((".", "!", "?")) else f"{text}."
