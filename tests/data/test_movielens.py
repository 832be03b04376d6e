from __future__ import annotations

from pathlib import Path

import pytest

from reclib.data.dataset import Report
from reclib.data.sources import read
from reclib.schema import InputError
from tests.data.files import write

GENRES = "|".join("0" * 19)
RELEASES: dict[str, dict[str, str | bytes]] = {
    "100K": {
        "u.data": "196\t1\t3\t881250949\n186\t2\t5\t891717742\n",
        "u.item": (
            f"1|Misérables, Les (1995)|01-Jan-1995||http://x/?a=b|{GENRES}\n"
            f'2|"Real" Day, A (1994)|||http|{GENRES}\n'
        ).encode("latin-1"),
    },
    "1M": {
        "ratings.dat": "196::1::3::881250949\n186::2::5::891717742\n",
        "movies.dat": '1::Misérables, Les (1995)::Drama\n2::"Real" Day, A (1994)::Drama|War\n'.encode(
            "latin-1"
        ),
    },
    "10M": {
        "ratings.dat.gz": "196::1::3::881250949\n186::2::5::891717742\n",
        "movies.dat": '1::Misérables, Les (1995)::Drama\n2::"Real" Day, A (1994)::Drama|War\n',
    },
    "latest": {
        "ratings.csv": "userId,movieId,rating,timestamp\n196,1,3.0,881250949\n186,2,5.0,891717742\n",
        "movies.csv": (
            'movieId,title,genres\n1,"Misérables, Les (1995)",Drama\n2,"""Real"" Day, A (1994)",Drama|War\n'
        ),
    },
}


@pytest.mark.parametrize("release", RELEASES)
def test_every_release_reads_the_same(tmp_path: Path, release: str) -> None:
    interactions, items = read(write(tmp_path, RELEASES[release]), Report())
    assert interactions["user_id"].tolist() == ["196", "186"]
    assert interactions["rating"].tolist() == [3.0, 5.0]
    assert interactions["timestamp"].tolist() == [881250949.0, 891717742.0]
    assert items["item_id"].tolist() == ["1", "2"]
    assert items["title"].tolist() == ["Les Misérables (1995)", 'A "Real" Day (1994)']
    if release != "100K":
        assert items["category"].tolist()[0] == "Drama"


def test_films_are_needed(tmp_path: Path) -> None:
    write(tmp_path, {"u.data": RELEASES["100K"]["u.data"]})
    with pytest.raises(InputError, match=r"holds u\.data and no u\.item"):
        read(tmp_path, Report())


def test_a_bad_rating_is_named(tmp_path: Path) -> None:
    files = RELEASES["1M"] | {"ratings.dat": "196::1::3::881250949\n186::2::x::891717742\n"}
    with pytest.raises(InputError, match=r"ratings\.dat: column rating, row 2 is 'x'"):
        read(write(tmp_path, files), Report())
