"""Rank correlation with bootstrap intervals; all draws from a passed generator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata

from reclib.schema import InputError

_BLOCK = 4_000_000  # entries of one block of resampled values
_NUMBER = {2: "two", 3: "three"}


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
    return _resampled([a, b], _rank_correlation, generator, n_resamples, level)


def partial_spearman(
    a: np.ndarray,
    b: np.ndarray,
    given: np.ndarray,
    *,
    generator: np.random.Generator,
    n_resamples: int = 1000,
    level: float = 0.95,
) -> Correlation:
    """Spearman's rank correlation of two numbers of the same items at a fixed third.

    = (r_ab − r_ag r_bg) / √((1 − r_ag²)(1 − r_bg²)), each r a Spearman correlation: what is left once the
    ranks of `given` have explained, linearly, what they can of the ranks of both. NaN where one of the three
    is the same for all items, or `given` orders them as another does.

    a, b, given: (n,). Raises InputError as `spearman`.
    """
    return _resampled([a, b, given], _partial_correlation, generator, n_resamples, level)


def _resampled(
    numbers: Sequence[np.ndarray],
    correlate: Callable[..., np.ndarray],
    generator: np.random.Generator,
    n_resamples: int,
    level: float,
) -> Correlation:
    """A correlation of some numbers of the same items, and its interval over resamples of the items."""
    columns = [np.asarray(each, dtype=np.float64) for each in numbers]
    _check(columns, n_resamples, level)
    n = len(columns[0])
    rows = max(1, _BLOCK // n)
    drawn = [
        correlate(*(column[chosen] for column in columns))
        for first in range(0, n_resamples, rows)
        for chosen in [generator.integers(n, size=(min(rows, n_resamples - first), n))]
    ]
    value = float(correlate(*(column[None] for column in columns))[0])
    counted = np.concatenate(drawn)
    counted = counted[~np.isnan(counted)]
    if np.isnan(value) or not len(counted):
        return Correlation(value, np.nan, np.nan, n)
    low, high = np.quantile(counted, ((1 - level) / 2, (1 + level) / 2))
    return Correlation(value, float(low), float(high), n)


def _check(columns: Sequence[np.ndarray], n_resamples: int, level: float) -> None:
    shapes = [column.shape for column in columns]
    if len(set(shapes)) > 1 or columns[0].ndim != 1 or len(columns[0]) < 3:
        raise InputError(
            f"values of shapes {' and '.join(map(str, shapes))}: pass {_NUMBER[len(columns)]} of the same "
            "3 or more items"
        )
    is_bad = ~np.all([np.isfinite(column) for column in columns], axis=0)
    if is_bad.any():
        row = int(is_bad.argmax())
        shown = " and ".join(str(column[row]) for column in columns)
        raise InputError(f"row {row}: {shown} cannot be ranked; drop or repair the row first")
    if n_resamples < 1 or not 0 < level < 1:
        raise InputError(f"n_resamples {n_resamples}, level {level}: choose 1 or more, and one such as 0.95")


def _partial_correlation(a: np.ndarray, b: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Of each row, (R,)."""
    both = _rank_correlation(a, b)
    with_a, with_b = _rank_correlation(a, given), _rank_correlation(b, given)
    left = (1 - with_a**2) * (1 - with_b**2)
    is_left = left > 1e-12
    return np.where(is_left, (both - with_a * with_b) / np.sqrt(np.where(is_left, left, 1.0)), np.nan)


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of each row, (R,)."""
    ranks = [rankdata(each, axis=1) for each in (a, b)]
    x, y = (each - each.mean(axis=1, keepdims=True) for each in ranks)
    scale = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    return np.where(scale > 0, (x * y).sum(axis=1) / np.where(scale > 0, scale, 1.0), np.nan)
