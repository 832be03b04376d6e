from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from reclib.config import DataConfig
from reclib.data.dataset import Dataset, Windows
from reclib.data.load import load
from reclib.schema import InputError


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return load(DataConfig(source="synthetic", history_length=4), seed=0)


def windows(history: list[list[int]], target: list[int]) -> Windows:
    n = len(target)
    users = np.array([f"u{row}" for row in range(n)], dtype=object)
    return Windows(users, np.array(history, np.int32), np.array(target, np.int32), np.arange(n, dtype=float))


def test_arrays_of_different_lengths_are_refused() -> None:
    with pytest.raises(InputError, match=r"different lengths: \[1, 2\]"):
        windows([[1, 2], [3, 4]], [5])


def test_take_follows_indices_and_masks() -> None:
    three = windows([[0, 1], [2, 3], [4, 5]], [6, 7, 8])
    assert three.take(np.array([2, 0])).target_idx.tolist() == [8, 6]
    assert three.take(np.array([False, True, False])).user_id.tolist() == ["u1"]


def test_recent_keeps_the_newest_items() -> None:
    two = windows([[0, 1, 2], [3, 4, 5]], [6, 7])
    assert two.recent(2).history.tolist() == [[1, 2], [4, 5]]
    assert two.recent(9).history.tolist() == two.history.tolist()


def test_a_fingerprint_tells_every_array_apart() -> None:
    base = windows([[0, 1], [2, 3]], [4, 5])
    others = [
        windows([[0, 1], [2, 4]], [4, 5]),
        windows([[0, 1], [2, 3]], [4, 6]),
        replace(base, user_id=np.array(["u0", "u9"], dtype=object)),
        replace(base, timestamp=np.array([0.0, np.nan])),
        base.take(np.array([1, 0])),
    ]
    prints = {base.fingerprint, *(other.fingerprint for other in others)}
    assert len(prints) == 1 + len(others)
    assert base.fingerprint == windows([[0, 1], [2, 3]], [4, 5]).fingerprint


def test_a_fingerprint_tells_titles_apart_that_join_to_the_same_text(dataset: Dataset) -> None:
    titles = dataset.items["title"].tolist()
    first = dataset.items.assign(title=["a\nb", "c", *titles[2:]])
    second = dataset.items.assign(title=["a", "b\nc", *titles[2:]])
    assert replace(dataset, items=first).fingerprint != replace(dataset, items=second).fingerprint


def test_a_fingerprint_covers_domain_counts_and_parts_and_not_the_name(dataset: Dataset) -> None:
    changed = [
        replace(dataset, domain="books"),
        replace(dataset, counts=dataset.counts + 1),
        replace(dataset, valid=dataset.test, test=dataset.valid),
    ]
    assert len({dataset.fingerprint, *(each.fingerprint for each in changed)}) == 4
    assert replace(dataset, name="other").fingerprint == dataset.fingerprint


def test_titles_follow_item_idx(dataset: Dataset) -> None:
    assert dataset.items.index.tolist() == list(range(1, dataset.n_items + 1))
    assert dataset.titles[4] == dataset.items.loc[5, "title"]


def test_a_dataset_shows_its_sizes_in_one_line_and_as_a_table(dataset: Dataset) -> None:
    assert repr(dataset).startswith(f"Dataset(synthetic: {dataset.n_users} users, {dataset.n_items} items, ")
    assert "\n" not in repr(dataset)
    assert f"<td>{len(dataset.train):,}</td>" in dataset._repr_html_()
