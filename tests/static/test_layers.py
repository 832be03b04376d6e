"""A module imports only from layers to its left; the light layers stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "reclib"

# design.md §3. Kernels and models stand side by side: neither imports the other.
LAYERS: dict[str, int] = {
    "base": 0,
    "data": 1,
    "text": 2,
    "kernels": 3,
    "models": 3,
    "training": 4,
    "decoding": 5,
    "evaluation": 6,
    "analysis": 7,
    "plotting": 8,
    "top": 9,
}
BASE = {
    "config",
    "paths",
    "seeding",
    "schema",
    "arrays",
    "files",
    "artifacts",
    "assets",
    "environment",
    "sweep",
}
TOP = {
    "__main__",
    "board",
    "checkup",
    "cli",
    "notebook",
    "notebook_files",
    "overview",
    "registry",
    "runner",
}
HEAVY = {"torch", "transformers", "peft", "accelerate", "matplotlib", "seaborn", "sklearn"}
DRAWING = {"matplotlib", "seaborn"}

FILES = sorted(PACKAGE.rglob("*.py"))


def layer_of(module: str) -> str:
    """Layer of a dotted module name below reclib; the package itself belongs to base."""
    part = module.split(".")[1] if "." in module else ""
    if part in BASE or not part:
        return "base"
    if part in TOP:
        return "top"
    assert part in LAYERS, f"{module} belongs to no layer of design.md §3: move it, or name it here"
    return part


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, *, top_only: bool = False) -> Iterator[str]:
    """Dotted names a file imports, `from reclib import x` as "reclib.x"; not those for type checkers."""
    tree = ast.parse(path.read_text("utf-8"))
    typing_only = {
        id(node) for block in ast.walk(tree) if _is_typing_block(block) for node in ast.walk(block)
    }
    for node in _run_on_import(tree) if top_only else ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno} imports relatively: write the whole name"
            assert node.module is not None
            if node.module == "reclib":
                yield from (f"reclib.{alias.name}" for alias in node.names)
            else:
                yield node.module


def _is_typing_block(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def _run_on_import(tree: ast.Module) -> Iterator[ast.AST]:
    """Nodes that run when the module is loaded: all but the bodies of functions."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        for child in ast.iter_child_nodes(waiting.pop()):
            if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                yield child
                waiting.append(child)


def test_there_are_modules_to_check() -> None:
    assert len(FILES) > 10
    assert {layer_of(module_name(path)) for path in FILES} >= {
        "base",
        "data",
        "text",
        "kernels",
        "models",
        "top",
    }


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_a_module_imports_only_from_layers_to_its_left(path: Path) -> None:
    own = module_name(path)
    layer = layer_of(own)
    for name in imports(path):
        if name.split(".")[0] != "reclib" or name == "reclib.__version__":
            continue
        other = layer_of(name)
        allowed = other == layer or LAYERS[other] < LAYERS[layer]
        assert allowed, f"{own} ({layer}) imports {name} ({other}), which is not to its left"


@pytest.mark.parametrize("path", [p for p in FILES if p.parent.name == "kernels"], ids=module_name)
def test_kernels_import_torch_and_nothing_else(path: Path) -> None:
    for name in imports(path):
        first = name.split(".")[0]
        assert first in sys.stdlib_module_names | {"torch"} or name.startswith("reclib.kernels"), (
            f"{path.name} imports {name}: a kernel reads beside its equation and needs torch only"
        )


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_only_plotting_draws(path: Path) -> None:
    if layer_of(module_name(path)) == "plotting":
        return
    drawing = {name for name in imports(path) if name.split(".")[0] in DRAWING}
    assert not drawing, f"{module_name(path)} imports {drawing}: figures are drawn in reclib.plotting"


STUDIES = {path.name for path in (PACKAGE / "analysis").iterdir() if (path / "__init__.py").exists()}
SHARED = [path for path in FILES if path.parent == PACKAGE / "analysis"]


@pytest.mark.parametrize("path", SHARED, ids=module_name)
def test_what_studies_share_imports_no_study(path: Path) -> None:
    assert {"msl", "faerec", "eisam", "tf_llmer"} <= STUDIES
    for name in imports(path):
        of_study = name.startswith("reclib.analysis.") and name.split(".")[2] in STUDIES
        assert not of_study, f"{path.name} imports {name}: move what is shared out of the study's package"


LIGHT = [p for p in FILES if layer_of(module_name(p)) in ("base", "data", "text", "top")]


@pytest.mark.parametrize("path", LIGHT, ids=module_name)
def test_light_layers_import_nothing_heavy_when_loaded(path: Path) -> None:
    heavy = {name for name in imports(path, top_only=True) if name.split(".")[0] in HEAVY}
    assert not heavy, f"{module_name(path)} imports {heavy} when loaded: import it where it is needed"


def test_importing_reclib_and_its_command_line_is_instant() -> None:
    code = "import sys, reclib, reclib.cli; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not HEAVY & set(loaded.stdout.split())
    assert "pandas" not in loaded.stdout.split()
