"""Rows that stand in every comparison: popularity, and chance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from reclib.data.popularity import popularity_ranking
from reclib.evaluation.metrics import METHOD, catalogue_nll, check_cutoffs, per_window
from reclib.evaluation.ranks import Seen, check_targets, seen_items
from reclib.schema import METRIC, PAD_IDX, RANK, VALUE, K

POPULARITY, UNIFORM = "popularity", "uniform"


def popularity_ranks(
    counts: np.ndarray, target: np.ndarray, *, seen: Seen, history: np.ndarray | None = None
) -> pd.Series:
    """Rank of each target when every window gets the same list: items by training count, ties by item_idx.

    counts: (N+1,) training interactions; target: (W,); history: (W, S), needed for `seen="removed"`.
    Returns (W,) Int64.
    """
    n_items = len(counts) - 1
    check_targets(target, rows=len(target), n_items=n_items)
    place = np.zeros(n_items + 1, dtype=np.int64)  # 0 for padding
    place[popularity_ranking(counts)] = np.arange(1, n_items + 1)
    rank = place[target]
    if seen == "removed":
        left_out = seen_items(history, target, n_items=n_items)  # (W, S)
        rank = rank - ((place[left_out] < rank[:, None]) & (left_out != PAD_IDX)).sum(axis=1)
    return pd.Series(rank, name=RANK, dtype="Int64")


def popularity_nll(counts: np.ndarray, target: np.ndarray) -> np.ndarray:
    """−log (c_i + 1) / Σ_j (c_j + 1), j over the N items: add-one smoothed popularity, in nats; (W,)."""
    smoothed = np.asarray(counts, dtype=np.float64)[1:] + 1
    log_probability = np.log(smoothed) - np.log(smoothed.sum())  # (N,)
    return -log_probability[np.asarray(target) - 1]


def baseline_rows(
    counts: np.ndarray,
    target: np.ndarray,
    cutoffs: Sequence[int],
    *,
    seen: Seen,
    history: np.ndarray | None = None,
) -> pd.DataFrame:
    """Per-window HR, NDCG and catalogue_nll of the methods "popularity" and "uniform".

    Uniform is the expectation over random rankings: HR@K = K/N, NDCG@K = Σ_{r≤K} 1/log2(r+1) / N,
    −log P = log N; N counts all items, seen ones too. Popularity as in `popularity_ranks` and
    `popularity_nll`; its distribution is over all items, seen ones too.

    counts: (N+1,) training interactions. Returns method, window, metric, k, value.
    """
    n_items = len(counts) - 1
    check_cutoffs(cutoffs, n_items=n_items)
    ranks = popularity_ranks(counts, target, seen=seen, history=history)
    popularity = [per_window(ranks, cutoffs, n_items=n_items), catalogue_nll(popularity_nll(counts, target))]
    table = pd.concat(popularity, ignore_index=True)
    tables = {POPULARITY: table, UNIFORM: _expected_by_chance(table, n_items)}
    named = [rows.assign(**{METHOD: method}) for method, rows in tables.items()]
    return pd.concat(named, ignore_index=True)[[METHOD, *table.columns]]


def _expected_by_chance(table: pd.DataFrame, n_items: int) -> pd.DataFrame:
    k = table[K].fillna(0).to_numpy(dtype=np.int64)
    gain = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(1, k.max() + 1) + 1))])  # by K
    expected = {
        "HR": k / n_items,
        "NDCG": gain[k] / n_items,
        "catalogue_nll": np.full(len(k), np.log(n_items)),
    }
    metric = table[METRIC].to_numpy()
    return table.assign(**{VALUE: np.select([metric == name for name in expected], list(expected.values()))})
