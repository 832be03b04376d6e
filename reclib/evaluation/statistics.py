"""Intervals of means and of paired differences over windows, users and seeds; all draws from a generator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from reclib.schema import InputError

_BLOCK = 4_000_000  # entries of one block of resampling weights: 32 MB
_ROUNDING = 1e-12  # share of a value that an interval must exceed to be more than rounding
LEVEL = 0.95


class Estimate(NamedTuple):
    """A mean with its interval; n: number of windows."""

    mean: float
    low: float
    high: float
    n: int


def bootstrap_interval(
    values: np.ndarray,
    *,
    generator: np.random.Generator,
    cluster: np.ndarray | None = None,
    n_resamples: int = 1000,
    level: float = LEVEL,
) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval of the mean over the first axis.

    Columns share their resamples, so intervals of several metrics of the same windows belong together.

    values: (W,) or (W, M); cluster: see `resampled_means`. Returns `percentile_interval` of the means, each
    end () or (M,). Raises InputError on an empty array, a NaN, and a level outside (0, 1).
    """
    means = resampled_means(values, generator=generator, cluster=cluster, n_resamples=n_resamples)
    return percentile_interval(means, level=level)


def estimate(
    values: np.ndarray,
    *,
    generator: np.random.Generator,
    cluster: np.ndarray | None = None,
    n_resamples: int = 1000,
    level: float = LEVEL,
) -> Estimate:
    """Mean of windows, and of seeds where there are several, with the interval of `seeds_interval`.

    One draw of windows serves all seeds, as they share their windows.

    values: (W,) or (R, W) for R seeds; cluster: (W,), see `resampled_means`. Raises InputError on NaN.
    """
    by_seed = np.atleast_2d(np.asarray(values, dtype=np.float64)).T  # (W, R)
    draws = resampled_means(by_seed, generator=generator, cluster=cluster, n_resamples=n_resamples)
    low, high = seeds_interval(by_seed.mean(axis=0), draws, level=level)
    return Estimate(float(by_seed.mean()), float(low), float(high), len(by_seed))


def paired_bootstrap(
    a: np.ndarray,
    b: np.ndarray,
    *,
    generator: np.random.Generator,
    cluster: np.ndarray | None = None,
    n_resamples: int = 1000,
    level: float = LEVEL,
) -> Estimate:
    """Difference of the means of two methods on the same windows and of the same seeds: `estimate` of a − b.

    a, b: (W,) or (R, W). Raises InputError on unequal shapes and NaN.
    """
    if np.shape(a) != np.shape(b):
        raise InputError(
            f"paired values of shapes {np.shape(a)} and {np.shape(b)}: pass the same windows for both"
        )
    return estimate(
        np.asarray(a) - np.asarray(b),
        generator=generator,
        cluster=cluster,
        n_resamples=n_resamples,
        level=level,
    )


def percentile_interval(draws: np.ndarray, *, level: float = LEVEL) -> tuple[np.ndarray, np.ndarray]:
    """Percentiles over the first axis, NaN where the draws are all one value.

    Windows that are all alike, as without any hit, say nothing of how other windows may differ, and an
    interval "0 to 0" would claim that they cannot. Draws without a value (NaN) are left out.

    draws: (n_resamples, …). Returns low and high, (…). Raises InputError for a level outside (0, 1).
    """
    tails = _tails(level)
    is_empty = np.isnan(draws).all(axis=0)
    ends = np.nanquantile(np.where(is_empty, 0.0, draws), tails, axis=0)
    is_known = ~is_empty & (ends[1] - ends[0] > _ROUNDING * abs(ends).max(axis=0))
    low, high = np.where(is_known, ends, np.nan)
    return low, high


def seeds_interval(
    by_seed: np.ndarray, draws: np.ndarray, *, level: float = LEVEL
) -> tuple[np.ndarray, np.ndarray]:
    """Interval of the mean over R seeds of what is known of each seed from a sample of windows.

    Of one seed: `percentile_interval` of its draws, so it speaks of other windows and not of other runs. Of
    several: mean ± `half_width`, and NaN for its reason where that is 0. Percentiles of resampled seeds would
    be too narrow: of three seeds no resample lies far below the worst.

    by_seed: (R, …); draws: (n_resamples, R, …), the same on resampled windows. Returns low and high, (…).
    """
    if len(by_seed) == 1:
        return percentile_interval(draws[:, 0], level=level)
    mean = by_seed.mean(axis=0)
    half = half_width(by_seed, np.nanstd(draws.mean(axis=1), axis=0), level=level)
    half = np.where(half > _ROUNDING * abs(mean), half, np.nan)
    return mean - half, mean + half


def half_width(by_seed: np.ndarray, error: np.ndarray | float, *, level: float = LEVEL) -> np.ndarray:
    """√((z e)² + (t s)² / R): half the interval of a mean over R seeds, for new windows and new runs.

    e is the standard error of the mean over windows, s the deviation of the seeds, which holds a little of e
    again; z and t are quantiles of the normal and of Student's distribution with R − 1 degrees of freedom.
    Exact where either noise is alone, and wider than it need be between. Of one seed: z e.

    by_seed: (R, …); error: (…). Raises InputError for a level outside (0, 1).
    """
    from scipy.stats import norm, t

    n_seeds, tail = len(by_seed), _tails(level)[1]
    of_windows = norm.ppf(tail) * np.asarray(error)
    if n_seeds == 1:
        return of_windows
    return np.hypot(of_windows, t.ppf(tail, n_seeds - 1) * by_seed.std(axis=0, ddof=1) / np.sqrt(n_seeds))


def resampled_means(
    values: np.ndarray,
    *,
    generator: np.random.Generator,
    cluster: np.ndarray | None = None,
    n_resamples: int = 1000,
) -> np.ndarray:
    """Means over the first axis of resamples with replacement, (n_resamples, …).

    values: (W, …); cluster: (W,) the user of each window: a resample draws users, each with all of its
    windows, because one user's windows are not independent. Without it each window is drawn for itself.
    Raises InputError on an empty array, a NaN, and a cluster of another length.
    """
    values = _checked(values)
    sums, sizes = values.reshape(len(values), -1), np.ones(len(values))
    if cluster is not None:
        sums, sizes = _cluster_sums(sums, cluster)
    weights = resampling_weights(len(sums), generator=generator, n_resamples=n_resamples)
    means = [(weight @ sums) / (weight @ sizes)[:, None] for weight in weights]
    return np.concatenate(means).reshape(-1, *values.shape[1:])


def resampling_weights(n: int, *, generator: np.random.Generator, n_resamples: int) -> Iterator[np.ndarray]:
    """How often each of n values is drawn in each resample, in blocks of shape (rows, n)."""
    if n_resamples < 1:
        raise InputError(f"n_resamples is {n_resamples}: an interval needs at least 1 resample, better 1000")
    rows = max(1, _BLOCK // n)
    for start in range(0, n_resamples, rows):
        block = min(rows, n_resamples - start)
        drawn = generator.integers(n, size=(block, n)) + n * np.arange(block)[:, None]
        yield np.bincount(drawn.ravel(), minlength=block * n).reshape(block, n).astype(np.float64)


def _cluster_sums(values: np.ndarray, cluster: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums of each cluster's rows, (C, M), and their number, (C,), in the order of first appearance."""
    if len(cluster) != len(values):
        raise InputError(f"{len(cluster)} users for {len(values)} windows: pass one a window")
    _, first, member = np.unique(np.asarray(cluster), return_index=True, return_inverse=True)
    place = first.argsort().argsort()[member]
    sums = np.zeros((len(first), values.shape[1]))
    np.add.at(sums, place, values)
    return sums, np.bincount(place, minlength=len(first)).astype(np.float64)


def _tails(level: float) -> tuple[float, float]:
    if not 0 < level < 1:
        raise InputError(f"level is {level}: choose one between 0 and 1, such as 0.95")
    return (1 - level) / 2, (1 + level) / 2


def _checked(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if len(values) == 0:
        raise InputError("no values: an interval needs at least one window")
    if np.isnan(values).any():
        raise InputError(
            f"row {int(np.argwhere(np.isnan(values))[0][0])}: the value is NaN; drop or repair it first"
        )
    return values
