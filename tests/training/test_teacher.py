"""A teacher belongs to its windows and its catalogue, survives a file, and is refused where it is wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reclib.schema import InputError
from reclib.training.teacher import Teacher
from tests.training.made_teacher import K, teacher_of
from tests.training.sequence_toy import dataset


def made() -> Teacher:
    return teacher_of(dataset().train, dataset().n_items)


def with_item(row: int, place: int, value: int) -> np.ndarray:
    items = made().items.copy()
    items[row, place] = value
    return items


def with_distance(row: int, value: float) -> np.ndarray:
    distance = made().distance.copy()
    distance[row, 1] = value
    return distance


def with_vector(item: int, value: float) -> np.ndarray:
    vectors = made().embedding.copy()
    vectors[item, 2] = value
    return vectors


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"items": with_item(7, 1, 41)}, r"window 7 holds 41, no item of 1…40: decode with the trie"),
        ({"items": with_item(3, 0, -2)}, r"window 3 holds -2, no item"),
        ({"items": with_item(5, 1, 0)}, r"window 5 has an item after an empty place"),
        ({"items": np.tile(with_item(9, 0, 3)[:, :1], (1, K))}, r"window 0 names an item twice"),
        ({"items": made().items.astype(float)}, r"lists are of float64: give whole numbers"),
        ({"items": made().items[:-1]}, r"give \(W, K\), \(W, K\) and \(N\+1, E\)"),
        (
            {"distance": with_distance(4, np.nan)},
            r"list of window 4 is not a number of at least 0.*give −log P",
        ),
        ({"distance": with_distance(6, np.inf)}, r"window 6"),
        ({"distance": with_distance(8, -0.5)}, r"window 8"),
        ({"embedding": with_vector(11, np.nan)}, r"item_idx 11 is not finite: embed its text again"),
        ({"embedding": with_vector(0, 1.0)}, r"row 0 for padding: it must be zero"),
    ],
)
def test_what_is_wrong_is_named_with_its_row_and_a_remedy(changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(made(), **changes)


def test_windows_that_were_not_asked_have_empty_lists() -> None:
    items, distance = made().items.copy(), made().distance.copy()
    items[10:], distance[10:] = 0, np.inf
    items[2, 2:], distance[2, 2:] = 0, np.inf
    some = replace(made(), items=items, distance=distance)
    assert repr(some) == f"Teacher(10 of {len(dataset().train)} windows, 4 items each)"


def test_a_teacher_of_other_windows_or_items_is_refused() -> None:
    train, n_items = dataset().train, dataset().n_items
    made().check(train, n_items=n_items)
    fewer, turned = train.take(np.arange(5)), train.take(np.arange(len(train))[::-1])
    with pytest.raises(InputError, match=rf"a teacher of {len(train)} windows for 5 training windows"):
        made().check(fewer, n_items=n_items)
    with pytest.raises(InputError, match="the same in another order"):
        made().check(turned, n_items=n_items)
    with pytest.raises(InputError, match=r"vectors of 40 items for a catalogue of 41: embed"):
        made().check(train, n_items=41)


def test_the_teacher_of_some_windows_is_theirs() -> None:
    train = dataset().train
    index = np.array([8, 2, 5])
    some = made().take(train, index)
    some.check(train.take(index), n_items=dataset().n_items)
    assert (some.items == made().items[index]).all()
    assert some.fingerprint != made().fingerprint
    with pytest.raises(InputError, match="other windows"):
        made().take(train.take(np.arange(len(train))[::-1]), index)


def test_a_file_holds_all_of_it(tmp_path: Path) -> None:
    made().save(tmp_path / "teacher")
    assert [path.name for path in tmp_path.iterdir()] == ["teacher.npz"]
    found = Teacher.load(tmp_path / "teacher")
    assert found.fingerprint == made().fingerprint
    assert (found.windows, found.about) == (made().windows, made().about)
    assert found.items.dtype == np.int32
    found.check(dataset().train, n_items=dataset().n_items)


def test_the_fingerprint_moves_with_every_part() -> None:
    others = [
        replace(made(), items=made().items[:, ::-1].copy()),
        replace(made(), distance=made().distance + 1),
        replace(made(), embedding=2 * made().embedding),
        replace(made(), windows="others"),
    ]
    assert len({made().fingerprint, *(other.fingerprint for other in others)}) == 5


def test_a_file_that_is_missing_or_broken_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no teacher at .*lost\.npz: make the lists"):
        Teacher.load(tmp_path / "lost")
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(InputError, match=r"cut\.npz holds no teacher"):
        Teacher.load(tmp_path / "cut")
    np.savez(tmp_path / "part.npz", items=made().items)
    with pytest.raises(InputError, match=r"part\.npz holds no teacher"):
        Teacher.load(tmp_path / "part")
    np.savez(tmp_path / "objects.npz", **dict.fromkeys(("items", "distance", "embedding"), np.array([{}])))
    with pytest.raises(InputError, match=r"objects\.npz holds no teacher"):
        Teacher.load(tmp_path / "objects")
