"""What this machine has and lacks for a profile, each gap with its remedy: `python -m reclib doctor`."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from reclib import assets, config, environment, notebook_files, paths
from reclib.config import Profile
from reclib.notebook_files import NotebookFile
from reclib.schema import InputError

GIB = 2**30
# SmolLM2 with its optimiser, a batch and the kernel: 5 GiB were seen; downloads, cache and figures: 2 GiB.
MEMORY_NEEDED = 6 * GIB
DISK_NEEDED = 3 * GIB
SETTINGS = {
    "RECLIB_CACHE": "where results and downloads go",
    "RECLIB_DATA": "data sets that cannot be downloaded, one folder each",
    "RECLIB_ASSETS": "wheels of models and data fetched by hand",
}


class Finding(NamedTuple):
    """One thing looked at: ``missing`` stops a run of the profile, ``note`` does not."""

    what: str
    state: Literal["ok", "note", "missing"]
    value: str
    remedy: str = ""


def examine(profile: str = "default") -> list[Finding]:
    """All findings for a profile, in the order a person would mend them."""
    settings = config.profile(profile)
    return [
        *_python(),
        *_packages(),
        *_hardware(settings),
        *_folders(),
        *_data(settings),
        *_assets(settings),
    ]


def needed_assets(profile: Profile, notebooks: Iterable[NotebookFile]) -> list[str]:
    """Names of the models and data sets that notebooks use in a profile, of those that `assets` can fetch."""
    needed = [profile.lm.name, *_sources(profile)]
    if profile.name != "smoke":
        needed += [name for notebook in notebooks for name in notebook.assets]
    return [name for name in dict.fromkeys(needed) if name in assets.ASSETS]


def _sources(profile: Profile) -> list[str]:
    """Every data set that a profile names, its own first."""
    return list(dict.fromkeys(each.source for each in config.data_configs(profile)))


def _python() -> Iterator[Finding]:
    version = platform.python_version()
    if environment.python_is_supported(version):
        yield Finding("Python", "ok", version)
    else:
        remedy = f"use Python {environment.python_range()}: conda env create -f environment.yml"
        yield Finding("Python", "missing", version, remedy)


def _packages() -> Iterator[Finding]:
    """Versions of what reclib needs; what only its development needs is a note."""
    needed = {row.name for row in environment.installed(extra=None)}
    for row in environment.installed():
        if row.is_met:
            yield Finding(row.name, "ok", row.version or "")
        else:
            remedy = f'pip install -c constraints.txt "{row.requirement}"'
            yield Finding(
                row.name, "missing" if row.name in needed else "note", row.version or "absent", remedy
            )


def _hardware(profile: Profile) -> Iterator[Finding]:
    import psutil
    import torch

    if torch.cuda.is_available():
        yield Finding("device", "ok", torch.cuda.get_device_name())
    elif profile.name == "paper":
        yield Finding("device", "note", "cpu", "profile paper takes days on a CPU: use a machine with a GPU")
    else:
        yield Finding("device", "ok", "cpu")
    threads = os.environ.get("OMP_NUM_THREADS")
    limited = f", OMP_NUM_THREADS={threads}" if threads else ""
    yield Finding("threads", "ok", f"{environment.n_cores()} cores{limited}")
    memory = psutil.virtual_memory().available
    is_enough = memory >= MEMORY_NEEDED or profile.name == "smoke"
    remedy = "" if is_enough else f"{MEMORY_NEEDED / GIB:.0f} GiB are needed: close other programs, --jobs 1"
    yield Finding("free memory", "ok" if is_enough else "note", f"{memory / GIB:.1f} GiB", remedy)


def _folders() -> Iterator[Finding]:
    cache = paths.cache_dir()
    existing = next(folder for folder in (cache, *cache.parents) if folder.is_dir())
    free = shutil.disk_usage(existing).free
    if not os.access(existing, os.W_OK):
        yield Finding("cache", "missing", str(cache), "not writable: set RECLIB_CACHE to a folder that is")
    elif free < DISK_NEEDED:
        remedy = f"{DISK_NEEDED / GIB:.0f} GiB are needed: free some, or set RECLIB_CACHE to another disk"
        yield Finding("cache", "missing", f"{cache}: {free / GIB:.1f} GiB free", remedy)
    else:
        yield Finding("cache", "ok", f"{cache}: {free / GIB:.1f} GiB free")
    for name, meaning in SETTINGS.items():
        value = os.environ.get(name)
        if not value:
            yield Finding(name, "ok", f"not set ({meaning})")
        elif name != "RECLIB_CACHE" and not Path(value).is_dir():
            yield Finding(name, "missing", value, f"it is not a folder: point it at {meaning}, or unset it")
        else:
            yield Finding(name, "ok", value)


def _data(profile: Profile) -> Iterator[Finding]:
    """The data sets of a profile that have to be there already."""
    for source in _sources(profile):
        if source == "synthetic" or source in assets.ASSETS:
            continue
        try:
            yield Finding(f"data {source}", "ok", str(paths.dataset_dir(source)))
        except InputError as error:
            yield Finding(f"data {source}", "missing", "absent", str(error))


def _assets(profile: Profile) -> Iterator[Finding]:
    needed = needed_assets(profile, notebook_files.discover())
    for name in assets.ASSETS:
        if assets.is_fetched(name):
            yield Finding(name, "ok", "fetched")
        else:
            state: Literal["note", "missing"] = "missing" if name in needed else "note"
            yield Finding(name, state, "not fetched", f"python -m reclib fetch {name}")
