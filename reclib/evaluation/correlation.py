"""Rank correlation with bootstrap intervals; all draws from a passed generator."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata

from reclib.schema import InputError

_BLOCK = 4_000_000  # entries of one block of resampled values


class Correlation(NamedTuple):
    """A correlation with its percentile interval over n items."""

    value: float
    low: float
    high: float
    n: int


def spearman(
    a: np.ndarray,
    b: np.ndarray,
    *,
    generator: np.random.Generator,
    n_resamples: int = 1000,
    level: float = 0.95,
) -> Correlation:
    """Spearman's rank correlation of two numbers of the same items, ties at their mean rank.

    = Pearson's correlation of the ranks; each resample of the items is ranked anew. NaN where one of the two
    is the same for all items; such a resample does not count.

    a, b: (n,). Raises InputError on unequal shapes, fewer than 3 items, a value that is not finite, and
    n_resamples below 1.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1 or len(a) < 3:
        raise InputError(f"values of shapes {a.shape} and {b.shape}: pass two of the same 3 or more items")
    is_bad = ~(np.isfinite(a) & np.isfinite(b))
    if is_bad.any():
        row = int(is_bad.argmax())
        raise InputError(f"row {row}: {a[row]} and {b[row]} cannot be ranked; drop or repair the row first")
    if n_resamples < 1 or not 0 < level < 1:
        raise InputError(f"n_resamples {n_resamples}, level {level}: choose 1 or more, and one such as 0.95")
    rows = max(1, _BLOCK // len(a))
    drawn = [
        _rank_correlation(a[chosen], b[chosen])
        for first in range(0, n_resamples, rows)
        for chosen in [generator.integers(len(a), size=(min(rows, n_resamples - first), len(a)))]
    ]
    value = float(_rank_correlation(a[None], b[None])[0])
    counted = np.concatenate(drawn)
    counted = counted[~np.isnan(counted)]
    if np.isnan(value) or not len(counted):
        return Correlation(value, np.nan, np.nan, len(a))
    low, high = np.quantile(counted, ((1 - level) / 2, (1 + level) / 2))
    return Correlation(value, float(low), float(high), len(a))


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of each row, (R,)."""
    ranks = [rankdata(each, axis=1) for each in (a, b)]
    x, y = (each - each.mean(axis=1, keepdims=True) for each in ranks)
    scale = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    return np.where(scale > 0, (x * y).sum(axis=1) / np.where(scale > 0, scale, 1.0), np.nan)
