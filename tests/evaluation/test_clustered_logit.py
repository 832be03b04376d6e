from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from reclib.evaluation.clustered import ClusteredFit
from reclib.evaluation.clustered_logit import clustered_logit
from reclib.schema import InputError

BETA = np.array([-1.0, 0.8, -0.4])


def made(
    generator: np.random.Generator, *, n_users: int = 120, each: int = 10, shared: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Examples of users; a `shared` part of a column and of the outcome's noise is the user's."""
    user = np.repeat(np.arange(n_users), each)
    own = generator.normal(size=(len(user), 2))
    common = generator.normal(size=(n_users, 2))[user]
    x = np.column_stack([np.ones(len(user)), np.sqrt(1 - shared) * own + np.sqrt(shared) * common])
    noise = generator.logistic(size=len(user))
    return x, (x @ BETA + noise > 0).astype(int), user


def naive_covariance(x: np.ndarray, y: np.ndarray, user: np.ndarray, fit: ClusteredFit) -> np.ndarray:
    """The sandwich, example by example and user by user."""
    n, n_terms = x.shape
    bread, meat = np.zeros((n_terms, n_terms)), np.zeros((n_terms, n_terms))
    for label in np.unique(user):
        score = np.zeros(n_terms)
        for row, hit in zip(x[user == label], y[user == label], strict=True):
            p = 1 / (1 + np.exp(-row @ fit.coefficient))
            bread += p * (1 - p) * np.outer(row, row)
            score += (hit - p) * row
        meat += np.outer(score, score)
    n_users = len(np.unique(user))
    inverse = np.linalg.inv(bread)
    return n_users / (n_users - 1) * (n - 1) / (n - n_terms) * inverse @ meat @ inverse


def test_coefficients_are_scikit_learns_and_errors_those_of_a_loop() -> None:
    x, y, user = made(np.random.default_rng(0), shared=0.5)
    fit = clustered_logit(x, y, user)
    peer = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10, max_iter=1000).fit(x, y)
    np.testing.assert_allclose(fit.coefficient, peer.coef_[0], atol=1e-5)
    np.testing.assert_allclose(fit.covariance, naive_covariance(x, y, user, fit), rtol=1e-9)
    p = peer.predict_proba(x)[:, 1]
    assert fit.deviance == pytest.approx(-2 * (y * np.log(p) + (1 - y) * np.log(1 - p)).sum())
    assert (fit.n, fit.n_clusters) == (1200, 120)


def test_planted_coefficients_are_covered_as_often_as_the_interval_says() -> None:
    """Users' outcomes and columns depend: errors that took examples as independent would cover too rarely."""
    generator, covered, independent = np.random.default_rng(1), np.zeros(3), np.zeros(3)
    for _ in range(200):
        x, y, user = made(generator, n_users=80, each=8, shared=0.9)
        twice = (np.repeat(each, 3, axis=0) for each in (x, y, user))  # each example three times over
        fit = clustered_logit(*twice)
        covered += np.abs(fit.coefficient - BETA) < 1.96 * fit.error
        alone = clustered_logit(*(np.repeat(each, 3, axis=0) for each in (x, y)), np.arange(3 * len(x)))
        independent += np.abs(alone.coefficient - BETA) < 1.96 * alone.error
    assert (covered / 200 > 0.9).all()
    assert (independent / 200 < 0.85).all()


def test_one_cluster_an_example_is_the_usual_error_at_large_n() -> None:
    x, y, _ = made(np.random.default_rng(2), n_users=2000, each=5)
    fit = clustered_logit(x, y, np.arange(len(x)))
    p = 1 / (1 + np.exp(-x @ fit.coefficient))
    usual = np.sqrt(np.diag(np.linalg.inv((x * (p * (1 - p))[:, None]).T @ x)))
    np.testing.assert_allclose(fit.error, usual, rtol=0.05)  # equal in expectation where the model is true


def test_labels_of_users_may_be_anything_and_their_order_does_not_matter() -> None:
    x, y, user = made(np.random.default_rng(3))
    order = np.random.default_rng(4).permutation(len(x))
    names = np.array([f"user {label}" for label in user])
    plain, moved = clustered_logit(x, y, user), clustered_logit(x[order], y[order], names[order])
    np.testing.assert_allclose(moved.covariance, plain.covariance, rtol=1e-8)


def test_bad_input_is_refused() -> None:
    x, y, user = made(np.random.default_rng(5))
    with pytest.raises(InputError, match="all outcomes are the same"):
        clustered_logit(x, np.zeros(len(x)), user)
    with pytest.raises(InputError, match="row 0: its outcome"):
        clustered_logit(x, np.full(len(x), 2), user)
    with pytest.raises(InputError, match="depend on each other"):
        clustered_logit(np.column_stack([x, x[:, 1]]), y, user)
    with pytest.raises(InputError, match="1 users"):
        clustered_logit(x, y, np.zeros(len(x)))
    with pytest.raises(InputError, match="one row an example"):
        clustered_logit(x, y[1:], user)
    with pytest.raises(InputError, match="perfectly"):
        clustered_logit(x, (x[:, 1] > 0).astype(int), user)
