"""Linear regression whose errors allow the examples of one user to depend on each other."""

from __future__ import annotations

import numpy as np

from reclib.evaluation.clustered import ClusteredFit, check_columns, check_shapes, clustered_covariance
from reclib.schema import InputError


def clustered_linear(design: np.ndarray, outcome: np.ndarray, cluster: np.ndarray) -> ClusteredFit:
    """Least squares of outcome = x·β + e, and a covariance robust within clusters.

    β = (XᵀX)⁻¹ Xᵀy;  Cov = c (XᵀX)⁻¹ (Σ_g s_g s_gᵀ) (XᵀX)⁻¹,  s_g = Σ_{k in g} e_k x_k,
    c = G/(G−1) · (n−1)/(n−P);  deviance = n log(Σ_k e_k² / n): −2 log-likelihood of normal errors of the most
    likely variance, without its constants.

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
    covariance = clustered_covariance(x, error, group, np.linalg.inv(x.T @ x))
    return ClusteredFit(beta, covariance, len(x) * float(np.log(square)), len(x), len(groups))


def _check(x: np.ndarray, y: np.ndarray, group: np.ndarray, n_groups: int) -> None:
    check_shapes(x, y, group)
    bad = ~(np.isfinite(x).all(axis=1) & np.isfinite(y))
    if bad.any():
        raise InputError(f"row {int(bad.argmax())}: its outcome or a column is not finite")
    check_columns(x, n_groups)
