"""Readers: each turns one file format into tables of interactions and items."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from reclib.data.dataset import Report
from reclib.data.sources import amazon, movielens, normalized, recbole
from reclib.schema import InputError


def read(folder: Path, report: Report) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Interactions (user_id, item_id, timestamp, maybe rating) and items (item_id, title, …) of a folder.

    The format is found from the names of its files; a reader counts in `report` what it changes.
    Raises InputError where no format is known.
    """
    for reader in (recbole, normalized, movielens, amazon):
        if reader.recognises(folder):
            return reader.read(folder, report)
    found = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
    raise InputError(
        f"{folder}: no known format; it holds {found}. Known are *.inter and *.item, items.csv and "
        f"interactions.csv, u.data, ratings.dat or ratings.csv, and Amazon's reviews*.json and meta*.json"
    )
