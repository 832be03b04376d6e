"""One data set from its name or path to windows, with a report of what was dropped."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from reclib import assets, paths
from reclib.config import DataConfig
from reclib.data import preprocess, splits, synthetic
from reclib.data.dataset import Dataset, Report, Windows
from reclib.data.popularity import count_interactions
from reclib.data.sources import normalized, read
from reclib.schema import TITLE, InputError

# What prompts call the items: the first pattern that is found in a data set's name.
_DOMAINS = {
    "^ml[-_]|movie": "movies",
    "book": "books",
    "toy": "toys",
    "office": "office",
    "cloth": "clothing",
    "game": "games",
    "lastfm": "music",
}


def load(config: DataConfig, *, seed: int) -> Dataset:
    """The data set that `config.source` names, preprocessed and split.

    "synthetic" is made from the seed; an asset's name, a folder's name below RECLIB_DATA and a path are
    read; their format is found from the names of the files (`sources.read`). Interactions go through
    `preprocess.clean` and are cut into windows. Ready windows are used as they are, unless leave-one-out is
    asked for: their k-core is the source's, and empty or long titles stay, since the released token counts
    and accuracies are of these texts.

    Raises InputError naming the file, the row and the remedy.
    """
    if config.source == "synthetic":
        interactions, items = synthetic.generate(config.synthetic, seed=seed)
        return _from_tables("synthetic", interactions, items, config, Report())
    folder = _folder(config.source)
    name = config.source if config.source in assets.ASSETS else folder.resolve().name
    if config.split == "windows" and normalized.has_windows(folder):
        return _from_windows(name, folder, config)
    report = Report()
    interactions, items = read(folder, report)
    return _from_tables(name, interactions, items, config, report)


def domain_of(name: str) -> str:
    """What prompts call the items of a data set: a key of `text.prompts.DOMAINS`, "items" by default."""
    return next((domain for words, domain in _DOMAINS.items() if re.search(words, name.lower())), "items")


def _folder(source: str) -> Path:
    if source in assets.ASSETS:
        return assets.locate(source)
    if Path(source).name == source:  # a name, not a path such as ./name
        return paths.dataset_dir(source)
    path = Path(source).expanduser()
    if not path.is_dir():
        raise InputError(f"{path} is not a folder; give the folder that holds the data set's files")
    return path


def _from_tables(
    name: str, interactions: pd.DataFrame, items: pd.DataFrame, config: DataConfig, report: Report
) -> Dataset:
    report.add("source", "interactions read", len(interactions))
    report.add("source", "items read", len(items))
    sequences, items = preprocess.clean(interactions, items, config, report)
    n_users = len(pd.unique(sequences.user_id))
    sizes = {"length": config.history_length + 1, "min_length": config.min_interactions}
    if config.split == "leave_one_out":
        train, valid, test = splits.leave_one_out(sequences, **sizes)
        n_served = len(test)
    else:
        windows = splits.sliding_windows(sequences, **sizes)
        train, valid, test = splits.split_by_time(windows)
        n_served = len(pd.unique(windows.user_id))
    report.add("windows", "users with too few interactions for a window", n_users - n_served)
    _report_windows({"train": train, "valid": valid, "test": test}, report)
    return Dataset(
        name=name,
        domain=domain_of(name),
        items=items,
        train=train,
        valid=valid,
        test=test,
        report=report.table(),
        counts=count_interactions(train, len(items)),
        n_users=n_users,
        n_interactions=len(sequences.item_idx),
    )


def _from_windows(name: str, folder: Path, config: DataConfig) -> Dataset:
    if config.min_rating is not None:
        raise InputError(f"{folder} holds ready windows, which have no ratings; leave min_rating None")
    report = Report()
    ready = normalized.read_windows(folder)
    report.add("source", "interactions read", ready.n_interactions)
    report.add("source", "items read", len(ready.items))
    n_empty = (ready.items[TITLE].str.strip() == "").sum()
    report.add("titles", "items without a title, kept", n_empty, "titles of ready windows are verbatim")
    preprocess.add_shared_titles(ready.items, report)
    parts = ready.parts if "valid" in ready.parts else _with_valid(ready.parts, report)
    n_cut = sum((part.history[:, : -config.history_length] > 0).any(axis=1).sum() for part in parts.values())
    report.add("windows", f"histories cut to their {config.history_length} most recent items", n_cut)
    _report_windows(parts, report)
    return Dataset(
        name=name,
        domain=domain_of(name),
        items=ready.items,
        train=parts["train"].recent(config.history_length),
        valid=parts["valid"].recent(config.history_length),
        test=parts["test"].recent(config.history_length),
        report=report.table(),
        counts=count_interactions(parts["train"], len(ready.items)),
        n_users=ready.n_users,
        n_interactions=ready.n_interactions,
    )


def _with_valid(parts: dict[str, Windows], report: Report) -> dict[str, Windows]:
    """The parts with the last ninth of the training windows, by time where it is known, for validation."""
    train = parts["train"]
    order = (
        np.arange(len(train))
        if np.isnan(train.timestamp).any()
        else np.argsort(train.timestamp, kind="stable")
    )
    kept, held = np.split(order, [len(train) * 8 // 9])
    note = "no validation part is published: the last ninth of the training part, not the paper's"
    report.add("windows", "validation windows carved from training", len(held), note)
    return {"train": train.take(kept), "valid": train.take(held), "test": parts["test"]}


def _report_windows(parts: dict[str, Windows], report: Report) -> None:
    for name in ("train", "valid", "test"):
        time = parts[name].timestamp
        is_known = ~np.isnan(time)
        notes = [f"{(~is_known).sum():,} targets of unknown time"] if not is_known.all() else []
        notes += ["not in the order of time"] if (np.diff(time[is_known]) < 0).any() else []
        report.add("windows", name, len(parts[name]), "; ".join(notes))
