"""Execute the numbered notebooks with papermill, each in a fresh kernel of this interpreter."""

from __future__ import annotations

import json
import os
import queue
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from reclib import config, notebook_files, paths
from reclib.board import Board, LastLine, Outcome
from reclib.environment import n_cores
from reclib.notebook_files import NotebookFile
from reclib.schema import InputError

# In a batch run nobody attaches a debugger (it would warn about that), and a progress bar has part of the
# runner's line, redrawn every two seconds, since each drawing stays in the executed copy.
BATCH = {"PYDEVD_DISABLE_FILE_VALIDATION": "1", "TQDM_NCOLS": "60", "TQDM_MININTERVAL": "2"}


def execute(
    notebook: NotebookFile,
    parameters: Mapping[str, Any],
    copy: Path,
    *,
    environment: Mapping[str, str] | None = None,
    status: LastLine | None = None,
) -> Outcome:
    """Execute one notebook in a fresh kernel of this interpreter and keep the executed copy.

    A failing cell ends the notebook and is reported in `Outcome.error`, with the cell's number and the error.

    Raises
    ------
    InputError
        The notebook declares no parameters, or not those given.
    """
    notebook_files.check_parameters(notebook.path, parameters)
    import papermill
    from papermill.exceptions import PapermillExecutionError

    copy.parent.mkdir(parents=True, exist_ok=True)
    status = status or LastLine()
    start = time.perf_counter()
    error = None
    try:
        with _kernel_class(environment or {}) as kernel_class:
            papermill.execute_notebook(
                notebook.path,
                copy,
                dict(parameters),
                kernel_name="python3",
                progress_bar=False,
                stdout_file=status,
                stderr_file=status,
                kernel_manager_class=kernel_class,
                shutdown_kernel="immediate",  # results are written by now; a graceful end takes seconds
                resources={"metadata": {"path": str(paths.root())}},
            )
    except PapermillExecutionError as failure:
        error = _cell_error(failure)
    except Exception as failure:  # a kernel that died, a copy that cannot be written: reported the same way
        error = f"{type(failure).__name__}: {failure}"
    return Outcome(notebook.name, time.perf_counter() - start, copy, error)


def run(
    notebooks: Sequence[NotebookFile],
    profile: str,
    overrides: Mapping[str, Any] | None = None,
    *,
    force: bool = False,
    keep_going: bool = False,
    jobs: int = 1,
    stream: TextIO | None = None,
) -> list[Outcome]:
    """Execute notebooks in order, `jobs` at once, with a progress line each.

    `overrides` changes settings of the profile for all of them, by dotted names.

    After a failure nothing more is started unless `keep_going`; what is running then is finished. Ends with
    the line "N passed, N failed".
    """
    if not notebooks:
        raise InputError("no notebook to run")
    if jobs < 1:
        raise InputError(f"--jobs is {jobs}: give 1 or more")
    parameters = {"profile": profile, "force": force}
    for notebook in notebooks:
        notebook_files.check_parameters(notebook.path, parameters)
    config.override(config.profile(profile), **(overrides or {}))  # refused now, not by the first notebook
    environment = {
        paths.RUN_STARTED: repr(time.time()),
        notebook_files.OVERRIDES: json.dumps(overrides or {}),
    }
    board = Board(notebooks, profile, stream or sys.stdout, place=notebook_files.place(profile, overrides))
    board.opening(jobs)
    outcomes = list(
        _schedule(notebooks, parameters, environment, keep_going=keep_going, jobs=jobs, board=board)
    )
    board.closing(outcomes)
    return outcomes


def _schedule(
    notebooks: Sequence[NotebookFile],
    parameters: Mapping[str, Any],
    environment: dict[str, str],
    *,
    keep_going: bool,
    jobs: int,
    board: Board,
) -> Iterator[Outcome]:
    """Outcomes as they come, from at most `jobs` threads.

    The threads are daemons: when the main thread ends, by Ctrl-C too, the process ends, and a kernel whose
    parent is gone ends itself.
    """
    if jobs > 1:
        environment["OMP_NUM_THREADS"] = str(max(1, n_cores() // jobs))
    done: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
    waiting = list(notebooks)
    running = 0

    def work(notebook: NotebookFile, status: LastLine) -> None:
        copy = notebook_files.runs_dir(board.place) / notebook.path.name
        done.put(execute(notebook, parameters, copy, environment=environment, status=status))

    while waiting or running:
        while waiting and running < jobs:
            notebook = waiting.pop(0)
            status = board.started(notebook)
            threading.Thread(target=work, args=(notebook, status), name=notebook.name, daemon=True).start()
            running += 1
        try:
            outcome = done.get(timeout=board.interval)
        except queue.Empty:
            board.tick()
            continue
        running -= 1
        board.finished(outcome)
        if outcome.error and not keep_going:
            waiting.clear()
        yield outcome


@contextmanager
def _kernel_class(environment: Mapping[str, str]) -> Iterator[type]:
    """A class of kernels whose "python3" is this interpreter, whatever kernels the user has installed."""
    from ipykernel.kernelspec import write_kernel_spec
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from traitlets import default

    with tempfile.TemporaryDirectory(prefix="reclib-kernel-") as folder, _closed_event_loop():
        write_kernel_spec(
            os.path.join(folder, "python3"), {"env": {**BATCH, **environment}}, ["--log-level=ERROR"]
        )

        class Kernel(AsyncKernelManager):
            @default("kernel_spec_manager")
            def _our_specs(self) -> KernelSpecManager:
                return KernelSpecManager(kernel_dirs=[folder], ensure_native_kernel=False)

        yield Kernel


@contextmanager
def _closed_event_loop() -> Iterator[None]:
    """Close the event loop that Jupyter's client opens in this thread and leaves to the garbage collector."""
    from jupyter_core.utils import ensure_event_loop

    loop = ensure_event_loop()
    try:
        yield
    finally:
        loop.close()


def _cell_error(failure: Any) -> str:
    """Where a notebook failed and the error's own words, without the traceback that the copy holds."""
    return f"cell {failure.cell_index + 1}: {failure.ename}: {failure.evalue}"
