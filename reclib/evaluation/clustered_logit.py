"""Logistic regression whose errors allow the examples of one user to depend on each other."""

from __future__ import annotations

import numpy as np

from reclib.evaluation.clustered import ClusteredFit, check_columns, check_shapes, clustered_covariance
from reclib.schema import InputError

_MAX_STEPS = 50
_TOLERANCE = 1e-10  # of the Newton decrement, per example
_LARGEST = 30.0  # |x·β| beyond this is a fitted probability of 0 or 1 to 13 digits


def clustered_logit(design: np.ndarray, hit: np.ndarray, cluster: np.ndarray) -> ClusteredFit:
    """Maximum likelihood of P(hit) = 1 / (1 + exp(−x·β)), and a covariance robust within clusters.

    β by Newton's method;  Cov = c H⁻¹ (Σ_g s_g s_gᵀ) H⁻¹,  H = Σ_k p_k (1 − p_k) x_k x_kᵀ,
    s_g = Σ_{k in g} (hit_k − p_k) x_k,  c = G/(G−1) · (n−1)/(n−P).

    c is the usual correction for G clusters and P coefficients of n examples. There is no penalty and no
    column of ones is added.

    design: (n, P); hit: (n,) of 0 and 1 (or bool); cluster: (n,) labels, such as user_id.
    Raises InputError on shapes that do not fit, a value that is not finite, an outcome other than 0 and 1 or
    the same for all, columns that depend on each other, fewer than 2 clusters or no more examples than
    coefficients, and outcomes that the columns separate perfectly, where no finite β is best.
    """
    x, y = np.asarray(design, dtype=np.float64), np.asarray(hit, dtype=np.float64)
    groups, group = np.unique(np.asarray(cluster), return_inverse=True)
    _check(x, y, group, len(groups))
    beta = _fit(x, y)
    p = _probability(x @ beta)
    inverse = np.linalg.inv((x * (p * (1 - p))[:, None]).T @ x)
    covariance = clustered_covariance(x, y - p, group, inverse)
    return ClusteredFit(beta, covariance, _deviance(x @ beta, y), len(x), len(groups))


def _fit(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """β by Newton's method; a step that raises the deviance is halved."""
    beta = np.zeros(x.shape[1])
    for _ in range(_MAX_STEPS):
        p = _probability(x @ beta)
        slope = x.T @ (y - p)
        step = np.linalg.solve((x * (p * (1 - p))[:, None]).T @ x, slope)
        before = _deviance(x @ beta, y)
        while _deviance(x @ (beta + step), y) > before + 1e-9 * max(1.0, before):
            step = step / 2
        beta = beta + step
        if np.abs(x @ beta).max() > _LARGEST:
            break
        if slope @ step <= _TOLERANCE * len(x):
            return beta
    raise InputError(
        "the columns tell hits from misses (almost) perfectly, or there are too few hits: no finite "
        "coefficients; leave out a column, or use more examples or a larger K"
    )


def _probability(logit: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logit))


def _deviance(logit: np.ndarray, y: np.ndarray) -> float:
    """−2 Σ [y log p + (1 − y) log (1 − p)]."""
    return float(2 * (np.logaddexp(0, logit) - y * logit).sum())


def _check(x: np.ndarray, y: np.ndarray, group: np.ndarray, n_groups: int) -> None:
    check_shapes(x, y, group)
    if not np.isfinite(x).all() or not np.isin(y, (0, 1)).all():
        bad = ~(np.isfinite(x).all(axis=1) & np.isin(y, (0, 1)))
        raise InputError(f"row {int(bad.argmax())}: its outcome is not 0 or 1, or a column is not finite")
    if len(y) == 0 or y.min() == y.max():
        raise InputError("all outcomes are the same: a regression needs hits and misses; use a larger K")
    check_columns(x, n_groups)
