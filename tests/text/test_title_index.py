from __future__ import annotations

import pytest

from reclib.schema import InputError
from reclib.text.title_index import TitleIndex
from tests.text.toy import TITLES


def test_titles_lead_to_their_items_and_back() -> None:
    index = TitleIndex(TITLES)
    for item, title in enumerate(TITLES, start=1):
        assert item in index.items(title)
        assert index.title(item) == title
        assert title in index
    assert index.items("The Matrix").tolist() == [3, 4]
    assert index.shared().tolist() == [3, 4]
    assert repr(index) == "TitleIndex(14 items, 13 titles)"


def test_an_unknown_title_has_no_items() -> None:
    index = TitleIndex(TITLES)
    assert index.items("The Matri").tolist() == []
    assert "The Matri" not in index


def test_titles_by_their_beginning() -> None:
    index = TitleIndex(TITLES)
    assert index.search("The M") == ["The Matrix", "The Matrix (1999)", "The Matrix Reloaded"]
    assert index.search("The M", limit=1) == ["The Matrix"]
    assert index.search("Zebra") == []


@pytest.mark.parametrize("item", [0, 15])
def test_an_unknown_item(item: int) -> None:
    with pytest.raises(InputError, match=f"no item {item}: items are numbered 1 to 14"):
        TitleIndex(TITLES).title(item)


def test_the_empty_catalogue() -> None:
    assert len(TitleIndex([])) == 0
