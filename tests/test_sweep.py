"""Sweeps give the same rows wherever they run, and lose no more than what was running when something died."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from reclib import cli, paths, sweep
from reclib.artifacts import Artifact
from reclib.schema import InputError
from tests.sweep_cells import calls, cells, square

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 90.0  # seconds: a worker starts in two on a machine that has nothing else to do


def test_without_dask_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"needs Dask: pip install -e '\.\[sweep\]'"):
        sweep.run(square, [])


def test_the_command_sweeps_every_run_of_the_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    from reclib.analysis.msl import runs, stability
    from reclib.config import SMOKE

    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr(sweep, "run", lambda *arguments, **options: asked.append((*arguments, options)))
    cli.sweep(profile=cli.ProfileName.smoke, scheduler="tcp://127.0.0.1:1", workers=0, set_=None)
    ((function, found, options),) = asked
    assert function is runs.ranked
    assert set(found) == {*runs.cells(SMOKE).values(), *stability.cells(SMOKE).values()}
    assert options == {"scheduler": "tcp://127.0.0.1:1", "n_workers": None}


def until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.05)


@contextmanager
def process(*arguments: str, cache: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process of its own that is gone at the end."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RECLIB_CACHE": str(cache)}
    started = subprocess.Popen([sys.executable, "-m", *arguments], env=environment, stderr=subprocess.DEVNULL)
    try:
        yield started
    finally:
        started.kill()
        started.wait()


@contextmanager
def by_hand(folder: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A scheduler and two workers started on loopback: its address, and all three processes."""
    file = folder / "scheduler.json"
    with ExitStack() as stack:
        asked = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))
        there = [stack.enter_context(process("distributed.cli.dask_scheduler", *asked, cache=folder))]
        until(lambda: file.is_file() and file.read_text().endswith("}"))
        address = json.loads(file.read_text())["address"]
        single = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1")
        for _ in range(2):
            worker = process("distributed.cli.dask_worker", address, *single, cache=folder)
            there.append(stack.enter_context(worker))
        yield address, there


def rows(found: list[Artifact]) -> pd.DataFrame:
    return pd.concat([each["row"] for each in found], ignore_index=True)


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where calls leave their files; the cache of everyone is beside it."""
    pytest.importorskip("distributed", reason="Dask is not installed: the extra `sweep` brings it")
    monkeypatch.setenv("RECLIB_CACHE", str(tmp_path))
    folder = tmp_path / "log"
    folder.mkdir()
    return folder


def test_processes_here_and_workers_started_by_hand_give_the_same_rows(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = rows(sweep.run(square, cells(log, 4), n_workers=2))
    assert here["square"].tolist() == [0, 1, 4, 9]
    other = log.parent / "other"
    other.mkdir()
    with by_hand(other) as (address, _):
        with pytest.raises(InputError, match="must share one cache"):
            sweep.run(square, cells(log, 5)[4:], scheduler=address)
        monkeypatch.setenv("RECLIB_CACHE", str(other))
        there = rows(sweep.run(square, cells(log, 4), scheduler=address))
    pd.testing.assert_frame_equal(here, there)


def test_what_dies_costs_the_cell_that_was_running_and_nothing_that_was_finished(log: Path) -> None:
    """First a worker is killed in the middle, then the scheduler, the workers and the client with them."""
    n, cache = 5, log.parent
    with by_hand(cache) as (address, there):
        client = process("tests.sweep_cells", address, str(log), str(n), cache=cache)
        with client as driver:
            until(lambda: all(calls(log, place) for place in range(n)))
            os.kill(calls(log, 0)[0], signal.SIGKILL)
            until(lambda: len(calls(log, 0)) == 2)
            until(lambda: len(list(cache.glob("square-????????????????"))) == n - 1)
            for one in (driver, *there):
                one.kill()
                one.wait()
    assert [len(calls(log, place)) for place in range(n)] == [2, 1, 1, 1, 1]
    (log / "go").touch()
    assert rows(sweep.run(square, cells(log, n, slow=0), n_workers=1))["square"].tolist() == [0, 1, 4, 9, 16]
    assert [len(calls(log, place)) for place in range(n)] == [3, 1, 1, 1, 1]
    assert paths.cache_dir() == cache
