"""Habits no linter checks: no unfinished places, no global randomness, nothing unpickled, no one's paths."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted((ROOT / "reclib").rglob("*.py"))
PYTHON = [
    path for folder in ("reclib", "tests", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))
]
TEXT = {".py", ".md", ".toml", ".yml", ".yaml", ".cff", ".txt", ".csv", ".ipynb", ".sh", ".json", ".tex", ""}
# In two parts each, so that this file does not find itself.
UNFINISHED = [
    "TO" + "DO",
    "FIX" + "ME",
    "NotImplemented" + "Error",
    "mark." + "skip(",
    "x" + "fail(",
    "assert " + "True",
]

every_module = pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))


def text_files() -> Iterator[Path]:
    """Files of the checkout that people read, what git ignores left out."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    names = (
        listed.stdout.splitlines() if listed.returncode == 0 else [str(p.relative_to(ROOT)) for p in PYTHON]
    )
    yield from (ROOT / name for name in names if Path(name).suffix in TEXT and (ROOT / name).is_file())


def test_there_are_files_to_check() -> None:
    assert len(MODULES) > 10
    assert len(list(text_files())) > 30


def test_nothing_is_left_unfinished() -> None:
    for path in text_files():
        text = path.read_text("utf-8")
        found = [mark for mark in UNFINISHED if mark in text]
        assert not found, f"{path.relative_to(ROOT)} holds {found}"


def test_no_machine_is_named() -> None:
    absolute = re.compile(r"(?<![\w.}])/(home|root|work|Users|mnt|scratch)/\w")
    for path in text_files():
        found = absolute.search(path.read_text("utf-8"))
        assert not found, f"{path.relative_to(ROOT)} names a path of one machine: {found}"


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: str(path.relative_to(ROOT)))
def test_annotations_are_postponed(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    annotated = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.AnnAssign)
    if any(isinstance(node, annotated) for node in ast.walk(tree)):
        code = [node for node in tree.body if not isinstance(node, ast.Expr)]
        assert ast.unparse(code[0]) == "from __future__ import annotations"


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


@every_module
def test_nothing_draws_from_global_state(path: Path) -> None:
    """Each draw names its generator; libraries that only know the global one are run inside `fork_rng`."""
    forks = "fork_rng" in path.read_text("utf-8")
    drawing = r"torch\.(rand|randn|randint|randperm|normal|multinomial|bernoulli)$"
    for name, call in calls(path):
        assert not re.match(r"random\.|np\.random\.(?!default_rng|Generator|SeedSequence|PCG64)", name), name
        if name.endswith("manual_seed") and name.startswith("torch."):
            assert forks, f"{name} without fork_rng"
        if re.match(drawing, name):
            assert any(keyword.arg == "generator" for keyword in call.keywords), f"{name} without generator="


@every_module
def test_nothing_is_pickled(path: Path) -> None:
    for name, call in calls(path):
        assert name not in ("torch.load", "torch.save", "pd.read_pickle", "joblib.load"), name
        assert not name.startswith(("pickle.", "dill.", "cloudpickle.")), name
        assert not name.endswith(".to_pickle"), name
        for keyword in call.keywords:
            if keyword.arg == "allow_pickle":
                assert ast.unparse(keyword.value) == "False", f"{name} may unpickle"


@every_module
def test_no_error_is_swallowed(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"line {node.lineno}: except without a type"
            assert not (len(node.body) == 1 and isinstance(node.body[0], ast.Pass)), (
                f"line {node.lineno}: pass"
            )
