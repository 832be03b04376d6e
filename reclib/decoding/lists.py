"""Ranked lists: the leaves a search found, turned into items."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from torch import Tensor

from reclib.schema import ITEM_IDX, PAD_IDX, RANK, InputError
from reclib.text.trie import ItemTrie


@dataclass(frozen=True)
class Lists:
    """The K best items of B users, best first.

    items: (B, K) int32 item_idx; 0 where the search found fewer than K items
    scores: (B, K) float32, never rising along a row; −inf where there is no item
    """

    items: np.ndarray
    scores: np.ndarray

    @classmethod
    def empty(cls, n_users: int, k: int) -> Lists:
        """Lists without items."""
        return cls(np.full((n_users, k), PAD_IDX, np.int32), np.full((n_users, k), -np.inf, np.float32))

    def table(self) -> pd.DataFrame:
        """One row an entry: window (the row of the list), rank (1 is best), item_idx, score."""
        window, place = np.nonzero(self.items != PAD_IDX)
        return pd.DataFrame(
            {
                "window": window,
                RANK: place + 1,
                ITEM_IDX: self.items[window, place],
                "score": self.scores[window, place],
            }
        )


def listed_items(table: pd.DataFrame, *, n_lists: int, length: int) -> np.ndarray:
    """The items of a table as `Lists.table` gives it, (n_lists, length), 0 where a list has no more items."""
    items = np.full((n_lists, length), PAD_IDX, np.int64)
    items[table["window"].to_numpy(), table[RANK].to_numpy() - 1] = table[ITEM_IDX].to_numpy()
    return items


def check_length(k: int, n_items: int) -> None:
    """Refuse a list longer than the catalogue."""
    if not 1 <= k <= n_items:
        raise InputError(
            f"a list of {k} items was asked for, the catalogue has {n_items}: choose 1 to {n_items}"
        )


def refuse_nan(scores: np.ndarray) -> None:
    """Refuse scores (B, L) of which a row has a NaN, or nothing above −inf: what NaN logits leave behind."""
    is_bad = ~(scores.max(axis=1) > -np.inf)
    if is_bad.any():
        row = int(is_bad.argmax())
        raise InputError(f"prompt {row} of the batch: the model gives NaN scores; check its weights")


def items_of_leaves(trie: ItemTrie, leaves: Tensor, scores: Tensor, *, k: int) -> Lists:
    """Lists of items from lists of leaves.

    Items that share a title share a leaf: each gets the leaf's score, and they follow one another by
    item_idx. L leaves carry at least L items, so L = K leaves are enough for K items.

    leaves: (B, L) node ids; scores: (B, L), −inf where there is no leaf. Raises InputError on NaN.
    """
    leaf, score = leaves.cpu().numpy(), scores.float().cpu().numpy()
    refuse_nan(score)
    user, place = np.nonzero(score > -np.inf)
    items, row_start = trie.items_at(leaf[user, place])
    n_items = np.diff(row_start)
    user, score = np.repeat(user, n_items), np.repeat(score[user, place], n_items)
    order = np.lexsort((items, -score, user))
    user, items, score = user[order], items[order], score[order]
    position = np.arange(len(user)) - np.searchsorted(user, user)
    kept = position < k
    lists = Lists.empty(len(leaf), k)
    lists.items[user[kept], position[kept]] = items[kept]
    lists.scores[user[kept], position[kept]] = score[kept]
    return lists
