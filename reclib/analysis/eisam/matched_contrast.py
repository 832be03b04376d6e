"""Items of the prior's head against items of its tail that are about as frequent in the data.

The specification's matched contrast (§7) [derived by us].
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from reclib.evaluation.group_means import GroupMeans, group_means
from reclib.evaluation.statistics import percentile_interval
from reclib.schema import InputError

POOLED = "pooled"


def popularity_deciles(counts: np.ndarray, *, n_groups: int = 10) -> np.ndarray:
    """Group of each item by its training count, (N+1,): 1, the rarest items, to `n_groups`; 0 for padding.

    Items of one count share a group, so groups can differ in size. Raises InputError for no group.
    """
    if n_groups < 1:
        raise InputError(f"n_groups is {n_groups}: at least one group of items is needed")
    n_items = len(counts) - 1
    place = (rankdata(counts[1:]) - 0.5) / n_items  # the mean rank of items of one count
    return np.append(0, np.minimum(np.floor(place * n_groups).astype(np.int64), n_groups - 1) + 1)


def matched_contrast(
    hits: pd.DataFrame,
    target_idx: np.ndarray,
    user_id: np.ndarray,
    *,
    prior_head: np.ndarray,
    counts: np.ndarray,
    generator: np.random.Generator,
    n_groups: int = 10,
    n_resamples: int = 1000,
) -> pd.DataFrame:
    """Mean of the prior's head minus mean of its tail within each decile of the training counts, and pooled.

    pooled = Σ_d w_d (mean_head,d − mean_tail,d) / Σ_d w_d,   w_d = n_head,d n_tail,d / (n_head,d + n_tail,d)

    over the deciles with both kinds. Within a decile the head is still a little more frequent where the two
    tails correlate; finer groups leave less of that.

    hits: as for `group_means`; target_idx, user_id: (W,); prior_head, counts: (N+1,).
    Returns method, metric, k, group ("1" …, "pooled"), value, low, high, n_head, n_tail (test examples),
    count_low, count_high (training counts of the group's items).
    Raises InputError where no decile has both kinds.
    """
    if prior_head.shape != counts.shape:
        raise InputError(f"flags {prior_head.shape}, counts {counts.shape}: pass one of each an item")
    decile = popularity_deciles(counts, n_groups=n_groups)
    names = [f"{group}{side}" for group in range(1, n_groups + 1) for side in "HT"]
    label = [f"{decile[item]}{'H' if prior_head[item] else 'T'}" for item in target_idx]
    means = group_means(hits, label, user_id, groups=names, generator=generator, n_resamples=n_resamples)
    n = means.n.reshape(n_groups, 2)
    if not (n > 0).all(axis=1).any():
        raise InputError("no decile has test examples of the prior's head and of its tail: use fewer groups")
    point = _differences(means.mean[None], means.n[None])
    low, high = percentile_interval(_differences(means.draws, means.n_draws))
    ranges = [_range(counts, decile == group) for group in range(1, n_groups + 1)]
    sizes = [*n.tolist(), n[(n > 0).all(axis=1)].sum(axis=0).tolist()]
    ends = [*ranges, (int(counts[1:].min()), int(counts[1:].max()))]
    return _table(means, point[0], low, high, sizes, ends)


def _differences(mean: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Head minus tail of each decile, then pooled: (R, deciles + 1, M) from means (R, 2·deciles, M)."""
    pairs = mean.reshape(len(mean), -1, 2, mean.shape[2])
    size = n.reshape(len(n), -1, 2)
    difference = pairs[:, :, 0] - pairs[:, :, 1]
    weight = size.prod(axis=2) / np.maximum(size.sum(axis=2), 1)
    total = weight.sum(axis=1)[:, None]
    pooled = np.einsum("rd,rdm->rm", weight, np.where(weight[:, :, None] > 0, difference, 0.0))
    pooled = np.where(total > 0, pooled / np.where(total > 0, total, 1.0), np.nan)
    return np.concatenate([difference, pooled[:, None]], axis=1)


def _table(
    means: GroupMeans,
    point: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    sizes: list[list[int]],
    ends: list[tuple[int, int]],
) -> pd.DataFrame:
    names = [*(str(group) for group in range(1, len(sizes))), POOLED]
    parts = [
        means.keys.assign(
            group=name,
            value=point[at],
            low=low[at],
            high=high[at],
            n_head=int(sizes[at][0]),
            n_tail=int(sizes[at][1]),
            count_low=ends[at][0],
            count_high=ends[at][1],
        )
        for at, name in enumerate(names)
    ]
    return pd.concat(parts, ignore_index=True)


def _range(counts: np.ndarray, member: np.ndarray) -> tuple[int, int]:
    """Least and largest count of some items; −1 and −1 where there are none."""
    chosen = counts[member]
    return (int(chosen.min()), int(chosen.max())) if len(chosen) else (-1, -1)
