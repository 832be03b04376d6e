"""Get-or-compute cache of steps, keyed by a hash of what each step reads; atomic writes; provenance."""

from __future__ import annotations

import contextlib
import functools
import json
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from reclib import paths
from reclib.config import canonical_json, config_hash
from reclib.files import PARTIAL, explained, locked, publish
from reclib.schema import InputError

if TYPE_CHECKING:
    import pandas as pd

_PACKAGES = ("torch", "transformers", "tokenizers", "peft", "numpy", "pandas")
_RESULTS = "results.json"  # name → kind
_ENDINGS = {"table": ".parquet", "json": ".json", "arrays": ".npz"}
_DISCARDED = ".discarded"  # a result on its way out
_NAME = re.compile(r"(?P<result>(?P<step>.+)-[0-9a-f]{16})(?P<ending>(\.partial|\.discarded)*)")


class Artifact(Mapping[str, Any]):
    """The finished result of a step: named tables, dictionaries and arrays, read when asked for.

    Attributes
    ----------
    path
        Its folder, which also keeps the files that the step wrote there itself.
    key
        The hash that names it; give the artifact as `upstream` to what is computed from it.
    provenance
        Where it comes from: step, configuration, seed, commit, versions, device, seconds.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.key = path.name.rsplit("-", 1)[1]
        self.provenance: dict[str, Any] = json.loads((path / "provenance.json").read_text("utf-8"))
        self._kinds: dict[str, str] = json.loads((path / _RESULTS).read_text("utf-8"))
        self._read: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._kinds:
            raise KeyError(f"{self.path.name} holds {', '.join(self._kinds) or 'no result'}, not {name!r}")
        if name not in self._read:
            self._read[name] = _read(self.path / f"{name}{_ENDINGS[self._kinds[name]]}")
        return self._read[name]

    def __contains__(self, name: object) -> bool:
        return name in self._kinds

    def __iter__(self) -> Iterator[str]:
        return iter(self._kinds)

    def __len__(self) -> int:
        return len(self._kinds)

    def __repr__(self) -> str:
        return f"Artifact({self.path.name}: {', '.join(self._kinds)})"


def get_or_compute(
    step: str,
    function: Callable[..., Mapping[str, Any]],
    config: Any,
    *,
    upstream: Sequence[Artifact | str] = (),
    seed: int,
    schema_version: int = 1,
    fresh_since: float = 0.0,
    **kwargs: Any,
) -> Artifact:
    """The result of a step: from the cache, or `function(config, seed=, workdir=, **kwargs)`.

    The key is a hash of step, config, the keys upstream, seed and `schema_version`, which is raised by hand
    when the code gives another result. A data set's name says nothing of its files: a step that reads one
    has the data's fingerprint upstream, as its first, or an artifact that has. `kwargs` are handed on and not
    hashed: what they are must follow from the key. `function` returns named tables (DataFrame), dictionaries
    of JSON values, or dictionaries of arrays; files it writes into `workdir` stay in the result. After a kill
    the same `workdir` is handed over again, so that a step can go on from its checkpoints. Two processes
    never compute one key at once.

    A result that was finished before `fresh_since`, in seconds since 1970, is removed and computed again.

    Raises InputError for a full disk, and for a result that is none of these kinds; no result is left then.
    """
    keys = [each if isinstance(each, str) else each.key for each in upstream]
    key = config_hash([step, config, keys, seed, schema_version])
    origin = {
        "step": step,
        "key": key,
        "config": json.loads(canonical_json(config)),
        "upstream": keys,
        "seed": seed,
        "schema_version": schema_version,
    }
    folder = paths.cache_dir() / f"{step}-{key}"
    with locked(folder), explained(folder):
        # decided under the lock: of two that find an old result the second gets what the first computes
        if folder.is_dir() and _finished_at(folder) < fresh_since:
            _discard(folder)
            _discard(_partial(folder))
        if not folder.is_dir():
            _compute(folder, functools.partial(function, config, seed=seed, **kwargs), origin)
        return Artifact(folder)


def cached() -> pd.DataFrame:
    """One row for each finished result: step, key, seconds it took, megabytes, created; oldest first."""
    import pandas as pd

    rows = []
    for folder, name in _folders():
        if name["ending"]:
            continue
        origin = json.loads((folder / "provenance.json").read_text("utf-8"))
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        rows.append((origin["step"], origin["key"], origin["seconds"], size / 1e6, origin["date"]))
    table = pd.DataFrame(rows, columns=["step", "key", "seconds", "megabytes", "created"])
    return table.sort_values(["created", "step", "key"], ignore_index=True)


def clear(step: str | None = None, *, older_than_days: float = 0.0) -> list[str]:
    """Remove results, and what kills left unfinished; returns the names of the folders removed.

    Of one step or of all, last written that many days ago or more. What a process is at work on stays.
    """
    removed = []
    for folder, name in list(_folders()):
        if step not in (None, name["step"]):
            continue
        lock = FileLock(folder.with_name(f"{name['result']}.lock"))
        with contextlib.suppress(Timeout, FileNotFoundError), lock.acquire(timeout=0):
            if time.time() - folder.stat().st_mtime >= older_than_days * 86_400:
                _discard(folder)
                removed.append(folder.name)
    return removed


def provenance() -> dict[str, Any]:
    """Commit, versions, device, threads, platform and time of what is running now."""
    import torch

    from reclib.environment import n_cores

    is_cuda = torch.cuda.is_available()
    return {
        "commit": _commit(),
        "device": torch.cuda.get_device_name() if is_cuda else f"cpu ({n_cores()} cores)",
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "versions": {package: metadata.version(package) for package in _PACKAGES},
        "date": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


def _compute(folder: Path, function: Callable[..., Mapping[str, Any]], origin: Mapping[str, Any]) -> None:
    partial = _partial(folder)
    partial.mkdir(exist_ok=True)
    start = time.perf_counter()
    results = function(workdir=partial)
    seconds = round(time.perf_counter() - start, 3)
    kinds = {name: _write(partial, name, value) for name, value in results.items()}
    made = {**origin, "seconds": seconds, **provenance()}
    for name, value in ((_RESULTS, kinds), ("provenance.json", made)):
        (partial / name).write_text(json.dumps(value, indent=1), "utf-8")
    publish(partial, folder)


def _finished_at(folder: Path) -> float:
    return (folder / "provenance.json").stat().st_mtime


def _partial(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}{PARTIAL}")


def _folders() -> Iterator[tuple[Path, re.Match[str]]]:
    """Folders of results in the cache, finished or not, with the parts of their names."""
    cache = paths.cache_dir()
    for path in sorted(cache.iterdir()) if cache.is_dir() else ():
        name = _NAME.fullmatch(path.name)
        if name and path.is_dir():
            yield path, name


def _discard(folder: Path) -> None:
    """Remove a folder; it loses its name first, so that a kill never leaves a finished one with holes."""
    discarded = folder.with_name(f"{folder.name.removesuffix(_DISCARDED)}{_DISCARDED}")
    if folder.is_dir() and folder != discarded:
        shutil.rmtree(discarded, ignore_errors=True)
        folder.rename(discarded)
    shutil.rmtree(discarded, ignore_errors=True)


def _write(folder: Path, name: str, value: Any) -> str:
    """Write one result and return its kind."""
    import numpy as np

    from reclib.arrays import write_arrays

    if isinstance(value, np.ndarray):
        value = {name: value}
    try:
        kind = _kind(value)
        path = folder / f"{name}{_ENDINGS[kind]}"
        if path.parent != folder or path.name in (_RESULTS, "provenance.json"):
            raise ValueError("it needs another name")
        if kind == "table":
            value.to_parquet(path)
        elif kind == "arrays":
            write_arrays(path, value, is_compressed=True)
        else:
            path.write_text(json.dumps(value, indent=1, allow_nan=False), "utf-8")
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{folder.name}: result {name!r} cannot be kept ({error}); return tables, dictionaries of JSON "
            f"values without NaN, or dictionaries of arrays of numbers or text"
        ) from error
    return kind


def _kind(value: Any) -> str:
    import numpy as np
    import pandas as pd

    if isinstance(value, pd.DataFrame):
        return "table"
    if not isinstance(value, Mapping):
        raise TypeError(f"it is a {type(value).__name__}")
    return "arrays" if any(isinstance(each, np.ndarray) for each in value.values()) else "json"


def _read(path: Path) -> Any:
    import pandas as pd

    from reclib.arrays import read_arrays

    if path.suffix == ".parquet":
        return _table(pd.read_parquet(path))
    if path.suffix == ".json":
        return json.loads(path.read_text("utf-8"))
    return read_arrays(path)


def _table(table: pd.DataFrame) -> pd.DataFrame:
    """The table as it was handed in, without the notes that Parquet keeps on it."""
    table.attrs = {}
    return table


def _commit() -> str:
    """Commit of the working tree, with "-dirty" where tracked files differ; "unknown" outside of git.

    Figures are left out: they are what a run writes, not what it depends on.
    """
    root, figures = paths.root(), paths.figures_dir()
    written = [f":(exclude){figures.relative_to(root)}"] if figures.is_relative_to(root) else []
    run = functools.partial(subprocess.run, cwd=root, capture_output=True, text=True, check=False)
    try:
        said = run(["git", "rev-parse", "--short=12", "HEAD"])
        changed = run(["git", "diff", "--quiet", "HEAD", "--", ".", *written])
    except FileNotFoundError:
        return "unknown"
    if said.returncode:
        return "unknown"
    return said.stdout.strip() + ("-dirty" if changed.returncode else "")
