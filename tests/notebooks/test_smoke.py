"""Every notebook runs from top to bottom in profile smoke, through the runner that users run them with."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

from reclib import notebook_files, paths, runner
from reclib.notebook_files import NotebookFile

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
NOTEBOOKS = [NotebookFile(path) for path in sorted(FOLDER.glob("*.ipynb"))]
SUSPICIOUS = re.compile(r"Warning|Traceback|\bnan\b|deprecated", re.IGNORECASE)


@pytest.fixture(scope="session")
def figures_before() -> dict[Path, bytes]:
    """The committed results, which no smoke run may touch."""
    return {path: path.read_bytes() for path in paths.figures_dir().rglob("*") if path.is_file()}


def texts(cell: Any) -> list[str]:
    """What the outputs of a cell say in words."""
    streams = [output.text for output in cell.get("outputs", []) if output.output_type == "stream"]
    errors = [
        "\n".join(output.traceback) for output in cell.get("outputs", []) if output.output_type == "error"
    ]
    return streams + errors


def test_there_are_notebooks_to_run() -> None:
    assert {notebook.name for notebook in notebook_files.discover(FOLDER)} < {n.name for n in NOTEBOOKS}


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.name)
def test_smoke(notebook: NotebookFile, figures_before: dict[Path, bytes], session_cache: Path) -> None:
    copy = notebook_files.runs_dir("smoke") / notebook.path.name
    assert copy.is_relative_to(session_cache)
    outcome = runner.execute(notebook, {"profile": "smoke"}, copy)
    assert outcome.error is None, f"{notebook.name}: {outcome.error}"
    for number, cell in enumerate(nbformat.read(copy, as_version=4).cells, start=1):
        for text in texts(cell):
            assert not SUSPICIOUS.search(text), f"cell {number} says: {text}"
    assert (copy.parent / f"{notebook.name}.json").is_file(), "run.finish() leaves a record"
    now = {path: path.read_bytes() for path in paths.figures_dir().rglob("*") if path.is_file()}
    assert now == figures_before, "profile smoke wrote to figures/"
