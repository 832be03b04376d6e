"""How often items occur in training, and the groups that follow from it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reclib.data.dataset import Dataset
from reclib.schema import PAD_IDX

HEAD_SHARE = 0.2


def train_counts(dataset: Dataset) -> np.ndarray:
    """Training interactions of each item, (N+1,) int64; entry 0, padding, is 0.

    Windows of a user overlap: each after the first adds one interaction, its target. So a user's first
    training window counts its history and its target, a later one its target only. (A user's first window
    is the one with the earliest target; where times are unknown, the first in the file.)
    """
    train = dataset.train
    counts = np.bincount(train.target_idx, minlength=dataset.n_items + 1)
    # NaN sorts last; a stable sort keeps the file's order among unknown times.
    order = np.lexsort((np.arange(len(train)), train.timestamp))
    _, first = np.unique(np.asarray(train.user_id)[order], return_index=True)
    history = train.history[order[first]].ravel()
    counts = counts + np.bincount(history[history != PAD_IDX], minlength=dataset.n_items + 1)
    counts[PAD_IDX] = 0
    return counts


def popularity_ranking(counts: np.ndarray) -> np.ndarray:
    """Items by descending count, ties by item_idx, (N,) item_idx."""
    return np.argsort(-counts[1:], kind="stable") + 1


def is_head(counts: np.ndarray, share: float = HEAD_SHARE) -> np.ndarray:
    """Whether an item is among the `share` of items with the most training interactions, (N+1,) bool.

    round(share · N) items are head; ties go by item_idx; padding is not head.
    """
    flags = np.zeros(len(counts), dtype=bool)
    flags[popularity_ranking(counts)[: round(share * (len(counts) - 1))]] = True
    return flags


def popularity_groups(counts: np.ndarray, edges: Sequence[int]) -> np.ndarray:
    """Group of each item by its count, (N+1,) int64: g where edges[g] ≤ count < edges[g+1], the last open.

    A count below edges[0] is group −1, and so is padding.
    """
    groups = np.digitize(counts, edges) - 1
    groups[PAD_IDX] = -1
    return groups
