"""Get-or-compute cache of steps, keyed by a hash of what each step reads; atomic writes; provenance."""

from __future__ import annotations

import errno
import json
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reclib import paths
from reclib.config import canonical_json, config_hash
from reclib.schema import InputError

if TYPE_CHECKING:
    import pandas as pd

_PACKAGES = ("torch", "transformers", "peft", "numpy", "pandas", "scikit-learn")
_RESULTS = "results.json"  # name → kind; its presence beside provenance.json marks a complete result
_ENDINGS = {"table": ".parquet", "json": ".json", "arrays": ".npz"}


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
    force: bool = False,
    **kwargs: Any,
) -> Artifact:
    """The result of a step: from the cache, or `function(config, seed=, workdir=, **kwargs)`.

    The key is a hash of step, config, the keys upstream, seed and `schema_version`, which is raised by hand
    when the code gives another result. `kwargs` are handed on and not hashed: what they are must follow from
    the key. `function` returns named tables (DataFrame), dictionaries of JSON values, or dictionaries of
    arrays; files it writes into `workdir` stay in the result. After a kill the same `workdir` is handed over
    again, so that a step can go on from its checkpoints. Two processes never compute one key at once.

    Raises InputError for a full disk, and for a result that is none of these kinds; no result is left then.
    """
    from filelock import FileLock

    keys = [each if isinstance(each, str) else each.key for each in upstream]
    key = config_hash([step, config, keys, seed, schema_version])
    folder = paths.cache_dir() / f"{step}-{key}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if force and folder.is_dir():
            shutil.rmtree(folder)
        if not folder.is_dir():
            origin = {
                "step": step,
                "key": key,
                "config": json.loads(canonical_json(config)),
                "upstream": keys,
                "seed": seed,
                "schema_version": schema_version,
            }
            try:
                _compute(
                    folder, lambda workdir: function(config, seed=seed, workdir=workdir, **kwargs), origin
                )
            except OSError as error:
                raise _explained(error, folder) from error
    return Artifact(folder)


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


def atomic_write(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write` with a path beside `path`, flush it to the disk and rename it.

    Nothing half-written stays; a full disk is an InputError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial{path.suffix}")
    try:
        write(partial)
        _flush(partial)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise _explained(error, path) from error
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _compute(folder: Path, function: Callable[[Path], Mapping[str, Any]], origin: dict[str, Any]) -> None:
    partial = folder.with_name(f"{folder.name}.partial")
    partial.mkdir(exist_ok=True)
    start = time.perf_counter()
    results = function(partial)
    origin |= {"seconds": round(time.perf_counter() - start, 3)} | provenance()
    kinds = {name: _write(partial, name, value) for name, value in results.items()}
    for name, value in ((_RESULTS, kinds), ("provenance.json", origin)):
        (partial / name).write_text(json.dumps(value, indent=1), "utf-8")
    for path in partial.rglob("*"):
        if path.is_file():
            _flush(path)
    partial.rename(folder)
    _flush(folder.parent)


def _write(folder: Path, name: str, value: Any) -> str:
    """Write one result and return its kind."""
    import numpy as np
    import pandas as pd

    if isinstance(value, pd.DataFrame):
        value.to_parquet(folder / f"{name}.parquet")
        return "table"
    if isinstance(value, np.ndarray):
        value = {name: value}
    is_dict = isinstance(value, Mapping)
    if is_dict and value and all(isinstance(each, np.ndarray) for each in value.values()):
        np.savez_compressed(folder / f"{name}.npz", allow_pickle=False, **value)
        return "arrays"
    if is_dict:
        (folder / f"{name}.json").write_text(json.dumps(value, indent=1, allow_nan=False), "utf-8")
        return "json"
    raise InputError(
        f"{folder.name}: result {name!r} is a {type(value).__name__}; return a table, a dictionary or arrays"
    )


def _read(path: Path) -> Any:
    import numpy as np
    import pandas as pd

    if path.suffix == ".parquet":
        return _table(pd.read_parquet(path))
    if path.suffix == ".json":
        return json.loads(path.read_text("utf-8"))
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _table(table: pd.DataFrame) -> pd.DataFrame:
    """The table as it was handed in, without the notes that Parquet keeps on it."""
    table.attrs = {}
    return table


def _flush(path: Path) -> None:
    """Wait until a file or folder is on the disk, so that a rename never reveals less than the whole."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _explained(error: OSError, path: Path) -> OSError | InputError:
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return error
    return InputError(
        f"the disk is full: {path} was not written, and nothing half-written is used; free some space there "
        f"or set RECLIB_CACHE to another disk, then run again: finished steps are kept"
    )


def _commit() -> str:
    """Commit of the working tree, with "-dirty" where tracked files differ; "unknown" outside of git."""
    command = [
        "git",
        "-C",
        str(paths.root()),
        "describe",
        "--always",
        "--dirty",
        "--abbrev=12",
        "--exclude=*",
    ]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "unknown"
    return said.stdout.strip() if said.returncode == 0 else "unknown"
