"""The regression of hits: planted coefficients come back, a placebo's do not differ from zero."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from reclib.analysis.eisam.hit_regression import (
    hit_examples,
    hit_regression,
    regression_difference,
    shared_categories,
)
from reclib.analysis.eisam.prior_controls import shuffled_prior
from reclib.data.dataset import Windows
from reclib.schema import InputError
from tests.analysis.eisam.made_tails import Tails, hits, tails

PLANTED = {"constant": -1.0, "data": 0.9, "prior": 0.3, "data × prior": 0.2}


def examples_of(made: Tails, prior: np.ndarray | None = None, **methods: np.ndarray) -> pd.DataFrame:
    items = made.items() if prior is None else made.items().assign(prior_popularity=prior[1:])
    ranks = {method: made.ranks(hit) for method, hit in methods.items()}
    return hit_examples(made.windows(), ranks, items, k=10)


@pytest.fixture(scope="module")
def made() -> Tails:
    return tails(n_users=4000)


@pytest.fixture(scope="module")
def methods(made: Tails) -> dict[str, np.ndarray]:
    data, prior = made.log_data, made.log_prior
    both = -1 + 0.9 * data + 0.3 * prior + 0.2 * data * prior
    return {"lml": hits(both, made.user, seed=1), "sasrec": hits(-1 + 0.9 * data, made.user, seed=2)}


def test_planted_coefficients_are_recovered(made: Tails, methods: dict[str, np.ndarray]) -> None:
    table = hit_regression(examples_of(made, **methods)).set_index(["method", "term"])
    for term, value in PLANTED.items():
        row = table.loc[("lml", term)]
        assert row["low"] < value < row["high"], term
        assert row["high"] - row["low"] < 0.3
    for term in ("prior", "data × prior"):
        row = table.loc[("sasrec", term)]
        assert row["low"] < 0 < row["high"], term
    drop = table["deviance_drop"].xs("lml")
    assert drop["data"] > 2 * drop["prior"] > 0
    assert np.isnan(drop["constant"])
    assert (table["n"] == len(made.target)).all()
    assert (table["n_users"] == 4000).all()


def test_the_drop_in_deviance_of_a_term_without_effect_is_that_of_chance(
    made: Tails, methods: dict[str, np.ndarray]
) -> None:
    examples = examples_of(made, **methods).assign(
        noise=np.random.default_rng(0).normal(size=2 * len(made.target))
    )
    drop = hit_regression(examples, controls=["noise"]).set_index(["method", "term"])["deviance_drop"]
    assert 0 <= drop[("lml", "noise")] < 10  # χ² of one degree, widened by clustering
    assert drop[("lml", "prior")] > 50


def test_a_placebo_shows_no_prior(made: Tails, methods: dict[str, np.ndarray]) -> None:
    placebo = shuffled_prior(made.prior, made.counts, generator=np.random.default_rng(5), smallest_group=20)
    table = hit_regression(examples_of(made, placebo, **methods)).set_index(["method", "term"])
    real = hit_regression(examples_of(made, **methods)).set_index(["method", "term"])
    assert abs(table.loc[("lml", "prior"), "value"]) < 0.25 * real.loc[("lml", "prior"), "value"]
    assert table.loc[("lml", "data"), "low"] > 0.7, "the data's effect stays"


def test_the_difference_to_an_id_model_is_the_planted_one(
    made: Tails, methods: dict[str, np.ndarray]
) -> None:
    examples = examples_of(made, **methods)
    table = regression_difference(examples, reference="sasrec").set_index("term")
    assert table.loc["prior", "low"] < 0.3 < table.loc["prior", "high"]
    assert table.loc["prior", "low"] > 0
    assert table.loc["data", "low"] < 0 < table.loc["data", "high"]
    alone = hit_regression(examples).set_index(["method", "term"])["value"]
    for term in PLANTED:
        expected = alone[("lml", term)] - alone[("sasrec", term)]
        assert table.loc[term, "value"] == pytest.approx(expected, abs=1e-6)


def test_methods_that_err_together_have_a_narrower_difference(made: Tails) -> None:
    logit = -1 + 0.9 * made.log_data
    one = hits(logit, made.user, seed=3)
    almost = one ^ (np.random.default_rng(4).random(len(one)) < 0.01)
    widths = []
    for other in (almost, hits(logit, made.user, seed=5)):
        table = regression_difference(examples_of(made, lml=other, sasrec=one), reference="sasrec")
        widths.append((table["high"] - table["low"]).to_numpy())
    assert (widths[0] < 0.5 * widths[1]).all()


def test_examples_are_joined_to_their_items() -> None:
    items = pd.DataFrame({"item_idx": [1, 2], "count": [0, 9], "prior_popularity": [0.25, 0.75]})
    windows = Windows(
        np.array([5, 6]), np.array([[0, 1], [2, 1]], dtype=np.int32), np.array([2, 1], np.int32), np.zeros(2)
    )
    ranks = pd.Series([10, pd.NA], dtype="Int64")
    table = hit_examples(
        windows,
        {"lml": ranks},
        items,
        k=10,
        title_tokens=np.array([3, 4]),
        categories=["Action Comedy", "Drama"],
    )
    assert table["hit"].tolist() == [1, 0]
    np.testing.assert_allclose(table["log_data"], np.log([10, 1]))
    np.testing.assert_allclose(table["log_prior"], np.log([0.75, 0.25]))
    assert table["history_length"].tolist() == [1, 2]
    assert table["title_tokens"].tolist() == [4, 3]
    assert table["same_category"].tolist() == [0, 1]
    assert table["user_id"].tolist() == [5, 6]


def test_categories_are_shared_by_name() -> None:
    windows = Windows(
        np.zeros(3),
        np.array([[1, 2], [0, 3], [1, 4]], dtype=np.int32),
        np.array([4, 1, 3], np.int32),
        np.zeros(3),
    )
    names = ["Toys & Games, Puzzles", "Puzzles, Wood", "", "Wood, Toys & Games"]
    assert shared_categories(windows, names).tolist() == [2, 0, 0]
    assert shared_categories(windows, ["Action Comedy", "Drama", None, "Comedy"]).tolist() == [1, 0, 0]


def test_bad_input_is_refused(made: Tails, methods: dict[str, np.ndarray]) -> None:
    examples = examples_of(made, **methods)
    with pytest.raises(InputError, match="column history_length is the same for all"):
        hit_regression(examples, controls=["history_length"])
    with pytest.raises(InputError, match="no column mine"):
        hit_regression(examples, controls=["mine"])
    with pytest.raises(InputError, match="all outcomes are the same"):
        hit_regression(examples.assign(hit=0))
    with pytest.raises(InputError, match="no rows"):
        hit_regression(examples.iloc[:0])
    with pytest.raises(InputError, match="gru4rec and another method are needed"):
        regression_difference(examples, reference="gru4rec")
    with pytest.raises(InputError, match="lml has 1 ranks for"):
        hit_examples(made.windows(), {"lml": made.ranks(np.array([True]))}, made.items(), k=10)
    with pytest.raises(InputError, match="the table has 3: pass all items"):
        hit_examples(made.windows(), {"lml": made.ranks(methods["lml"])}, made.items().iloc[:3], k=10)
