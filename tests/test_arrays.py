"""Arrays in files: what was saved comes back, what is broken is refused, nothing is pickled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reclib import arrays
from reclib.schema import InputError

PARTS = {"rows": np.arange(6).reshape(2, 3), "about": np.array("who"), "none": np.zeros((0, 2), dtype=bool)}


@pytest.mark.parametrize("is_compressed", [False, True])
def test_what_is_written_comes_back(tmp_path: Path, is_compressed: bool) -> None:
    path = tmp_path / "file.of.any.ending"
    arrays.write_arrays(path, PARTS, is_compressed=is_compressed)
    found = arrays.read_arrays(path)
    assert list(found) == list(PARTS)
    for name, array in PARTS.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def test_objects_are_not_pickled_and_an_earlier_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "kept.npz"
    arrays.save_arrays(path, PARTS)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="allow_pickle"):
        arrays.save_arrays(path, {"rows": np.array([{}], dtype=object)})
    with pytest.raises(ValueError, match="allow_pickle"):
        arrays.save_array(tmp_path / "one.npy", np.array([{}], dtype=object))
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["kept.npz"]


def test_what_is_missing_or_broken_is_refused_with_the_remedy(tmp_path: Path) -> None:
    def load(path: Path, *names: str) -> dict[str, np.ndarray]:
        return arrays.load_arrays(path, names, what="lists", remedy="make them again")

    path = tmp_path / "lists.npz"
    with pytest.raises(InputError, match=r"no lists at .*lists\.npz: make them again"):
        load(path)
    arrays.save_arrays(path, PARTS)
    assert load(path, "rows")["rows"].shape == (2, 3)
    with pytest.raises(InputError, match=r"holds no lists .*scores.*: make them again"):
        load(path, "rows", "scores")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match="holds no lists"):
        load(path, "rows")


def test_one_array(tmp_path: Path) -> None:
    arrays.save_array(tmp_path / "one.npy", PARTS["rows"])
    np.testing.assert_array_equal(np.load(tmp_path / "one.npy"), PARTS["rows"])
