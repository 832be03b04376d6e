"""Every path, from the root of the repository; the environment may move the data and the cache.

Also the name of the variable by which a batch run tells its kernels that nobody watches them.
"""

from __future__ import annotations

import os
from pathlib import Path

from reclib.schema import InputError

# The runner sets it for its kernels, to the time it started. With `force`, a step is computed again only
# if its result is older than that, so notebooks that share a step compute it once a run. Training prints
# lines, for only text reaches the terminal of a run.
RUN_STARTED = "RECLIB_RUN_STARTED"


def root() -> Path:
    """Root of the repository: the folder that holds the package."""
    return Path(__file__).resolve().parent.parent


def figures_dir() -> Path:
    """Committed figures, with `tables/` below."""
    return root() / "figures"


def notebooks_dir() -> Path:
    """The numbered notebooks."""
    return root() / "notebooks"


def papers_dir() -> Path:
    """Printed numbers of the papers, statements and deviations."""
    return Path(__file__).resolve().parent / "papers"


def cache_dir() -> Path:
    """Results and downloads: `RECLIB_CACHE`, or `artifacts/` in the repository."""
    return Path(os.environ.get("RECLIB_CACHE") or root() / "artifacts").expanduser().resolve()


def assets_dir() -> Path:
    """Fetched models and data sets."""
    return cache_dir() / "assets"


def data_dir() -> Path | None:
    """Folder of data sets that cannot be downloaded (`RECLIB_DATA`), None where it is not set."""
    return _from_environment("RECLIB_DATA")


def local_assets_dir() -> Path | None:
    """Folder of wheels fetched by hand (`RECLIB_ASSETS`), None where it is not set."""
    return _from_environment("RECLIB_ASSETS")


def dataset_dir(name: str) -> Path:
    """Folder of a data set below `RECLIB_DATA`.

    Raises InputError where the setting or the folder is missing.
    """
    folder = data_dir()
    if folder is None:
        raise InputError(
            f"data set {name}: RECLIB_DATA is not set; point it at the folder that holds {name}/"
        )
    if not (folder / name).is_dir():
        found = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
        raise InputError(f"no data set {name} in {folder}; it holds {', '.join(found) or 'no folder'}")
    return folder / name


def _from_environment(name: str) -> Path | None:
    value = os.environ.get(name)
    return Path(value).expanduser().resolve() if value else None
