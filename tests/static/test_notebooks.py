"""Every notebook has the anatomy of design.md §7, so that a reader who knows one knows them all."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from reclib import notebook_files

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
NUMBERED = sorted(FOLDER.glob("*.ipynb"))
PROFILES = ("smoke", "default", "paper")
MINUTES_OF_ALL = {"smoke": 8, "default": 60}  # on two cores

WITHOUT_DATA = {"step_cost"}  # steps that make what they read

Cells = list[dict[str, Any]]

every_notebook = pytest.mark.parametrize("path", NUMBERED, ids=lambda path: path.stem)


def load(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def code_cells(path: Path) -> Cells:
    return [cell for cell in load(path).cells if cell.cell_type == "code"]


def trees(path: Path) -> Iterator[tuple[int, ast.AST]]:
    """Each node of each code cell, with the number of the cell; magics and shell escapes do not parse."""
    for number, cell in enumerate(load(path).cells, start=1):
        if cell.cell_type == "code":
            try:
                tree = ast.parse(cell.source)
            except SyntaxError as error:
                pytest.fail(f"cell {number} is not plain Python ({error}): no magics, no shell, no pip")
            yield from ((number, node) for node in ast.walk(tree))


def test_there_are_notebooks_to_check() -> None:
    assert len(notebook_files.discover(FOLDER)) > 0
    assert len(NUMBERED) > 1, "the template counts too"


@every_notebook
def test_name_and_format(path: Path) -> None:
    assert re.fullmatch(r"(\d\d_[a-z0-9_]+|_template)\.ipynb", path.name)
    notebook = load(path)
    nbformat.validate(notebook)
    assert notebook.nbformat == 4
    assert notebook.nbformat_minor >= 5, "cells need ids, so that a change shows as the cell's own"
    assert notebook.metadata.kernelspec.name == "python3"


@every_notebook
def test_nothing_that_a_run_left_is_committed(path: Path) -> None:
    for cell in code_cells(path):
        assert cell.outputs == [], "outputs: run nbstripout"
        assert cell.execution_count is None, "execution counts: run nbstripout"
    assert "papermill" not in load(path).metadata, "this is an executed copy"


@every_notebook
def test_a_step_says_what_it_reads(path: Path) -> None:
    for number, node in trees(path):
        match node:
            case ast.Call(func=ast.Attribute(attr="artifact"), args=[ast.Constant(value=step), *_]):
                given = {keyword.arg for keyword in node.keywords}
                assert step in WITHOUT_DATA or "upstream" in given, (
                    f"cell {number}: {step} has nothing upstream: a data set that changes gives old results"
                )


@every_notebook
def test_it_is_short(path: Path) -> None:
    sizes = [sum(bool(line.strip()) for line in cell.source.splitlines()) for cell in code_cells(path)]
    assert len(load(path).cells) <= 24
    assert len(sizes) <= 12
    assert max(sizes) <= 15
    assert sum(sizes) <= 120
    assert min(sizes) > 0, "an empty code cell"


@every_notebook
def test_it_opens_with_its_question(path: Path) -> None:
    first = load(path).cells[0]
    assert first.cell_type == "markdown"
    assert "?" in first.source, "the question"
    assert re.search(r"\[[A-Z][A-Za-z0-9-]+\]", first.source), "the paper in brackets, as in [MSL] Table 5"
    assert "minutes" in first.source
    assert all(profile in first.source for profile in PROFILES), "what each profile takes and can show"


@every_notebook
def test_second_cell_holds_the_parameters(path: Path) -> None:
    second = load(path).cells[1]
    assert second.cell_type == "code"
    assert second.metadata.get("tags") == ["parameters"]
    assert notebook_files.parameters(path) == {"profile": "default", "seed": 0, "force": False}


@every_notebook
def test_third_cell_imports_and_starts(path: Path) -> None:
    third = load(path).cells[2]
    assert third.cell_type == "code"
    *imports, start = ast.parse(third.source).body
    assert all(isinstance(statement, ast.Import | ast.ImportFrom) for statement in imports)
    assert ast.unparse(start) == (
        f"run = notebook.start('{path.stem}', profile=profile, seed=seed, force=force)"
    )


@every_notebook
def test_nothing_is_imported_later(path: Path) -> None:
    for number, node in trees(path):
        if isinstance(node, ast.Import | ast.ImportFrom):
            assert number == 3, f"cell {number} imports: imports stand in the third cell"
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
            assert all(name.split(".")[0] in ("reclib", "numpy", "pandas") for name in names), names


@every_notebook
def test_it_ends_with_how_to_read_it_and_finish(path: Path) -> None:
    *_, last = code_cells(path)
    assert last.source.strip() == "run.finish()"
    cells = load(path).cells
    before = cells[cells.index(last) - 1]
    assert before.cell_type == "markdown", "how to read the result, before run.finish()"


@every_notebook
def test_no_definitions_no_training_loop(path: Path) -> None:
    for number, node in trees(path):
        assert not isinstance(
            node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda | ast.While
        ), f"cell {number} defines something or loops: it belongs in reclib"
        if isinstance(node, ast.Attribute):
            assert node.attr not in ("backward", "step", "zero_grad"), (
                f"cell {number} trains: use run.artifact"
            )


@every_notebook
def test_no_paths_no_pip_no_warning_filter(path: Path) -> None:
    for number, node in trees(path):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            is_path = re.match(r"(/|~|\.{1,2}/|[A-Za-z]:\\)", node.value) or re.search(
                r"\.(csv|json|png|pdf|gz|npz|parquet|ipynb|safetensors)$", node.value
            )
            assert not is_path, f"cell {number} holds the path {node.value!r}: ask reclib.paths or run"
        if isinstance(node, ast.Name):
            assert node.id not in ("open", "Path", "warnings", "os", "sys", "subprocess", "pip"), (
                f"cell {number} uses {node.id}"
            )


@every_notebook
def test_expected_minutes(path: Path) -> None:
    minutes = load(path).metadata["reclib"]["minutes"]
    assert set(minutes) == set(PROFILES)
    assert all(isinstance(value, int | float) and value > 0 for value in minutes.values())


@pytest.mark.parametrize("profile", MINUTES_OF_ALL)
def test_expected_minutes_of_all_notebooks(profile: str) -> None:
    total = sum(notebook.minutes[profile] for notebook in notebook_files.discover(FOLDER))
    assert total <= MINUTES_OF_ALL[profile]
