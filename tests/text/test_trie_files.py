from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from reclib.schema import InputError
from reclib.text import trie_files
from reclib.text.tokenization import ItemTokens
from reclib.text.trie import ItemTrie

ROWS = [[7, 5, 2], [7, 6, 2], [7, 5, 2], [9, 2]]
NAMES = ("token", "child_start", "terminal_node", "terminal_start", "terminal_item")


@pytest.fixture
def trie() -> ItemTrie:
    return ItemTrie.build(ItemTokens.from_lists(ROWS))


@pytest.fixture
def saved(trie: ItemTrie, tmp_path: Path) -> Path:
    trie.save(tmp_path / "trie")
    return tmp_path / "trie"


@pytest.mark.parametrize("mmap", [True, False])
def test_a_round_trip(trie: ItemTrie, saved: Path, mmap: bool) -> None:
    loaded = ItemTrie.load(saved, mmap=mmap)
    for name in NAMES:
        assert getattr(loaded, name).tolist() == getattr(trie, name).tolist()
        assert getattr(loaded, name).dtype == np.int32
    assert isinstance(loaded.token.base, np.memmap) == mmap
    assert (
        loaded.path(ItemTokens.from_lists(ROWS)).tolist() == trie.path(ItemTokens.from_lists(ROWS)).tolist()
    )
    assert loaded.evaluated().tolist() == trie.evaluated().tolist()


def test_saving_again_replaces_and_leaves_nothing_beside(trie: ItemTrie, saved: Path) -> None:
    other = ItemTrie.build(ItemTokens.from_lists([[1, 2]]))
    other.save(saved)
    assert ItemTrie.load(saved).n_items == 1
    assert [path.name for path in saved.parent.iterdir()] == ["trie"]


def test_another_folder_is_not_overwritten(trie: ItemTrie, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(InputError, match="not a saved trie"):
        trie.save(tmp_path / "mine")
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep"


def test_a_failed_save_leaves_the_old_trie(
    trie: ItemTrie, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(trie_files.json, "dump", full_disk)
    with pytest.raises(InputError, match="could not be saved in .*No space left"):
        ItemTrie.build(ItemTokens.from_lists([[1, 2]])).save(saved)
    assert ItemTrie.load(saved).n_items == len(ROWS)
    assert [path.name for path in saved.parent.iterdir()] == ["trie"]


def test_a_trie_that_cannot_take_its_name_leaves_the_old_one(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def refused(self: Path, target: Path) -> Path:
        if self.name.endswith(".partial"):
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(InputError, match="could not be saved in .*Input/output error"):
        ItemTrie.build(ItemTokens.from_lists([[1, 2]])).save(saved)
    assert ItemTrie.load(saved).n_items == len(ROWS)
    assert [path.name for path in saved.parent.iterdir()] == ["trie"]


def test_a_folder_without_a_trie(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="trie.json is missing"):
        ItemTrie.load(tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_or_cut_array_is_named(saved: Path, name: str) -> None:
    path = saved / f"{name}.npy"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(InputError, match=rf"{name}.npy cannot be read"):
        ItemTrie.load(saved)
    path.unlink()
    with pytest.raises(InputError, match=rf"{name}.npy cannot be read"):
        ItemTrie.load(saved)


def test_an_array_of_another_trie_is_named(saved: Path) -> None:
    np.save(saved / "token.npy", np.arange(3, dtype=np.int32))
    with pytest.raises(InputError, match=r"token.npy holds int32 \(3,\), not int32 \(8,\)"):
        ItemTrie.load(saved)
    np.save(saved / "token.npy", np.arange(8.0))
    with pytest.raises(InputError, match="token.npy holds float64"):
        ItemTrie.load(saved)


def test_another_version_and_a_damaged_description(saved: Path) -> None:
    meta = json.loads((saved / "trie.json").read_text())
    (saved / "trie.json").write_text(json.dumps(meta | {"version": 99}))
    with pytest.raises(InputError, match="version 99, this reclib reads version 1"):
        ItemTrie.load(saved)
    (saved / "trie.json").write_text("{")
    with pytest.raises(InputError, match="trie.json is damaged"):
        ItemTrie.load(saved)


def test_arrays_of_different_tries_do_not_fit(saved: Path) -> None:
    meta = json.loads((saved / "trie.json").read_text())
    meta["lengths"]["terminal_start"] = 2
    (saved / "trie.json").write_text(json.dumps(meta))
    np.save(saved / "terminal_start.npy", np.array([0, 4], np.int32))
    with pytest.raises(InputError, match="lengths of the arrays do not fit"):
        ItemTrie.load(saved)


@pytest.mark.parametrize(
    ("name", "place", "value", "problem"),
    [
        ("child_start", 0, 2, "child_start does not divide the nodes"),
        ("child_start", 2, 2, "child_start does not divide the nodes"),
        ("child_start", 1, 1, "a node stands before its parent"),
        ("token", 2, 7, "not in ascending order"),
        ("token", 3, -1, "not in ascending order"),
        ("terminal_node", 0, 0, "terminal_node is not a list of nodes"),
        ("terminal_node", 2, 8, "terminal_node is not a list of nodes"),
        ("terminal_start", 1, 0, "terminal_start does not divide the items"),
        ("terminal_item", 0, 0, "terminal_item is not a list of items"),
        ("terminal_item", 0, 5, "terminal_item is not a list of items"),
    ],
)
def test_changed_values_are_found(saved: Path, name: str, place: int, value: int, problem: str) -> None:
    array = np.load(saved / f"{name}.npy")
    array[place] = value
    np.save(saved / f"{name}.npy", array)
    with pytest.raises(InputError, match=problem):
        ItemTrie.load(saved)
