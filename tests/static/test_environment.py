"""pyproject.toml, constraints.txt and environment.yml say the same thing, and the code imports only that."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from reclib import environment

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
REQUIREMENTS = [Requirement(text) for text in environment.requirements(ROOT)]

# Not imported by us, and needed all the same.
NOT_IMPORTED = {
    "gguf": "transformers reads GGUF files with it",
    "ipywidgets": "progress bars in JupyterLab",
    "jupyterlab": "opens the notebooks",
    "seaborn": "figures that users make in notebooks; ours take its palette",
    "pyarrow": "pandas reads and writes Parquet with it",
    "tiktoken": "transformers converts the Llama 3 vocabulary with it",
}

# What papermill and ipykernel are made of.
JUPYTER = {"jupyter-client", "jupyter-core", "nbformat", "traitlets"}


def conda_environment() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))


def test_every_requirement_is_pinned_within_its_bounds() -> None:
    pins = environment.pins(ROOT)
    assert len(pins) > len(REQUIREMENTS) > 20
    for requirement in REQUIREMENTS:
        name = environment.normalised(requirement.name)
        assert name in pins, f"constraints.txt does not pin {name}"
        assert requirement.specifier.contains(pins[name]), f"{name}=={pins[name]} is outside {requirement}"


def test_every_requirement_has_a_lower_bound() -> None:
    for requirement in REQUIREMENTS:
        assert any(part.operator == ">=" for part in requirement.specifier), (
            f"{requirement} has no lower bound"
        )


def test_constraints_pin_what_the_requirements_need_in_turn() -> None:
    """Walk the dependencies of what is installed here: a package without a pin would move by itself."""
    pins = environment.pins(ROOT)
    waiting, seen = [(r, frozenset(r.extras)) for r in REQUIREMENTS], set()
    while waiting:
        requirement, extras = waiting.pop()
        name = environment.normalised(requirement.name)
        if (name, extras) in seen or re.match(r"nvidia-|cuda-|triton$|setuptools$", name):
            continue
        seen.add((name, extras))
        assert name in pins, f"constraints.txt does not pin {name}"
        if not metadata.version(name).startswith(pins[name]):
            continue  # this environment is not the pinned one here: another version may need other things
        for text in metadata.requires(name) or []:
            needed = Requirement(text)
            applies = (
                [needed.marker.evaluate({"extra": e}) for e in extras | {""}] if needed.marker else [True]
            )
            if any(applies):
                waiting.append((needed, frozenset(needed.extras)))


def test_conda_environment_uses_the_same_python_and_pins() -> None:
    dependencies = conda_environment()["dependencies"]
    assert f"python{PROJECT['requires-python']}" in dependencies
    assert "pip" in dependencies
    assert [d for d in dependencies if isinstance(d, dict)] == [{"pip": ["-c constraints.txt", "-e .[dev]"]}]
    assert conda_environment()["channels"] == ["conda-forge"]


def test_scripts_accept_the_python_versions_of_pyproject() -> None:
    versions = [(3, minor) for minor in range(9, 16)]
    supported = [v for v in versions if environment.python_is_supported(f"{v[0]}.{v[1]}.2", ROOT)]
    for script in ("run_all.sh", ".ci/run"):
        text = (ROOT / script).read_text("utf-8")
        bounds = re.search(r"\((\d), (\d+)\) <= sys.version_info\[:2\] <= \((\d), (\d+)\)", text)
        assert bounds, f"{script} does not check Python's version"
        low, high = tuple(map(int, bounds.groups()[:2])), tuple(map(int, bounds.groups()[2:]))
        assert [v for v in versions if low <= v <= high] == supported


def third_party_imports(folder: str) -> set[str]:
    """First parts of what the Python files of a folder import, standard library and ourselves left out."""
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files, f"no Python file in {folder}"
    found: set[str] = set()
    for path in files:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.split(".")[0])
    ours = {"reclib", "tests", "benchmarks"} | {path.stem for path in files}
    return found - set(sys.stdlib_module_names) - ours - {"pip"}


def distributions_of(modules: set[str]) -> set[str]:
    owners = metadata.packages_distributions()
    return {environment.normalised(owner) for module in modules for owner in owners[module]}


def test_package_imports_what_pyproject_names_and_nothing_else() -> None:
    named = {environment.normalised(Requirement(text).name) for text in PROJECT["dependencies"]}
    used = distributions_of(third_party_imports("reclib"))
    assert used - named <= JUPYTER, "imported, but not a dependency in pyproject.toml"
    assert named - used <= set(NOT_IMPORTED), "a dependency of pyproject.toml that nothing needs"


@pytest.mark.parametrize("folder", ["tests", "benchmarks"])
def test_tests_and_benchmarks_import_only_what_is_installed_with_them(folder: str) -> None:
    named = {environment.normalised(requirement.name) for requirement in REQUIREMENTS}
    assert distributions_of(third_party_imports(folder)) - named <= JUPYTER
