from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from reclib.data.dataset import Report
from reclib.data.sources import amazon, read
from reclib.schema import InputError
from tests.data.files import write


def lines(*records: dict[str, Any]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def review(**changes: Any) -> dict[str, Any]:
    return {
        "reviewerID": "A1",
        "asin": "0439893577",
        "overall": 5.0,
        "unixReviewTime": 1390694400,
        "reviewText": "…",
    } | changes


REVIEWS_2014 = lines(review(), review(reviewerID="A2", asin="B2", overall=1.0))
META_2014 = (
    # Python literals, not JSON, with what looks like a wrong escape
    "{'asin': '0439893577', 'title': 'Tools &amp; Box\\'s', 'price': None, 'brand': 'Acme', "
    "'description': 'a \\d b', 'categories': [['Toys', 'Learning'], ['Toys', 'Other']]}\n"
    "{'asin': 'B2', 'related': {'also_bought': ['X']}}\n"
)
REVIEWS_2018 = lines(
    review(verified=True, reviewTime="01 26, 2014"), review(reviewerID="A2", asin="B2", overall=1)
)
META_2018 = lines(
    {
        "asin": "0439893577",
        "title": "Tools &amp; Box's",
        "brand": "Acme",
        "category": ["Toys", "Learning"],
        "description": ["a \\d b"],
    },
    {"asin": "B2", "title": ""},
    {"asin": "0439893577", "title": "Another entry"},
    {"asin": "B3", "title": "var aPageStart = (new Date()).getTime();"},
)
REVIEWS_2023 = lines(
    {"user_id": "A1", "asin": "V1", "parent_asin": "0439893577", "rating": 5.0, "timestamp": 1390694400000},
    {"user_id": "A2", "asin": "V2", "parent_asin": "B2", "rating": 1.0, "timestamp": 1390694400000},
)
META_2023 = lines(
    {
        "parent_asin": "0439893577",
        "title": "Tools &amp; Box's",
        "store": "Acme",
        "categories": ["Toys", "Learning"],
        "description": ["a \\d b"],
    },
    {"parent_asin": "B2", "title": None, "categories": [], "description": []},
)
RELEASES: dict[str, dict[str, str | bytes]] = {
    "2014": {"reviews_Toys.json.gz": REVIEWS_2014, "meta_Toys.json.gz": META_2014},
    "2018": {"Toys_5.json": REVIEWS_2018, "meta_Toys.json": META_2018},
    "2023": {"Toys.jsonl.gz": REVIEWS_2023, "meta_Toys.jsonl": META_2023},
}


@pytest.mark.parametrize("release", RELEASES)
def test_every_release_reads_the_same(tmp_path: Path, release: str) -> None:
    interactions, items = read(write(tmp_path, RELEASES[release]), Report())
    assert interactions["user_id"].tolist() == ["A1", "A2"]
    assert interactions["item_id"].tolist() == ["0439893577", "B2"]
    assert interactions["rating"].tolist() == [5.0, 1.0]
    assert interactions["timestamp"].tolist() == [1390694400.0] * 2
    assert items.iloc[0].to_dict() == {
        "item_id": "0439893577",
        "title": "Tools & Box's",
        "brand": "Acme",
        "category": "Toys > Learning",
        "description": "a \\d b",
    }
    assert items["title"].tolist()[1] == ""


def test_repeated_products_and_scripts_for_titles_are_counted(tmp_path: Path) -> None:
    report = Report()
    _, items = read(write(tmp_path, RELEASES["2018"]), report)
    assert items["title"].tolist() == ["Tools & Box's", "", ""]
    counts = dict(zip(report.table()["what"], report.table()["count"], strict=True))
    assert counts["products that stand again in the metadata, first entry kept"] == 1
    assert counts["titles that are a piece of a page's script, read as empty"] == 1


@pytest.mark.parametrize(
    ("reviews", "said"),
    [
        (REVIEWS_2014 + '{"reviewerID": "A3", "asin"\n', "line 3 is no JSON and no Python literal"),
        (REVIEWS_2014 + "[1, 2]\n", "line 3 is a list, not a record"),
        (lines(review(), review(overall=float("nan"))), "line 2 has .*overall nan"),
        (lines(review(overall="many")), "line 1 has .*overall 'many'.*two finite numbers"),
        (lines(review(asin=None)), "line 1 has .*asin None"),
        (lines({"asin": "B2", "overall": 5.0, "unixReviewTime": 1}), "line 1 has no reviewerID"),
        ("\n\n", r"holds no record"),
        ("[" * 100_000 + "\n", "line 1 is no JSON and no Python literal"),
        (b"\xff\xfe{}\n", "line 1 is no JSON"),
        ("__import__('os').system('echo')\n", "line 1 is no JSON and no Python literal"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, reviews: str | bytes, said: str) -> None:
    write(tmp_path, {"reviews_Toys.json": reviews, "meta_Toys.json": META_2014})
    with pytest.raises(InputError, match=rf"reviews_Toys\.json(:|) {said}"):
        amazon.read(tmp_path, Report())


def test_a_product_needs_an_id(tmp_path: Path) -> None:
    write(tmp_path, {"reviews_Toys.json": REVIEWS_2014, "meta_Toys.json": lines({"title": "X"})})
    with pytest.raises(InputError, match=r"meta_Toys\.json: line 1 has neither parent_asin nor asin"):
        amazon.read(tmp_path, Report())


def test_a_truncated_archive_is_named_with_the_last_line(tmp_path: Path) -> None:
    write(tmp_path, {"meta_Toys.json": META_2014})
    (tmp_path / "reviews_Toys.json.gz").write_bytes(gzip.compress(REVIEWS_2014.encode() * 300)[:-20])
    with pytest.raises(
        InputError, match=r"reviews_Toys\.json\.gz cannot be read beyond line \d+ .*fetch it again"
    ):
        amazon.read(tmp_path, Report())


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"reviews_Toys.json": REVIEWS_2014}, r"holds 0 files of metadata"),
        (
            {"a.json": REVIEWS_2014, "b.json": REVIEWS_2014, "meta_a.json": META_2014},
            r"2 files of reviews \(a\.json, b\.json\); keep one category a folder",
        ),
    ],
)
def test_a_folder_holds_one_category(tmp_path: Path, files: dict[str, str | bytes], said: str) -> None:
    with pytest.raises(InputError, match=said):
        read(write(tmp_path, files), Report())
