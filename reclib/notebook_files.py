"""The numbered notebooks as files: which there are, what they take, and which parameters they accept."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reclib import paths
from reclib.schema import InputError

PATTERN = "[0-9][0-9]_*.ipynb"

# Settings changed on the command line, as JSON: the runner sets it for its kernels.
OVERRIDES = "RECLIB_OVERRIDES"
CUSTOM = "custom"  # what results are labelled with whose profile was changed
SOURCES = ("source", "sources")  # last part of the settings that choose data sets


@dataclass(frozen=True)
class NotebookFile:
    """One numbered notebook: its path, and what its metadata says under ``reclib``.

    ``minutes`` maps a profile to the minutes it is expected to take on two cores; ``assets`` names what it
    needs beyond the profile's own model and data (not in profile smoke).
    """

    path: Path
    minutes: Mapping[str, float] = field(default_factory=dict)
    assets: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """File name without its ending: "12_msl_gradient_weights"."""
        return self.path.stem

    @property
    def number(self) -> str:
        """The two digits the name starts with."""
        return self.path.stem[:2]


def discover(folder: Path | None = None) -> list[NotebookFile]:
    """Notebooks of the folder in order of their numbers.

    Raises
    ------
    InputError
        There is none: a run that executes nothing must not look like one that passed.
    """
    folder = folder or paths.notebooks_dir()
    found = [_notebook_file(path) for path in sorted(folder.glob(PATTERN))]
    if not found:
        raise InputError(
            f"no notebook named like 12_some_question.ipynb in {folder}: is this a whole checkout?"
        )
    return found


def label(profile: str, overrides: Mapping[str, Any] | None) -> str:
    """What results are called: the profile's name, or "custom" where one but smoke was changed."""
    return CUSTOM if overrides and profile != "smoke" else profile


def place(profile: str, overrides: Mapping[str, Any] | None) -> str:
    """Where results lie: below their label, those of other data sets below the names of these.

    "custom/msl_book" with ``{"data.source": "msl_book"}``: they stand beside those of the profile's own data.
    """
    name = label(profile, overrides)
    if name != CUSTOM:
        return name
    chosen = [value for key, value in sorted((overrides or {}).items()) if key.split(".")[-1] in SOURCES]
    flat = [one for value in chosen for one in ([value] if isinstance(value, str) else value)]
    names = dict.fromkeys(re.sub(r"[^\w.-]+", "_", Path(one).name) for one in flat)
    return "/".join([name, "_".join(names)]) if names else name


def runs_dir(place: str) -> Path:
    """Folder of what runs of a profile leave: executed copies, and the records that `status` shows.

    place: a profile, or what `place` says of a changed one
    """
    return paths.cache_dir() / "runs" / place


def figures_dir(place: str) -> Path:
    """Folder of the figures and tables of a profile, or of what `place` says of a changed one.

    `figures/`, except for smoke, which proves nothing, and for changed profiles, below `figures/custom/`.
    """
    if place == "smoke":
        return runs_dir(place) / "figures"
    return paths.figures_dir() / place if place.split("/")[0] == CUSTOM else paths.figures_dir()


def results_dir(profile: str) -> Path:
    """Folder of the results that the papers' numbers are compared with: one for all profiles but smoke."""
    base = figures_dir(profile) if profile == "smoke" else paths.figures_dir()
    return base / "tables" / "results"


def select(notebooks: Sequence[NotebookFile], only: Sequence[str]) -> list[NotebookFile]:
    """Notebooks whose number or name is in `only`, all where `only` is empty."""
    known = {key for notebook in notebooks for key in (notebook.number, notebook.name)}
    unknown = [key for key in only if key not in known]
    if unknown:
        numbers = ", ".join(notebook.number for notebook in notebooks)
        raise InputError(f"no notebook {', '.join(unknown)}: there are {numbers}")
    return [notebook for notebook in notebooks if not only or {notebook.number, notebook.name} & set(only)]


def read(path: Path) -> dict[str, Any]:
    """Content of a notebook file."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is not a notebook ({error}): restore it with git checkout") from None
    if not isinstance(content, dict) or "cells" not in content:
        raise InputError(f"{path} is not a notebook (it has no cells): restore it with git checkout")
    return content


def parameters(path: Path) -> dict[str, Any]:
    """Names and default values that the cell tagged ``parameters`` sets.

    Raises
    ------
    InputError
        No cell or several carry the tag, or the cell holds something else than ``name = literal``. papermill
        would go on and run the notebook with its own values.
    """
    tagged = [cell for cell in read(path)["cells"] if "parameters" in cell["metadata"].get("tags", [])]
    if len(tagged) != 1:
        raise InputError(
            f"{path.name}: {len(tagged)} cells carry the tag 'parameters', one must (Jupyter: cell tags)"
        )
    source = "".join(tagged[0]["source"])
    try:
        return dict(_assignment(statement) for statement in ast.parse(source).body)
    except (SyntaxError, ValueError):
        raise InputError(
            f"{path.name}: the cell tagged 'parameters' may only set names to literals"
        ) from None


def check_parameters(path: Path, given: Mapping[str, Any]) -> None:
    """Refuse parameters that the notebook does not declare."""
    known = parameters(path)
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise InputError(f"{path.name} has no parameter {', '.join(unknown)}: it declares {', '.join(known)}")


def _assignment(statement: ast.stmt) -> tuple[str, Any]:
    """Name and value of a statement ``name = literal``; ValueError for any other."""
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            return name, ast.literal_eval(value)
    raise ValueError("not an assignment of a literal")


def _notebook_file(path: Path) -> NotebookFile:
    ours = read(path).get("metadata", {}).get("reclib", {})
    return NotebookFile(path, ours.get("minutes", {}), tuple(ours.get("assets", ())))
