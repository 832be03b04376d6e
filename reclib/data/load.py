"""One data set from its name or path to windows, with a report of what was dropped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from reclib import assets, paths
from reclib.config import DataConfig
from reclib.data import preprocess, splits, synthetic
from reclib.data.dataset import Dataset, Report, Windows, check_catalogue
from reclib.data.sources import normalized, read
from reclib.schema import InputError

# What prompts call the items, by the beginning of a data set's name.
_DOMAINS = {
    "ml": "movies",
    "movie": "movies",
    "msl_book": "books",
    "msl_toy": "toys",
    "msl_office": "office",
    "msl_clothing": "clothing",
    "games": "games",
    "lastfm": "music",
}


def load(config: DataConfig, *, seed: int) -> Dataset:
    """The data set that `config.source` names, preprocessed and split.

    "synthetic" is made from the seed; an asset's name, a folder's name below RECLIB_DATA and a path are
    read; their format is found from the names of the files (`sources.read`). Ready windows are used as they
    are, titles verbatim; anything else goes through `preprocess.clean` and is cut into windows.

    Raises InputError naming the file, the row and the remedy.
    """
    if config.source == "synthetic":
        interactions, items = synthetic.generate(config.synthetic, seed=seed)
        return _from_tables("synthetic", interactions, items, config)
    folder = _folder(config.source)
    if normalized.has_windows(folder):
        return _from_windows(folder, config)
    interactions, items = read(folder)
    return _from_tables(
        folder.name if folder.name in config.source else config.source, interactions, items, config
    )


def domain_of(name: str) -> str:
    """What prompts call the items of a data set: a key of `text.prompts.DOMAINS`, "items" by default."""
    return next((domain for start, domain in _DOMAINS.items() if name.startswith(start)), "items")


def _folder(source: str) -> Path:
    if source in assets.ASSETS:
        return assets.locate(source)
    path = Path(source).expanduser()
    return path if path.is_dir() else paths.dataset_dir(source)


def _from_tables(name: str, interactions: pd.DataFrame, items: pd.DataFrame, config: DataConfig) -> Dataset:
    report = Report()
    report.add("source", "interactions read", len(interactions))
    report.add("source", "items read", len(items))
    interactions, items = preprocess.clean(interactions, items, config, report)
    sizes = {"history_length": config.history_length, "min_length": config.min_interactions}
    if config.split == "leave_one_out":
        train, valid, test, n_short = splits.leave_one_out(interactions, **sizes)
    elif config.split == "windows":
        windows, n_short = splits.sliding_windows(interactions, **sizes)
        train, valid, test = splits.split_by_time(windows)
    else:
        raise InputError(f'split is {config.split!r}: choose "windows" or "leave_one_out"')
    report.add("windows", "users too short for a window", n_short)
    for part, windows in (("train", train), ("valid", valid), ("test", test)):
        report.add("windows", part, len(windows))
    n_users = interactions["user_id"].nunique()
    return Dataset(
        name, domain_of(name), items, train, valid, test, report.table(), n_users, len(interactions)
    )


def _from_windows(folder: Path, config: DataConfig) -> Dataset:
    report = Report()
    ready = normalized.read_windows(folder)
    items = ready.items
    report.add("titles", "empty, kept (ready windows are used verbatim)", (items["title"] == "").sum())
    shared = items["title"].duplicated(keep=False).sum()
    report.add("titles", "items that share their title with another, kept", shared, "one trie leaf")
    parts = {name: _recent(part, config.history_length) for name, part in ready.parts.items()}
    if "valid" not in parts:
        n_kept = len(parts["train"]) * 8 // 9
        index = np.arange(len(parts["train"]))
        parts["valid"] = parts["train"].take(index[n_kept:])
        parts["train"] = parts["train"].take(index[:n_kept])
        note = "no validation part is published: the last ninth of the training file, not the paper's"
        report.add("windows", "validation windows carved from training", len(parts["valid"]), note)
    for name, part in parts.items():
        check_catalogue(part, len(items), source=f"{folder.name}/sequences_{name}")
        unknown = int(np.isnan(part.timestamp).sum())
        report.add("windows", name, len(part), f"{unknown:,} targets without a time" if unknown else "")
    return Dataset(
        folder.name,
        domain_of(folder.name),
        items,
        parts["train"],
        parts["valid"],
        parts["test"],
        report.table(),
        ready.n_users,
        ready.n_interactions,
    )


def _recent(windows: Windows, length: int) -> Windows:
    """The windows with only their `length` most recent items."""
    return Windows(windows.user_id, windows.history[:, -length:], windows.target_idx, windows.timestamp)
