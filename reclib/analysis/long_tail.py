"""How unevenly popularity falls on items: the tables of the long tail, in the data and in a prior."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reclib.config import PAPER, DataConfig, Profile
from reclib.data.dataset import Dataset
from reclib.data.load import load
from reclib.data.popularity import is_head, train_counts
from reclib.paths import data_dir

# The data sets of [MSL] that we have, under the names its tables print.
PRINTED_DATASETS = {"msl_toy": "Toy", "msl_book": "Book", "msl_office": "Office"}

KINDS = {"data": "data_popularity", "prior": "prior_popularity"}  # of long tail: their columns of items

FREQUENCY_EDGES = (0, 1, 5, 10, 20, 50, 100, 200, 500)


def popularity_curve(counts: np.ndarray) -> pd.DataFrame:
    """Items sorted by training interactions, with the share that the most popular ones take together.

    counts: (N+1,) training interactions by `item_idx`; entry 0 is padding and left out.
    Returns one row an item: rank (1 is the most popular), count, cumulative_share, is_head.
    """
    order = np.argsort(-counts[1:], kind="stable") + 1
    sorted_counts = counts[order]
    return pd.DataFrame(
        {
            "rank": np.arange(1, len(order) + 1),
            "count": sorted_counts,
            "cumulative_share": np.cumsum(sorted_counts) / max(1, sorted_counts.sum()),
            "is_head": is_head(counts)[order],
        }
    )


def items_by_frequency(counts: np.ndarray, edges: Sequence[int] = FREQUENCY_EDGES) -> pd.DataFrame:
    """How many items, and how many of the interactions, fall in each bin of training counts.

    A bin holds the counts from its edge up to the next edge, the last one is open.
    Returns one row a bin: low, label, items, item_share, interaction_share.
    """
    bins = np.digitize(counts[1:], edges) - 1
    items = np.bincount(bins, minlength=len(edges))
    interactions = np.bincount(bins, weights=counts[1:], minlength=len(edges))
    return pd.DataFrame(
        {
            "low": list(edges),
            "label": _bin_labels(edges),
            "items": items,
            "item_share": items / items.sum(),
            "interaction_share": interactions / max(1.0, interactions.sum()),
        }
    )


def _bin_labels(edges: Sequence[int]) -> list[str]:
    closed = [
        f"{low}" if high == low + 1 else f"{low}–{high - 1}"
        for low, high in zip(edges, edges[1:], strict=False)
    ]
    return [*closed, f"≥{edges[-1]}"]


def concentration(counts: np.ndarray) -> dict[str, float]:
    """Summary of a popularity distribution.

    head_share: interactions on the top 20 % of items; gini: Gini coefficient of the counts;
    below_five: share of items with fewer than five training interactions; unseen: share with none.
    """
    values = np.sort(counts[1:].astype(float))
    n_items, total = len(values), max(1.0, values.sum())
    ranks = np.arange(1, n_items + 1)
    return {
        "head_share": float(counts[1:][is_head(counts)[1:]].sum() / total),
        "gini": float((2 * ranks - n_items - 1) @ values / (n_items * total)),
        "below_five": float((values < 5).mean()),
        "unseen": float((values == 0).mean()),
    }


def two_curves(items: pd.DataFrame) -> pd.DataFrame:
    """Both long tails of one catalogue, each with the items sorted by its own popularity.

    items: `prior_popularity.item_table`. Returns kind ("data", "prior"), rank, share (of all popularity),
    is_head; one row an item and kind.
    """
    parts = []
    for kind, column in KINDS.items():
        rows = items.sort_values(column, ascending=False, kind="stable")
        parts.append(
            pd.DataFrame(
                {
                    "kind": kind,
                    "rank": np.arange(1, len(rows) + 1),
                    "share": rows[column].to_numpy(),
                    "is_head": rows[f"{kind}_head"].to_numpy(),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def two_tails(items: pd.DataFrame) -> pd.DataFrame:
    """How heavy both tails are: kind, head_share (of the top 20 % of items), gini.

    items: `prior_popularity.item_table`.
    """
    rows = []
    for kind, column in KINDS.items():
        found = concentration(np.append(0.0, items[column].to_numpy()))
        rows.append((kind, found["head_share"], found["gini"]))
    return pd.DataFrame(rows, columns=["kind", "head_share", "gini"])


def by_dataset(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Tables of several data sets below one another, the name of the data set in the first column."""
    return pd.concat(tables, names=["dataset"]).reset_index(level=0).reset_index(drop=True)


@dataclass(frozen=True, kw_only=True)
class LongTailConfig:
    """The profile's own data set, and others whose tails are shown beside it."""

    data: DataConfig
    others: tuple[str, ...]

    @property
    def sources(self) -> list[DataConfig]:
        """Every data set that is read, the profile's own first."""
        return with_others(self.data, self.others)


def config(profile: Profile) -> LongTailConfig:
    """The data sets of the MSL paper are added where they are at hand; profile smoke reads nothing."""
    others = () if profile.name == "smoke" else at_hand(tuple(PRINTED_DATASETS))
    return LongTailConfig(
        data=profile.data, others=tuple(name for name in others if name != profile.data.source)
    )


def with_others(data: DataConfig, others: Sequence[str]) -> list[DataConfig]:
    """A profile's data set, then others by their source, set as profile paper sets its own."""
    return [data, *(replace(PAPER.data, source=name) for name in others)]


def at_hand(names: Sequence[str]) -> tuple[str, ...]:
    """Those of some data sets that `RECLIB_DATA` holds."""
    folder = data_dir()
    return tuple(name for name in names if folder is not None and (folder / name).is_dir())


def long_tail_step(config: LongTailConfig, *, seed: int, workdir: Path) -> dict[str, pd.DataFrame]:
    """Tables "summary" (one row a data set), "curve" and "bins" (of the profile's own data set)."""
    own, *ready = (load(each, seed=seed) for each in config.sources)
    counts = train_counts(own)
    return {
        "summary": pd.DataFrame([_summary(dataset) for dataset in (own, *ready)]),
        "curve": popularity_curve(counts),
        "bins": items_by_frequency(counts),
    }


def _summary(dataset: Dataset) -> dict[str, Any]:
    return {
        "dataset": dataset.name,
        "users": dataset.n_users,
        "items": dataset.n_items,
        "interactions": dataset.n_interactions,
        "density": dataset.density,
        "windows": len(dataset.train) + len(dataset.valid) + len(dataset.test),
        **concentration(train_counts(dataset)),
    }


def printed_rows(summary: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of [MSL] Table 4 for the registry: users, items, interactions and density of its data sets."""
    return [
        {
            "paper": "MSL",
            "table": "4",
            "dataset": PRINTED_DATASETS[row["dataset"]],
            "method": "-",
            "metric": metric,
            "ours": float(row[metric]),
            "protocol": "statistics",
        }
        for row in summary.to_dict("records")
        if row["dataset"] in PRINTED_DATASETS
        for metric in ("users", "items", "interactions", "density")
    ]
