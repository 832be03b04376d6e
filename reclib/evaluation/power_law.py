"""How fast a quantity falls with a count: the exponent of a power law, for values that may be negative."""

from __future__ import annotations

import numpy as np

from reclib.schema import InputError

_MAX_STEPS = 100
_TOLERANCE = 1e-10


def power_law(n: np.ndarray, values: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Exponents b of E[value] = a n^b, of each set of weights: (R,), or one number, shape (), without them.

    Solves Σ_i w_i (value_i − a n_i^b) (1, log n_i) = 0, the equations of a Poisson likelihood. A value is
    measured with error and may be negative, where a least-squares line through logarithms would have to leave
    it out, and so be drawn up by the noise. NaN where the weighted values give no positive law.

    n: (N,) above 0; values: (N,); weights: (R, N), at least 0.
    Source: Santos Silva and Tenreyro 2006. Raises InputError for shapes that do not fit, values that are not
    finite, a count that is not above 0 and fewer than 2 different counts.
    """
    n, values = np.asarray(n, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if n.shape != values.shape or n.ndim != 1 or not (np.isfinite(values).all() and (n > 0).all()):
        raise InputError(f"counts {n.shape} and values {values.shape}: pass one of each, counts above 0")
    if len(np.unique(n)) < 2:
        raise InputError("all counts are the same: there is no slope to be found")
    each = np.ones((1, len(n))) if weights is None else np.asarray(weights, dtype=np.float64)
    log_n = np.log(n) - np.log(n).mean()
    found = np.array([_slope(log_n, values, row) for row in each])
    return found[0] if weights is None else found


def _slope(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> float:
    """The exponent by Newton's method; a step that raises the criterion is halved."""
    total = float(w @ y)
    if not total > 0:
        return float("nan")
    theta = np.array([np.log(total / w.sum()), 0.0])
    best = _criterion(theta, x, y, w)
    for _ in range(_MAX_STEPS):
        mean = w * np.exp(theta[0] + theta[1] * x)
        slope = np.array([(w * y - mean).sum(), ((w * y - mean) * x).sum()])
        curvature = np.array([[mean.sum(), mean @ x], [mean @ x, mean @ x**2]])
        step = np.linalg.solve(curvature, slope)
        if slope @ step <= _TOLERANCE * total:
            return float(theta[1] + step[1])
        while (moved := _criterion(theta + step, x, y, w)) > best + _TOLERANCE * abs(best):
            step = step / 2
        theta, best = theta + step, min(best, moved)
        if np.abs(theta[1]) > 50:
            break
    return float("nan")


def _criterion(theta: np.ndarray, x: np.ndarray, y: np.ndarray, w: np.ndarray) -> float:
    """Minus the Poisson log-likelihood, which is convex in θ whatever the sign of a value."""
    line = theta[0] + theta[1] * x
    with np.errstate(over="ignore"):
        return float((w * (np.exp(line) - y * line)).sum())
