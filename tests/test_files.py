from __future__ import annotations

import errno
from pathlib import Path

import pytest

from reclib.files import atomic_write, kept
from reclib.schema import InputError


def test_a_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "below" / "table.csv"
    atomic_write(path, lambda partial: partial.write_text("1", "utf-8"))

    def write(partial: Path) -> None:
        assert (partial.parent, partial.suffix) == (path.parent, ".csv")
        partial.write_text("2", "utf-8")
        assert path.read_text("utf-8") == "1"

    atomic_write(path, write)
    assert path.read_text("utf-8") == "2"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, "full"), InputError),
        (OSError(errno.EIO, "broken"), OSError),
        (ValueError("x"), ValueError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_a_file_that_cannot_be_written_stays_as_it_was(
    tmp_path: Path, error: BaseException, expected: type[BaseException]
) -> None:
    path = tmp_path / "table.csv"
    path.write_text("1", "utf-8")

    def write(partial: Path) -> None:
        partial.write_text("half", "utf-8")
        raise error

    with pytest.raises(expected):
        atomic_write(path, write)
    assert path.read_text("utf-8") == "1"
    assert list(tmp_path.iterdir()) == [path]


def test_a_part_that_a_killed_process_finished_is_not_computed_again(tmp_path: Path) -> None:
    def fails() -> dict:
        raise AssertionError("computed again")

    path = tmp_path / "part_0.json"
    assert kept(path, lambda: {"ndcg": 0.25, "place": [1, 2]}) == {"ndcg": 0.25, "place": [1, 2]}
    assert kept(path, fails) == {"ndcg": 0.25, "place": [1, 2]}
    with pytest.raises(AssertionError, match="computed again"):
        kept(tmp_path / "part_1.json", fails)
    assert [each.name for each in tmp_path.iterdir()] == ["part_0.json"]
