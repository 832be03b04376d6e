from __future__ import annotations

from pathlib import Path

import pytest

from reclib import paths
from reclib.schema import InputError


def test_the_root_is_the_folder_of_this_repository() -> None:
    assert paths.root() == Path(__file__).resolve().parents[1]
    assert (paths.root() / "pyproject.toml").is_file()
    assert paths.notebooks_dir() == paths.root() / "notebooks"
    assert paths.figures_dir() == paths.root() / "figures"
    assert list(paths.papers_dir().glob("*.csv"))


def test_the_working_directory_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = paths.root()
    monkeypatch.chdir(tmp_path)
    assert paths.root() == root


@pytest.mark.parametrize("value", [None, ""])
def test_the_cache_lies_in_the_repository_unless_it_is_moved(
    value: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RECLIB_CACHE")
    if value is not None:
        monkeypatch.setenv("RECLIB_CACHE", value)
    assert paths.cache_dir() == paths.root() / "artifacts"
    monkeypatch.setenv("RECLIB_CACHE", str(tmp_path))
    assert paths.cache_dir() == tmp_path.resolve()
    assert paths.assets_dir() == tmp_path.resolve() / "assets"


def test_a_home_folder_may_be_written_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RECLIB_DATA", "~/data")
    assert paths.data_dir() == tmp_path.resolve() / "data"


@pytest.mark.parametrize("value", [None, ""])
def test_folders_that_are_not_set_are_none(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RECLIB_DATA", "RECLIB_ASSETS"):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert paths.data_dir() is None
    assert paths.local_assets_dir() is None


def test_a_data_set_is_found_below_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "msl_toy").mkdir()
    monkeypatch.setenv("RECLIB_DATA", str(tmp_path))
    assert paths.dataset_dir("msl_toy") == tmp_path.resolve() / "msl_toy"


def test_a_missing_data_set_names_those_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECLIB_DATA", str(tmp_path))
    with pytest.raises(InputError, match="no data set msl_book in .*; it holds no folder"):
        paths.dataset_dir("msl_book")
    (tmp_path / "msl_toy").mkdir()
    with pytest.raises(InputError, match="it holds msl_toy"):
        paths.dataset_dir("msl_book")


def test_without_a_data_folder_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RECLIB_DATA", raising=False)
    with pytest.raises(
        InputError, match="RECLIB_DATA is not set; point it at the folder that holds msl_book/"
    ):
        paths.dataset_dir("msl_book")
