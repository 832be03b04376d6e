"""No module and no function grows past what one reads at a sitting."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "reclib").rglob("*.py"))
MODULE_LINES = 350
FUNCTION_LINES = 40  # without the docstring, which states the formula and may be longer than the code


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function, its docstring left out."""
    first, last = function.lineno, function.end_lineno or function.lineno
    match function.body[0]:
        case ast.Expr(value=ast.Constant(value=str())) as docstring:
            return last - first + 1 - ((docstring.end_lineno or 0) - docstring.lineno + 1)
    return last - first + 1


def test_there_are_modules_to_check() -> None:
    assert len(FILES) > 10


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_sizes(path: Path) -> None:
    source = path.read_text("utf-8")
    n_lines = len(source.splitlines())
    assert n_lines <= MODULE_LINES, f"{n_lines} lines: a module holds at most {MODULE_LINES}"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            n_lines = code_lines(node)
            assert n_lines <= FUNCTION_LINES, (
                f"{node.name}: {n_lines} lines of code, at most {FUNCTION_LINES}"
            )
