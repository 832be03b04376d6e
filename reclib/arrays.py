"""Arrays in files that are whole or not there, and from which nothing is unpickled."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from reclib.files import atomic_write
from reclib.schema import InputError


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], *, is_compressed: bool = False) -> None:
    """What `np.savez` writes, to a path of any ending; arrays of objects are refused on every numpy."""
    compression = zipfile.ZIP_DEFLATED if is_compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asarray(array), allow_pickle=False)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """What `write_arrays` wrote."""
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """`write_arrays` in one step: an earlier file stays as it was when this fails."""
    atomic_write(path, lambda partial: write_arrays(partial, arrays))


def load_arrays(path: Path, names: Iterable[str], *, what: str, remedy: str) -> dict[str, np.ndarray]:
    """The named arrays of a saved file. Raises InputError for a missing, broken or other file."""
    if not path.is_file():
        raise InputError(f"no {what} at {path}: {remedy}")
    try:
        found = read_arrays(path)
        return {name: found[name] for name in names}
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} holds no {what} ({error}): {remedy}") from error


def save_array(path: Path, array: np.ndarray) -> None:
    """Write one array to `path`, an .npy file, in one step."""

    def write(partial: Path) -> None:
        with partial.open("wb") as file:
            np.save(file, array, allow_pickle=False)

    atomic_write(path, write)
