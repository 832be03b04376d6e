from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from reclib.evaluation.clustered_linear import clustered_linear
from reclib.schema import InputError

BETA = np.array([-1.0, 0.8, -0.4])


def made(
    generator: np.random.Generator, *, n_users: int = 60, each: int = 6
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Examples of users, half of whose columns and errors are the user's."""
    user = np.repeat(np.arange(n_users), each)
    mixed = [
        np.sqrt(0.5) * generator.normal(size=(len(user), 3)),
        np.sqrt(0.5) * generator.normal(size=(n_users, 3))[user],
    ]
    x = np.column_stack([np.ones(len(user)), sum(mixed)[:, :2]])  # type: ignore[call-overload, index]
    return x, x @ BETA + sum(mixed)[:, 2], user  # type: ignore[call-overload, index]


def test_coefficients_are_scikit_learns_and_errors_those_of_a_loop() -> None:
    x, y, user = made(np.random.default_rng(0))
    fit = clustered_linear(x, y, np.array([f"user {label}" for label in user]))
    peer = LinearRegression(fit_intercept=False).fit(x, y)
    np.testing.assert_allclose(fit.coefficient, peer.coef_, atol=1e-10)
    meat = np.zeros((3, 3))
    for label in np.unique(user):
        score = sum((y[row] - x[row] @ peer.coef_) * x[row] for row in np.flatnonzero(user == label))
        meat += np.outer(score, score)
    inverse = np.linalg.inv(x.T @ x)
    expected = 60 / 59 * 359 / 357 * inverse @ meat @ inverse
    np.testing.assert_allclose(fit.covariance, expected, rtol=1e-9)
    assert (fit.n, fit.n_clusters) == (360, 60)


def test_the_deviance_is_twice_the_log_likelihood_up_to_a_constant() -> None:
    x, y, user = made(np.random.default_rng(1))
    whole, part = clustered_linear(x, y, user), clustered_linear(x[:, :2], y, user)

    def log_likelihood(columns: np.ndarray, beta: np.ndarray) -> float:
        left = y - columns @ beta
        return float(-0.5 * len(y) * np.log(left.var()) - 0.5 * (left**2).sum() / left.var())

    twice = 2 * (log_likelihood(x, whole.coefficient) - log_likelihood(x[:, :2], part.coefficient))
    assert part.deviance - whole.deviance == pytest.approx(twice, rel=1e-9)


def test_planted_coefficients_are_covered_as_often_as_the_interval_says() -> None:
    generator, covered, independent = np.random.default_rng(2), np.zeros(3), np.zeros(3)
    for _ in range(200):
        x, y, user = made(generator)
        covered += np.abs((fit := clustered_linear(x, y, user)).coefficient - BETA) < 1.96 * fit.error
        fit = clustered_linear(x, y, np.arange(len(y)))
        independent += np.abs(fit.coefficient - BETA) < 1.96 * fit.error
    assert (covered / 200 > 0.88).all()
    assert (independent[[0, 1, 2]] / 200 < covered / 200).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y, user: (x[:, [0, 0]], y, user), "depend on each other"),
        (lambda x, y, user: (x, x @ BETA, user), "give the outcome exactly"),
        (lambda x, y, user: (x, np.where(np.arange(len(y)) == 3, np.nan, y), user), "row 3"),
        (lambda x, y, user: (x, y, user * 0), "360 examples of 1 users"),
        (lambda x, y, user: (x, y[:-1], user), "one row an example"),
    ],
)
def test_what_cannot_be_fitted_is_refused(change: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        clustered_linear(*change(*made(np.random.default_rng(3))))  # type: ignore[operator]
