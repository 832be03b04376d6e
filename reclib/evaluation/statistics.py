"""Bootstrap intervals of means and of paired differences; all draws from a passed generator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from reclib.schema import InputError

_BLOCK = 4_000_000  # entries of one block of resampling weights: 32 MB


class Difference(NamedTuple):
    """A paired difference of means.

    mean: of a − b; low, high: percentile interval; share_positive: share of the resamples above 0;
    per_seed: the difference of each seed's means; n: number of windows.
    """

    mean: float
    low: float
    high: float
    share_positive: float
    per_seed: tuple[float, ...]
    n: int


def bootstrap_interval(
    values: np.ndarray, *, generator: np.random.Generator, n_resamples: int = 1000, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval of the mean over the first axis.

    Columns share their resamples, so intervals of several metrics of the same windows belong together.

    values: (W,) or (W, M). Returns low and high, each () or (M,).
    Raises InputError on an empty array, a NaN, and a level outside (0, 1).
    """
    values = _checked(values)
    weights = resampling_weights(len(values), generator=generator, n_resamples=n_resamples)
    means = np.concatenate([weight @ values for weight in weights]) / len(values)  # (n_resamples, …)
    low, high = np.quantile(means, _tails(level), axis=0)
    return low, high


def paired_bootstrap(
    a: np.ndarray,
    b: np.ndarray,
    *,
    generator: np.random.Generator,
    n_resamples: int = 1000,
    level: float = 0.95,
    seeds: str = "resampled",
) -> Difference:
    """Difference of the means of two methods on the same windows, and of the same seeds.

    Each resample draws windows with replacement, one draw for all seeds as they share their windows; with
    `seeds="resampled"` it draws seeds likewise, so the interval covers new windows and new runs, with
    "fixed" each seed counts once as a stratum, and the interval speaks of these runs only.

    a, b: (W,) or (R, W) for R seeds. Raises InputError on unequal shapes, NaN, an unknown `seeds`.
    """
    if np.shape(a) != np.shape(b):
        raise InputError(
            f"paired values of shapes {np.shape(a)} and {np.shape(b)}: pass the same windows for both"
        )
    if seeds not in ("resampled", "fixed"):
        raise InputError(f'seeds={seeds!r}: choose "resampled" or "fixed"')
    difference = _checked(np.atleast_2d(a).T - np.atleast_2d(b).T)  # (W, R)
    n_windows, n_seeds = difference.shape
    weights = resampling_weights(n_windows, generator=generator, n_resamples=n_resamples)
    by_seed = np.concatenate([weight @ difference for weight in weights]) / n_windows  # (n_resamples, R)
    if seeds == "resampled":
        drawn = generator.integers(n_seeds, size=by_seed.shape)
        by_seed = np.take_along_axis(by_seed, drawn, axis=1)
    means = by_seed.mean(axis=1)
    low, high = np.quantile(means, _tails(level))
    return Difference(
        mean=float(difference.mean()),
        low=float(low),
        high=float(high),
        share_positive=float((means > 0).mean()),
        per_seed=tuple(difference.mean(axis=0).tolist()),
        n=n_windows,
    )


def resampling_weights(n: int, *, generator: np.random.Generator, n_resamples: int) -> Iterator[np.ndarray]:
    """How often each of n values is drawn in each resample, in blocks of shape (rows, n)."""
    if n_resamples < 1:
        raise InputError(f"n_resamples is {n_resamples}: an interval needs at least 1 resample, better 1000")
    rows = max(1, _BLOCK // n)
    for start in range(0, n_resamples, rows):
        block = min(rows, n_resamples - start)
        drawn = generator.integers(n, size=(block, n)) + n * np.arange(block)[:, None]
        yield np.bincount(drawn.ravel(), minlength=block * n).reshape(block, n).astype(np.float64)


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
