"""Real data: the counts of [MSL] Table 4, and the published windows rebuilt from the interactions."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from reclib.config import DataConfig
from reclib.data.dataset import Dataset, Report, Windows
from reclib.data.load import load
from reclib.data.popularity import train_counts
from reclib.data.preprocess import clean
from reclib.data.sources import read
from reclib.data.splits import sliding_windows

TABLE_4 = {"msl_office": (4_895, 2_414, 53_149), "msl_toy": (19_124, 11_758, 165_247)}
PARTS = {"msl_office": (15_400, 1_925, 1_925), "msl_toy": (38_344, 4_793, 4_794)}


def ready(shared_data: Path, name: str, **fields: object) -> Dataset:
    return load(DataConfig(source=str(shared_data / name), **fields), seed=0)


def rows(*parts: Windows) -> Counter[bytes]:
    """The multiset of windows: user, history and target."""
    counts: Counter[bytes] = Counter()
    for part in parts:
        users = part.user_id.astype("S")
        counts.update(
            user + history.tobytes() + target.tobytes()
            for user, history, target in zip(users, part.history, part.target_idx, strict=True)
        )
    return counts


@pytest.mark.parametrize("name", TABLE_4)
def test_counts_are_those_of_table_4(shared_data: Path, name: str) -> None:
    dataset = ready(shared_data, name)
    assert (dataset.n_users, dataset.n_items, dataset.n_interactions) == TABLE_4[name]
    assert tuple(map(len, (dataset.train, dataset.valid, dataset.test))) == PARTS[name]


@pytest.mark.parametrize("name", TABLE_4)
def test_our_windows_are_the_published_ones(shared_data: Path, name: str) -> None:
    """Most timestamps are unknown, so the windows can be compared and their split cannot."""
    config = DataConfig(source=name, empty_title="keep", max_title_characters=None)
    data, items = clean(*read(shared_data / name, Report()), config, Report())
    assert len(data.item_idx) == TABLE_4[name][2], "a 5-core without duplicates: nothing is dropped"
    published = ready(shared_data, name)
    assert items["item_id"].tolist() == published.items["item_id"].tolist()
    ours = sliding_windows(data, length=11, min_length=5)
    assert rows(ours) == rows(published.train, published.valid, published.test)


@pytest.mark.parametrize("name", TABLE_4)
def test_training_counts_are_the_interactions_up_to_each_users_last_training_target(
    shared_data: Path, name: str
) -> None:
    dataset = ready(shared_data, name, history_length=6)
    data, _ = clean(*read(shared_data / name, Report()), DataConfig(source=name), Report())
    n_held_out = Counter(np.concatenate([dataset.valid.user_id, dataset.test.user_id]).tolist())
    trained = set(dataset.train.user_id.tolist())
    position_from_end = np.zeros(len(data.user_id), dtype=np.int64)
    seen: Counter[str] = Counter()
    for row in range(len(data.user_id) - 1, -1, -1):
        position_from_end[row] = seen[data.user_id[row]]
        seen[data.user_id[row]] += 1
    is_training = np.array(
        [
            user in trained and place >= n_held_out[user]
            for user, place in zip(data.user_id.tolist(), position_from_end.tolist(), strict=True)
        ]
    )
    expected = np.bincount(data.item_idx[is_training], minlength=dataset.n_items + 1)
    assert train_counts(dataset).tolist() == expected.tolist()


def test_book_has_a_validation_part_of_ours(shared_data: Path) -> None:
    dataset = ready(shared_data, "msl_book")
    assert dataset.n_items == 6_344
    assert len(dataset.train) + len(dataset.valid) == 35_060
    assert len(dataset.test) == 4_383
    assert dataset.train.timestamp.max() <= dataset.valid.timestamp.min()
    assert dataset.valid.timestamp.max() <= dataset.test.timestamp.min()
    assert dataset.report["note"].str.contains("not the paper's").any()


def test_toys_training_part_is_not_in_the_order_of_time_and_says_so(shared_data: Path) -> None:
    report = ready(shared_data, "msl_toy").report.set_index("what")
    assert report.loc["train", "note"] == "12,801 targets of unknown time; not in the order of time"
    assert report.loc["test", "note"] == ""


def test_the_same_movielens_from_two_sources(shared_data: Path) -> None:
    from reclib import assets

    if not assets.is_fetched("ml-100k"):
        pytest.skip("ml-100k is not in the cache: run `python -m reclib fetch ml-100k` to run this test")
    fetched, normalised = load(DataConfig(), seed=0), ready(shared_data, "ml_100k")
    differing = {pair for pair in zip(fetched.titles, normalised.titles, strict=True) if len(set(pair)) > 1}
    assert differing == {("unkonwn", "unknown")}
    assert rows(fetched.train, fetched.valid, fetched.test) == rows(
        normalised.train, normalised.valid, normalised.test
    )


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("beauty_2014_notitle", {"empty_title": "keep"}),
        ("games_2018", {"split": "leave_one_out"}),
        ("scientific_2018", {"split": "leave_one_out"}),
        ("lastfm_llara", {}),
        ("lastfm_llara", {"split": "leave_one_out"}),
    ],
)
def test_the_other_sets_load(shared_data: Path, name: str, fields: dict[str, str]) -> None:
    dataset = ready(shared_data, name, **fields)
    assert len(dataset.train) > len(dataset.test) > 0
    assert train_counts(dataset).sum() <= dataset.n_interactions
