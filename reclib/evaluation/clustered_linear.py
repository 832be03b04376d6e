"""Linear regression whose errors allow the examples of one user to depend on each other."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from reclib.schema import InputError


class LinearFit(NamedTuple):
    """A fitted linear regression.

    coefficient: (P,); covariance: (P, P), clustered; deviance: −2 log-likelihood of normal errors, without
    its constants; n, n_clusters: how many
    """

    coefficient: np.ndarray
    covariance: np.ndarray
    deviance: float
    n: int
    n_clusters: int

    @property
    def error(self) -> np.ndarray:
        """Standard error of each coefficient, (P,)."""
        return np.sqrt(np.diag(self.covariance))


def clustered_linear(design: np.ndarray, outcome: np.ndarray, cluster: np.ndarray) -> LinearFit:
    """Least squares of outcome = x·β + e, and a covariance robust within clusters.

    β = (XᵀX)⁻¹ Xᵀy;  Cov = c (XᵀX)⁻¹ (Σ_g s_g s_gᵀ) (XᵀX)⁻¹,  s_g = Σ_{k in g} e_k x_k,
    c = G/(G−1) · (n−1)/(n−P);  deviance = n log(Σ_k e_k² / n), its variance being the most likely one.

    design: (n, P); outcome: (n,); cluster: (n,) labels, such as user_id. No column of ones is added.
    Raises InputError on shapes that do not fit, a value that is not finite, columns that depend on each
    other, fewer than 2 clusters or no more examples than coefficients, and an outcome that the columns give
    exactly.
    """
    x, y = np.asarray(design, dtype=np.float64), np.asarray(outcome, dtype=np.float64)
    groups, group = np.unique(np.asarray(cluster), return_inverse=True)
    _check(x, y, group, len(groups))
    beta = np.linalg.lstsq(x, y, rcond=None)[0]
    error = y - x @ beta
    square = float((error**2).mean())
    if square <= 1e-20 * max(1e-300, float((y**2).mean())):
        raise InputError("the columns give the outcome exactly: there is no error to estimate; leave one out")
    scores = np.zeros((len(groups), x.shape[1]))
    np.add.at(scores, group, error[:, None] * x)
    inverse = np.linalg.inv(x.T @ x)
    n, n_terms, n_groups = *x.shape, len(groups)
    correction = n_groups / (n_groups - 1) * (n - 1) / (n - n_terms)
    covariance = correction * inverse @ (scores.T @ scores) @ inverse
    return LinearFit(beta, covariance, n * float(np.log(square)), n, n_groups)


def _check(x: np.ndarray, y: np.ndarray, group: np.ndarray, n_groups: int) -> None:
    if x.ndim != 2 or y.shape != (len(x),) or len(group) != len(x):
        raise InputError(
            f"columns of shape {x.shape}, {y.shape} outcomes, {len(group)} clusters: one row an example"
        )
    bad = ~(np.isfinite(x).all(axis=1) & np.isfinite(y))
    if bad.any():
        raise InputError(f"row {int(bad.argmax())}: its outcome or a column is not finite")
    if n_groups < 2 or len(x) <= x.shape[1]:
        raise InputError(
            f"{len(x)} examples of {n_groups} users for {x.shape[1]} coefficients: more are needed"
        )
    if np.linalg.matrix_rank(x) < x.shape[1]:
        raise InputError("the columns depend on each other (one may be constant): leave one of them out")
