"""What regressions share whose errors allow the examples of one user to depend on each other."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from reclib.schema import InputError


class ClusteredFit(NamedTuple):
    """A fitted regression.

    coefficient: (P,); covariance: (P, P), clustered; deviance: −2 log-likelihood, see the regression
    n, n_clusters: how many
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


def clustered_covariance(
    x: np.ndarray, error: np.ndarray, group: np.ndarray, inverse: np.ndarray
) -> np.ndarray:
    """Covariance of coefficients that is robust within clusters.

    c A (Σ_g s_g s_gᵀ) A,  s_g = Σ_{k in g} e_k x_k,  c = G/(G−1) · (n−1)/(n−P)

    c is the usual correction for G clusters and P coefficients of n examples.

    x: (n, P); error: (n,) e; group: (n,) from 0 to G − 1; inverse: (P, P) A, of the information.
    """
    n, n_terms, n_groups = *x.shape, int(group.max()) + 1
    scores = np.zeros((n_groups, n_terms))
    np.add.at(scores, group, error[:, None] * x)
    correction = n_groups / (n_groups - 1) * (n - 1) / (n - n_terms)
    return correction * inverse @ (scores.T @ scores) @ inverse


def check_shapes(x: np.ndarray, y: np.ndarray, group: np.ndarray) -> None:
    """Refuse tables whose rows do not fit: design (n, P), outcome (n,), clusters (n,)."""
    if x.ndim != 2 or y.shape != (len(x),) or len(group) != len(x):
        raise InputError(
            f"columns of shape {x.shape}, {y.shape} outcomes, {len(group)} clusters: one row an example"
        )


def check_columns(x: np.ndarray, n_groups: int) -> None:
    """Refuse too few examples or clusters, and columns that depend on each other."""
    if n_groups < 2 or len(x) <= x.shape[1]:
        raise InputError(
            f"{len(x)} examples of {n_groups} users for {x.shape[1]} coefficients: more are needed"
        )
    if np.linalg.matrix_rank(x) < x.shape[1]:
        raise InputError("the columns depend on each other (one may be constant): leave one of them out")
