"""Cells that the tests of sweeps run on workers: each call leaves a file, and a slow one waits to be let go.

As a program, a sweep by a scheduler's workers: `python -m tests.sweep_cells ADDRESS LOG N`.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from reclib import sweep
from reclib.artifacts import Artifact, get_or_compute

LIMIT = 120.0  # seconds that a slow cell waits


def cells(log: Path, n: int, *, slow: int | None = None) -> list[dict[str, Any]]:
    """Some cells, of which one may be slow."""
    return [{"place": place, "log": str(log), "is_slow": place == slow} for place in range(n)]


def square(cell: Mapping[str, Any]) -> Artifact:
    """The artifact of a cell: its place, squared."""
    return get_or_compute("square", _step, {"place": cell["place"]}, seed=0, cell=cell)


def _step(
    config: Mapping[str, Any], *, seed: int, workdir: Path, cell: Mapping[str, Any]
) -> dict[str, pd.DataFrame]:
    log = Path(cell["log"])
    (log / f"{cell['place']}-{os.getpid()}").touch()
    end = time.monotonic() + LIMIT
    while cell["is_slow"] and not (log / "go").exists() and time.monotonic() < end:
        time.sleep(0.05)
    return {"row": pd.DataFrame({"place": [config["place"]], "square": [config["place"] ** 2]})}


def calls(log: Path, place: int) -> list[int]:
    """The processes that have computed a cell."""
    return [int(path.name.split("-")[1]) for path in log.glob(f"{place}-*")]


if __name__ == "__main__":
    address, folder, n_cells = sys.argv[1:]
    sweep.run(square, cells(Path(folder), int(n_cells), slow=0), scheduler=address)
