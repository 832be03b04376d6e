from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reclib.data.dataset import Report
from reclib.data.sources import normalized, read
from reclib.schema import InputError
from tests.data.files import write

ITEMS = "item_id,title,brand\n10,Alpha &amp; Co,A\n30,,B\n20,Gamma,\n"
INTERACTIONS = "user_id,item_id,timestamp\n1,10,\n1,20,\n1,30,7\n2,20,3\n"
TRAIN = "user_id,history,target,timestamp\n1,10 20,30,7\n2,20,10,\n"
TEST = "user_id,history,target,timestamp\n3,30 20 10,20,9\n"
FILES: dict[str, str | bytes] = {
    "items.csv.gz": ITEMS,
    "interactions.csv": INTERACTIONS,
    "sequences_train.csv.gz": TRAIN,
    "sequences_test.csv": TEST,
}


def test_interactions_and_items(tmp_path: Path) -> None:
    interactions, items = read(write(tmp_path, FILES), Report())
    assert interactions["item_id"].tolist() == ["10", "20", "30", "20"]
    assert np.isnan(interactions["timestamp"]).tolist() == [True, True, False, False]
    assert items["title"].tolist() == ["Alpha &amp; Co", "", "Gamma"]
    assert items["brand"].tolist() == ["A", "B", ""]


def test_films_of_movielens_get_their_articles(tmp_path: Path) -> None:
    files = FILES | {"items.csv.gz": 'item_id,title\n10,"Matrix, The (1999)"\n'}
    titles = {}
    for name in ("ml_1m", "beers"):
        (tmp_path / name).mkdir()
        titles[name] = read(write(tmp_path / name, files), Report())[1]["title"].tolist()
    assert titles == {"ml_1m": ["The Matrix (1999)"], "beers": ["Matrix, The (1999)"]}


def test_times_and_ratings_are_optional(tmp_path: Path) -> None:
    interactions, _ = read(write(tmp_path, FILES | {"interactions.csv": "user_id,item_id\n1,10\n"}), Report())
    assert interactions["timestamp"].isna().all()
    assert "rating" not in interactions


def test_ready_windows(tmp_path: Path) -> None:
    assert normalized.has_windows(write(tmp_path, FILES))
    ready = normalized.read_windows(tmp_path)
    assert ready.items.index.tolist() == [1, 2, 3]
    train, test = ready.parts["train"], ready.parts["test"]
    assert train.user_id.tolist() == ["1", "2"]
    assert train.history.tolist() == [[1, 3], [0, 3]]
    assert train.target_idx.tolist() == [2, 1]
    assert train.timestamp[0] == 7
    assert np.isnan(train.timestamp[1])
    assert test.history.tolist() == [[2, 3, 1]]
    assert "valid" not in ready.parts
    assert (ready.n_users, ready.n_interactions) == (3, 4)


def test_windows_without_times(tmp_path: Path) -> None:
    files = {"sequences_train.csv.gz": "user_id,history,target\n1,10  20 ,30\n"}
    train = normalized.read_windows(write(tmp_path, FILES | files)).parts["train"]
    assert train.history.tolist() == [[1, 3]]
    assert np.isnan(train.timestamp).all()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"sequences_test.csv": TEST.replace("20 10", "20 99")},
            r"sequences_test\.csv: row 1: item '99' is not in",
        ),
        (
            {"sequences_test.csv": TEST + "4,10,99,1\n"},
            r"sequences_test\.csv: row 2: item '99' is not in the items file; add it there or drop the row",
        ),
        ({"sequences_test.csv": TEST + "4,,10,1\n"}, r"sequences_test\.csv: row 2 has an empty history"),
        (
            {"sequences_test.csv": "user_id,history\n3,10\n"},
            r"no column target; its header is user_id, history",
        ),
        ({"sequences_test.csv": TEST.replace(",9", ",late")}, r"column timestamp, row 1 is 'late'"),
        (
            {"items.csv.gz": "item_id,name\n10,A\n"},
            r"items\.csv\.gz: no column title; its header is item_id, name",
        ),
        ({"items.csv.gz": ITEMS + "10,B,C\n"}, r"item_id '10' stands again in row 4"),
        ({"items.csv.gz": None}, r"holds neither items\.csv nor items\.csv\.gz"),
        ({"interactions.csv": INTERACTIONS.replace(",7", ",?")}, r"column timestamp, row 3 is '\?'"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, changes: dict[str, str | None], said: str) -> None:
    files = FILES | changes
    write(tmp_path, {name: content for name, content in files.items() if content is not None})
    with pytest.raises(InputError, match=said):
        normalized.read_windows(tmp_path)
