"""The runner: what it refuses, what it says, what it leaves, on notebooks made for the purpose."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from reclib import notebook_files, paths, runner
from reclib.board import LastLine
from reclib.notebook_files import NotebookFile
from reclib.schema import InputError

PARAMETERS = 'profile = "default"\nseed = 0\nforce = False'


def write(folder: Path, name: str, *cells: str, tags: list[str] | None = None, **ours: Any) -> NotebookFile:
    """A notebook with the given code cells, the first of which is tagged."""
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in cells]
    notebook.cells[0].metadata["tags"] = ["parameters"] if tags is None else tags
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.metadata["reclib"] = ours
    folder.mkdir(exist_ok=True)
    nbformat.write(notebook, folder / f"{name}.ipynb")
    return NotebookFile(folder / f"{name}.ipynb", ours.get("minutes", {}))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RECLIB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def run(*notebooks: NotebookFile, **options: Any) -> tuple[list[runner.Outcome], str]:
    stream = io.StringIO()
    outcomes = runner.run(notebooks, profile="smoke", stream=stream, **options)
    return outcomes, stream.getvalue()


def test_notebooks_are_found_in_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("12_b", "01_a", "_template", "notes", "90_c"):
        write(tmp_path, name, PARAMETERS, minutes={"smoke": 1}, assets=["llama3-tokenizer"])
    found = notebook_files.discover(tmp_path)
    assert [notebook.name for notebook in found] == ["01_a", "12_b", "90_c"]
    assert found[0].minutes == {"smoke": 1}
    assert found[0].assets == ("llama3-tokenizer",)


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no notebook named like"):
        notebook_files.discover(tmp_path)


def test_selection_by_number_or_name(tmp_path: Path) -> None:
    found = [write(tmp_path, name, PARAMETERS) for name in ("01_a", "12_b", "90_c")]
    assert [n.name for n in notebook_files.select(found, ["90", "01_a"])] == ["01_a", "90_c"]
    assert notebook_files.select(found, []) == found
    with pytest.raises(InputError, match="no notebook 13: there are 01, 12, 90"):
        notebook_files.select(found, ["12", "13"])


def test_a_file_that_is_no_notebook_is_named(tmp_path: Path) -> None:
    (tmp_path / "01_a.ipynb").write_text('{"cells": [', "utf-8")
    with pytest.raises(InputError, match=r"01_a\.ipynb is not a notebook"):
        notebook_files.discover(tmp_path)
    (tmp_path / "01_a.ipynb").write_text("{}", "utf-8")
    with pytest.raises(InputError, match="has no cells"):
        notebook_files.discover(tmp_path)


def test_parameters_are_the_literals_of_the_tagged_cell(tmp_path: Path) -> None:
    notebook = write(tmp_path, "01_a", PARAMETERS)
    assert notebook_files.parameters(notebook.path) == {"profile": "default", "seed": 0, "force": False}


@pytest.mark.parametrize("source", ["profile = open('x')", "import os", "a, b = 1, 2", "profile ="])
def test_parameters_that_are_not_literals_are_refused(tmp_path: Path, source: str) -> None:
    notebook = write(tmp_path, "01_a", source)
    with pytest.raises(InputError, match="may only set names to literals"):
        notebook_files.parameters(notebook.path)


def test_a_lost_parameters_tag_is_refused_before_anything_runs(tmp_path: Path, cache: Path) -> None:
    good, bad = write(tmp_path, "01_a", PARAMETERS), write(tmp_path, "02_b", PARAMETERS, tags=[])
    with pytest.raises(InputError, match=r"02_b\.ipynb: 0 cells carry the tag 'parameters'"):
        run(good, bad)
    assert not cache.exists()


def test_an_unknown_parameter_is_refused_before_anything_runs(tmp_path: Path, cache: Path) -> None:
    notebook = write(tmp_path, "01_a", 'profile = "default"')
    with pytest.raises(InputError, match=r"01_a\.ipynb has no parameter force: it declares profile"):
        run(notebook)
    assert not cache.exists()


def test_nothing_to_run_is_an_error(cache: Path) -> None:
    with pytest.raises(InputError, match="no notebook to run"):
        run()


def test_an_executed_copy_is_kept_and_the_source_left_alone(tmp_path: Path, cache: Path) -> None:
    notebook = write(tmp_path, "01_a", PARAMETERS, "print(profile, force)", minutes={"smoke": 2})
    before = notebook.path.read_bytes()
    outcomes, said = run(notebook, force=True)
    assert [outcome.error for outcome in outcomes] == [None]
    copy = nbformat.read(cache / "runs" / "smoke" / "01_a.ipynb", as_version=4)
    assert copy.cells[-1].outputs[0].text == "smoke True\n"
    assert notebook.path.read_bytes() == before
    assert "expected 02:00" in said
    assert said.splitlines()[-1] == "1 passed, 0 failed"


def test_a_changed_profile_leaves_the_copies_of_the_profile_alone(tmp_path: Path, cache: Path) -> None:
    notebook = write(tmp_path, "01_a", PARAMETERS, "print(profile)")
    stream = io.StringIO()
    outcomes = runner.run([notebook], "default", {"tune.epochs": 2}, stream=stream)
    assert outcomes[0].copy == cache / "runs" / "custom" / "01_a.ipynb"
    assert "profile default, changed: custom" in stream.getvalue()


def test_the_kernel_is_this_interpreter_in_the_root_of_the_project(tmp_path: Path, cache: Path) -> None:
    cell = "import sys, reclib, os\nprint(sys.prefix, os.environ['RECLIB_RUN_STARTED'] > '1', os.getcwd())"
    notebook = write(tmp_path, "01_a", PARAMETERS, cell)
    (outcome,), _ = run(notebook)
    said = nbformat.read(outcome.copy, as_version=4).cells[-1].outputs[0].text
    assert said == f"{Path(sys.prefix).resolve()} True {paths.root()}\n"


def test_the_first_failure_stops_and_is_named_with_its_error(tmp_path: Path, cache: Path) -> None:
    bad = write(tmp_path, "01_a", PARAMETERS, "1 / 0", "print('never')")
    good = write(tmp_path, "02_b", PARAMETERS)
    outcomes, said = run(bad, good)
    assert [outcome.name for outcome in outcomes] == ["01_a"]
    assert "01_a  FAILED" in said
    assert "cell 3: ZeroDivisionError: division by zero" in said
    assert "1 not run after the failure" in said
    assert said.splitlines()[-1] == "0 passed, 1 failed"


def test_keep_going_runs_the_rest_and_jobs_run_together(tmp_path: Path, cache: Path) -> None:
    bad = write(tmp_path, "01_a", PARAMETERS, "raise SystemExit(3)")
    good = write(tmp_path, "02_b", PARAMETERS, "import os\nprint(os.environ['OMP_NUM_THREADS'])")
    outcomes, said = run(bad, good, keep_going=True, jobs=2)
    assert {outcome.name: outcome.error is None for outcome in outcomes} == {"01_a": False, "02_b": True}
    assert said.splitlines()[-1] == "1 passed, 1 failed"


def test_a_kernel_that_dies_is_reported(tmp_path: Path, cache: Path) -> None:
    notebook = write(tmp_path, "01_a", PARAMETERS, "import os\nos._exit(9)")
    (outcome,), said = run(notebook)
    assert outcome.error is not None
    assert "DeadKernelError" in outcome.error
    assert said.splitlines()[-1] == "0 passed, 1 failed"


def test_what_a_notebook_prints_last_is_its_status() -> None:
    status = LastLine()
    status.write("loading\n")
    status.write("train:  10%\rtrain:  20%\r")
    assert status.text == "train:  20%"
    status.write("\n\n")
    assert status.text == "train:  20%"
