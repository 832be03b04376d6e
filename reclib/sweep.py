"""A grid of runs on the processes of this machine or on any cluster, through Dask.

    sweep.run(msl_runs.ranked, cells)                                  # processes of this machine
    sweep.run(msl_runs.ranked, cells, scheduler="tcp://127.0.0.1:8786")  # a cluster that is there

A cell is a configuration, and its result an artifact of the cache, which all workers must share. So what is
finished is never computed again, whoever dies: a worker takes its own cell with it, which another begins anew
or where its checkpoints end; after the scheduler, the same call goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from reclib import paths
from reclib.artifacts import Artifact
from reclib.config import config_hash
from reclib.environment import n_cores
from reclib.schema import InputError

C = TypeVar("C")


def run(
    function: Callable[[C], Artifact],
    cells: Sequence[C],
    *,
    scheduler: str | None = None,
    n_workers: int | None = None,
    resources: Mapping[str, float] | None = None,
) -> list[Artifact]:
    """The artifact of each cell, in the order of the cells.

    A cell that raises ends the sweep with its error; what is finished stays in the cache. A cell whose worker
    dies is run again, up to Dask's own limit.

    function: by its name importable on every worker; its artifacts must follow from the cell
    scheduler: address of a Dask scheduler; by default processes are started here, `n_workers` of them, one a
        core unless given, and ended with the sweep
    resources: that each cell takes of its worker, such as {"GPU": 1}

    Raises InputError where Dask is not installed, and where a worker's cache is not this one.
    """
    with _client(scheduler, n_workers) as client:
        if find_spec("bokeh") and client.dashboard_link:
            print(f"sweep: {len(cells)} cells, dashboard at {client.dashboard_link}", flush=True)
        futures = [
            client.submit(
                _path_of, function, cell, key=_key(function, cell, place), resources=resources, pure=False
            )
            for place, cell in enumerate(cells)
        ]
        for n_done, future in enumerate(_dask().as_completed(futures), start=1):
            name = Path(future.result()).name
            print(f"sweep: {n_done} of {len(cells)}  {name}", flush=True)
        return [_opened(Path(future.result())) for future in futures]


@contextmanager
def _client(scheduler: str | None, n_workers: int | None) -> Iterator[Any]:
    """A client of the scheduler, or of processes that live as long as this block."""
    distributed = _dask()
    if scheduler:
        with distributed.Client(scheduler) as client:
            yield client
        return
    n_workers = n_workers or n_cores()
    threads = {"OMP_NUM_THREADS": str(max(1, n_cores() // n_workers))}
    local = {"n_workers": n_workers, "threads_per_worker": 1, "dashboard_address": ":0", "env": threads}
    with distributed.LocalCluster(**local) as cluster, distributed.Client(cluster) as client:
        yield client


def _dask() -> Any:
    """The package `distributed`, an optional one."""
    try:
        return import_module("distributed")
    except ModuleNotFoundError:
        raise InputError("a sweep needs Dask: pip install -e '.[sweep]' in this checkout") from None


def _key(function: Callable[..., Any], cell: Any, place: int) -> str:
    """Name of a task, shown by the dashboard: the function, the configuration, and its place in the list."""
    return f"{function.__name__}-{config_hash(cell)}-{place}"


def _path_of(function: Callable[[C], Artifact], cell: C) -> str:
    """Compute a cell on a worker; only the name of its artifact travels."""
    return str(function(cell).path)


def _opened(path: Path) -> Artifact:
    """The artifact in this process's cache."""
    own = paths.cache_dir() / path.name
    if not own.is_dir():
        raise InputError(
            f"a worker wrote {path}, which is not in {paths.cache_dir()}: all workers of a sweep must share "
            "one cache; set RECLIB_CACHE to the same folder for them and here"
        )
    return Artifact(own)
