from __future__ import annotations

from pathlib import Path

import pytest

from reclib.data.dataset import Report
from reclib.data.sources import read, recbole
from reclib.schema import InputError
from tests.data.files import write

INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\nu1\t1\t3\t881250949\nu2\t2\t5\t8.9e8\n"
FILMS = (
    "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    "1\tMatrix, The\t1999\tAction\n"
    '2\t"Great" Day in Harlem, A\t1994\tDocumentary\n'
    "3\tunkonwn\tunkonwn\tunkonwn\n"  # as ML-100K has it
    "4\tGreat Giving (1995)\t1995\tAnimation\n"
)


def test_films_get_article_and_year(tmp_path: Path) -> None:
    interactions, items = read(write(tmp_path, {"m.inter": INTER, "m.item": FILMS}), Report())
    assert items["title"].tolist() == [
        "The Matrix (1999)",
        'A "Great" Day in Harlem (1994)',
        "unkonwn",
        "Great Giving (1995)",
    ]
    assert items["category"].tolist()[0] == "Action"
    assert interactions["user_id"].tolist() == ["u1", "u2"]
    assert interactions["timestamp"].tolist() == [881250949.0, 8.9e8]
    assert interactions["rating"].tolist() == [3.0, 5.0]


def test_other_titles_are_verbatim_and_times_may_lack(tmp_path: Path) -> None:
    files = {
        "b.inter": "user_id:token\titem_id:token\nu\tb1\n",
        "b.item": (
            "item_id:token\ttitle:token_seq\tcategories:token_seq\tbrand:token\n"
            "b1\tSalt &amp; Pepper, The\tX\tY\n"
        ),
    }
    interactions, items = read(write(tmp_path, files), Report())
    assert items.to_dict("records") == [
        {"item_id": "b1", "title": "Salt &amp; Pepper, The", "brand": "Y", "category": "X"}
    ]
    assert interactions["timestamp"].isna().all()


def test_a_set_with_other_names_for_its_ids(tmp_path: Path) -> None:
    """As RecBole's LastFM has them: the item is the first field of the .item file."""
    files = {
        "lastfm.inter": "user_id:token\tartist_id:token\tweight:float\n2\t51\t13883\n",
        "lastfm.item": "artist_id:token\tname:token_seq\turl:token\n51\tDuran Duran\thttp\n",
    }
    interactions, items = read(write(tmp_path, files), Report())
    assert interactions["item_id"].tolist() == ["51"]
    assert items[["item_id", "title"]].to_numpy().tolist() == [["51", "Duran Duran"]]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"m.item": None}, r"holds 0 files \*\.item; one data set a folder"),
        ({"n.inter": INTER}, r"holds 2 files \*\.inter"),
        (
            {"m.item": "item_id:token\tclass:token\n1\tX\n"},
            "m.item: no field with titles; its header is item_id, class",
        ),
        (
            {"m.inter": "user_id:token\tother:token\nu\t1\n"},
            "m.inter: no field item_id; its header is user_id, other",
        ),
        ({"m.inter": INTER.replace("\t5\t", "\t\t")}, "m.inter: column rating, row 2 is empty"),
        ({"m.item": FILMS + "2\tAgain\t1994\tX\n"}, "m.item: item_id '2' stands again in row 5"),
        ({"m.inter": "user_id:token\titem_id:token\n"}, "m.inter has a header and no rows"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, changes: dict[str, str | None], said: str) -> None:
    files = {"m.inter": INTER, "m.item": FILMS} | changes
    write(tmp_path, {name: content for name, content in files.items() if content is not None})
    with pytest.raises(InputError, match=said):
        recbole.read(tmp_path, Report())
