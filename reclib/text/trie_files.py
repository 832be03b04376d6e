"""Files of an `ItemTrie`: one .npy an array, which can be memory-mapped, and a JSON file with the version."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from reclib.schema import InputError

_VERSION = 1
_META = "trie.json"
_ARRAYS = ("token", "child_start", "terminal_node", "terminal_start", "terminal_item")


def save_arrays(folder: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write the arrays to a folder beside `folder`, which then takes its name; nothing half-written stays."""
    if folder.exists() and not (folder / _META).is_file():
        raise InputError(f"{folder} exists and is not a saved trie: choose another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    replaced = folder.with_name(f".{folder.name}.{os.getpid()}.replaced")
    try:
        _write(partial, arrays)
        if folder.exists():
            _exchange(folder, partial, replaced)
        else:
            partial.rename(folder)
    except OSError as error:
        raise InputError(
            f"the trie could not be saved in {folder} ({error}): free some disk space"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _exchange(folder: Path, new: Path, replaced: Path) -> None:
    """Give the name of `folder` to `new`; what had it is removed only then, and has it back on a failure."""
    folder.rename(replaced)
    try:
        new.rename(folder)
    except BaseException:
        replaced.rename(folder)
        raise
    shutil.rmtree(replaced, ignore_errors=True)


def _write(folder: Path, arrays: Mapping[str, np.ndarray]) -> None:
    folder.mkdir()
    for name in _ARRAYS:
        with open(folder / f"{name}.npy", "wb") as file:
            np.save(file, arrays[name], allow_pickle=False)
            os.fsync(file.fileno())
    lengths = {name: len(arrays[name]) for name in _ARRAYS}
    meta = {"format": "reclib item trie", "version": _VERSION, "lengths": lengths}
    with open(folder / _META, "w", encoding="utf-8") as text:
        json.dump(meta, text, indent=1)
        text.flush()
        os.fsync(text.fileno())


def load_arrays(folder: Path, *, mmap: bool) -> dict[str, np.ndarray]:
    """Read and check the arrays; InputError names the file that is missing, of another version or damaged."""
    lengths = _read_meta(folder / _META)
    arrays = {name: _read_array(folder / f"{name}.npy", lengths.get(name), mmap=mmap) for name in _ARRAYS}
    problem = _inconsistency(**arrays)
    if problem:
        raise InputError(f"{folder} holds no consistent trie ({problem}): build and save it again")
    return arrays


def _read_meta(path: Path) -> dict[str, int]:
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} is missing: {path.parent} is not a saved trie") from None
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}): build and save the trie again") from None
    if meta.get("version") != _VERSION:
        raise InputError(
            f"{path} has version {meta.get('version')}, this reclib reads version {_VERSION}: "
            "build and save the trie again"
        )
    return dict(meta["lengths"])


def _read_array(path: Path, length: int | None, *, mmap: bool) -> np.ndarray:
    try:
        array = np.asarray(np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} cannot be read ({error}): build and save the trie again") from None
    if array.dtype != np.int32 or array.shape != (length,):
        found = f"{array.dtype} {array.shape}, not int32 ({length},)"
        raise InputError(f"{path} holds {found}: build and save the trie again")
    return array


def _inconsistency(
    token: np.ndarray,
    child_start: np.ndarray,
    terminal_node: np.ndarray,
    terminal_start: np.ndarray,
    terminal_item: np.ndarray,
) -> str | None:
    """What is wrong with the arrays of a trie, or None."""
    n_nodes = len(token)
    if n_nodes < 2 or len(child_start) != n_nodes + 1 or len(terminal_start) != len(terminal_node) + 1:
        return "the lengths of the arrays do not fit together"
    if child_start[0] != 1 or child_start[-1] != n_nodes or (np.diff(child_start) < 0).any():
        return "child_start does not divide the nodes"
    if (child_start[:-1] <= np.arange(n_nodes)).any():
        return "a node stands before its parent"
    is_first = np.zeros(n_nodes + 1, bool)
    is_first[child_start] = True
    if (np.diff(token)[~is_first[1:n_nodes]] <= 0).any() or token[1:].min() < 0:
        return "the tokens after a node are not in ascending order"
    if (np.diff(terminal_node) <= 0).any() or terminal_node[0] < 1 or terminal_node[-1] >= n_nodes:
        return "terminal_node is not a list of nodes"
    if (
        terminal_start[0] != 0
        or terminal_start[-1] != len(terminal_item)
        or (np.diff(terminal_start) < 1).any()
    ):
        return "terminal_start does not divide the items"
    if not np.array_equal(np.sort(terminal_item), np.arange(1, len(terminal_item) + 1)):
        return "terminal_item is not a list of items"
    return None
