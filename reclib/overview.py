"""What is fetched, run and cached, and where the papers' numbers stand: `python -m reclib status`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from reclib import assets, config, notebook_files, paths, registry


def sections() -> Iterator[tuple[str, str]]:
    """Titles, and under each a table as text."""
    yield "Models and data", _text(assets.status())
    yield "Notebooks run", _text(runs())
    yield "Cached steps", _text(cached_steps())
    yield "The papers' numbers", _text(registry.summary().reset_index())


def runs() -> pd.DataFrame:
    """One row for each notebook and profile that ran to its end, from the records `Run.finish` writes.

    A changed profile is named by where its results lie, "custom/msl_book".
    """
    folders = [notebook_files.runs_dir(profile) for profile in config.PROFILES]
    custom = notebook_files.runs_dir(notebook_files.CUSTOM)
    folders += [custom, *sorted(path for path in custom.glob("*") if path.is_dir())]
    records = [
        json.loads(path.read_text("utf-8"))
        for folder in folders
        for path in sorted(folder.glob("[0-9][0-9]_*.json"))
    ]
    rows = [
        {**record, "steps": len(record["steps"]), "figures": len(record["figures"])} for record in records
    ]
    return pd.DataFrame(rows, columns=["notebook", "profile", "finished", "seconds", "steps", "figures"])


def profiles() -> pd.DataFrame:
    """The settings that differ between the three profiles, one row each, and their values."""
    flat = {name: pd.json_normalize(asdict(settings)).iloc[0] for name, settings in config.PROFILES.items()}
    table = pd.DataFrame(flat)
    return table[table.astype(str).nunique(axis=1) > 1]


def cached_steps() -> pd.DataFrame:
    """Count and size of the finished artifacts of each step, and of those a kill left unfinished."""
    folders = [path.parent for path in paths.cache_dir().glob("*/provenance.json")]
    unfinished = list(paths.cache_dir().glob("*.partial"))
    rows = [
        (folder.name.removesuffix(".partial").rsplit("-", 1)[0], folder in unfinished, _megabytes(folder))
        for folder in dict.fromkeys([*folders, *unfinished])
    ]
    table = pd.DataFrame(rows, columns=["step", "unfinished", "MB"])
    table.insert(1, "finished", ~table["unfinished"].astype(bool))
    return table.groupby("step", as_index=False).sum()


def _megabytes(folder: Path) -> float:
    return round(sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6, 1)


def _text(table: pd.DataFrame) -> str:
    return "  none yet" if table.empty else table.to_string(index=False)
