"""What can be wrong with a delimited file, and what the error says."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from reclib.data.sources.tables import find, read_interactions, read_texts, unique_items
from reclib.schema import InputError
from tests.data.files import write

GOOD = "user_id,item_id,timestamp,rating\nu1,07,5,4.5\nu1,7,6,3\nNA,null,7.5,1\n"


def read(folder: Path, content: str | bytes, **options: object) -> object:
    write(folder, {"x.csv": content})
    return read_interactions(folder / "x.csv", **options)


def test_ids_are_texts_and_the_rest_numbers(tmp_path: Path) -> None:
    table = read_interactions(write(tmp_path, {"x.csv": GOOD}) / "x.csv")
    assert table["user_id"].tolist() == ["u1", "u1", "NA"]
    assert table["item_id"].tolist() == ["07", "7", "null"]
    assert table["timestamp"].tolist() == [5.0, 6.0, 7.5]
    assert table["rating"].tolist() == [4.5, 3.0, 1.0]


def test_a_compressed_file_is_found_and_read(tmp_path: Path) -> None:
    write(tmp_path, {"x.csv.gz": GOOD})
    path = find(tmp_path, "x.csv")
    assert path is not None
    assert len(read_interactions(path)) == 3
    assert find(tmp_path, "y.csv") is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "x.csv is empty"),
        ("user_id,item_id\n", "x.csv has a header and no rows"),
        ("user_id,time\nu,1\n", "no column item_id; its header is user_id, time"),
        ("user_id,item_id,rating\nu,1,4\nu,2,\n", "column rating, row 2 is empty"),
        ("user_id,item_id,rating\nu,1,nan\n", "column rating, row 1 is 'nan', not a finite number"),
        ("user_id,item_id,rating\nu,1,inf\n", "column rating, row 1 is 'inf', not a finite number"),
        ("user_id,item_id,rating\nu,1,4\nu,2,good\n", "column rating, row 2 is 'good', not a finite number"),
        ("user_id,item_id,timestamp\nu,1,\n", "column timestamp, row 1 is empty"),
        ("user_id,item_id,timestamp\nu,1,1\nu,2,noon\n", "column timestamp, row 2 is 'noon'"),
        ("user_id,item_id\nu,1\n,2\n", "column user_id is empty in row 2"),
        ("user_id,item_id\nu,1\nu\n", "column item_id is empty in row 2"),
        ("user_id,item_id\nu,1\nu,2,3\n", "Expected 2 fields in line 3, saw 3; correct that line"),
        ("user_id,item_id\nu,1,2\nu,1,2\n", "does not match length of data"),
        ('user_id,item_id\nu,"1\n', "EOF inside string starting at row 1"),
        (b"user_id,item_id\nu,\xff\xfe\n", "is not utf-8 text"),
    ],
)
@pytest.mark.parametrize("options", [{}, {"time_may_be_empty": True}])
def test_what_is_wrong_is_named(
    tmp_path: Path, content: str | bytes, said: str, options: dict[str, bool]
) -> None:
    if options and said == "column timestamp, row 1 is empty":
        table = read(tmp_path, content, **options)
        assert table["timestamp"].isna().all()  # type: ignore[index]
        return
    with pytest.raises(InputError) as error:
        read(tmp_path, content, **options)
    assert str(tmp_path / "x.csv") in str(error.value)
    assert said in str(error.value)


def test_a_truncated_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(GOOD.encode() * 500)[:60])
    with pytest.raises(InputError, match=r"x\.csv\.gz cannot be read to its end .*; fetch it again"):
        read_interactions(tmp_path / "x.csv.gz")


def test_what_is_no_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.csv.gz").write_bytes(b"<html>not found</html>")
    with pytest.raises(InputError, match=r"x\.csv\.gz cannot be read to its end"):
        read_interactions(tmp_path / "x.csv.gz")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("item_id,title\n1,a\n2,b\n1,c\n", "item_id '1' stands again in row 3; keep one"),
        ("item_id,title\n1,a\n,b\n", "item_id is empty in row 2"),
    ],
)
def test_an_item_stands_once(tmp_path: Path, content: str, said: str) -> None:
    path = write(tmp_path, {"items.csv": content}) / "items.csv"
    with pytest.raises(InputError, match=said):
        unique_items(read_texts(path), path)


def test_texts_are_verbatim(tmp_path: Path) -> None:
    path = write(tmp_path, {"items.csv": 'item_id,title\n1,NA\n2,\n3,"a ""b"", &amp; c"\n'}) / "items.csv"
    assert read_texts(path)["title"].tolist() == ["NA", "", 'a "b", &amp; c']
