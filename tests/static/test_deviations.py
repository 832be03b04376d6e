"""Every deviation from a paper names a test that exists, so that none is only a sentence."""

from __future__ import annotations

import ast
import csv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def deviations() -> list[dict[str, str]]:
    with (ROOT / "reclib" / "papers" / "deviations.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_there_are_deviations() -> None:
    assert len(deviations()) > 0
    assert "test" in deviations()[0]


def test_each_names_a_test_that_exists() -> None:
    for row in deviations():
        path, _, function = row["test"].partition("::")
        file = ROOT / path
        assert file.is_file(), f"{row['test']}: there is no {path}"
        defined = {
            node.name for node in ast.walk(ast.parse(file.read_text("utf-8"))) if hasattr(node, "name")
        }
        for part in filter(None, function.split("::")):
            assert part.split("[")[0] in defined, f"{path} defines no {part}"
