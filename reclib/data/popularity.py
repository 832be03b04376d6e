"""How often items occur in training, and the groups that follow from it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from reclib.data.dataset import Dataset, Windows
from reclib.schema import PAD_IDX

HEAD_SHARE = 0.2


def train_counts(dataset: Dataset) -> np.ndarray:
    """Training interactions of each item, (N+1,) int64; entry 0, padding, is 0.

    `count_interactions` of the training windows with their histories as the source has them, so that a
    shorter `history_length` does not move the head.
    """
    return dataset.counts.copy()


def count_interactions(windows: Windows, n_items: int) -> np.ndarray:
    """How often each item occurs among the interactions that windows are made of, (N+1,) int64.

    Windows of a user overlap: each after the first adds one interaction, its target. So a user's first
    window counts its history and its target, a later one its target only, and no interaction counts twice.
    (A user's first window is the one with the earliest target; where times are unknown, the first in order.)
    """
    # NaN sorts last; a stable sort keeps the file's order among equal and unknown times.
    order = np.argsort(windows.timestamp, kind="stable")
    first = order[~pd.Series(windows.user_id[order]).duplicated().to_numpy()]
    counts = np.bincount(windows.target_idx, minlength=n_items + 1)
    counts += np.bincount(windows.history[first].ravel(), minlength=n_items + 1)
    counts[PAD_IDX] = 0
    return counts


def popularity_ranking(counts: np.ndarray) -> np.ndarray:
    """Items by descending count, ties by item_idx, (N,) item_idx."""
    return np.argsort(-counts[1:], kind="stable") + 1


def is_head(counts: np.ndarray, share: float = HEAD_SHARE) -> np.ndarray:
    """Whether an item is among the `share` of items with the most training interactions, (N+1,) bool.

    ⌈share · N⌉ items are head; ties go by item_idx; padding is not head.
    """
    n_head = int(np.ceil(share * (len(counts) - 1) - 1e-9))  # a product may lie a little above its integer
    flags = np.zeros(len(counts), dtype=bool)
    flags[popularity_ranking(counts)[:n_head]] = True
    return flags


def popularity_groups(counts: np.ndarray, edges: Sequence[int]) -> np.ndarray:
    """Group of each item by its count, (N+1,) int64: g where edges[g] ≤ count < edges[g+1], the last open.

    A count below edges[0] is group −1, and so is padding.
    """
    groups = np.digitize(counts, np.asarray(edges)) - 1
    groups[PAD_IDX] = -1
    return groups
