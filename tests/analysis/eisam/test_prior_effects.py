"""The prior against the data on made windows whose outcomes have known causes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest

from reclib.analysis.eisam import prior_effects, prior_statements
from reclib.analysis.eisam.prior_effects import Dominance
from reclib.analysis.eisam.prior_study import PriorStudy
from reclib.evaluation.metrics import METHOD
from tests.analysis.eisam.made_tails import Tails, tails


@dataclass
class Run:
    """Tables of a run, as an artifact holds them."""

    tables: dict[str, pd.DataFrame]

    def __getitem__(self, name: str) -> pd.DataFrame:
        return self.tables[name]


def run_of(made: Tails, log_p: np.ndarray, generator: np.random.Generator, above: float) -> Run:
    """A target is hit where its logarithm of probability is high; lists hold random items."""
    rank = pd.Series(np.where(log_p > above, generator.integers(1, 11, len(log_p)), 0), dtype="Int64")
    windows = pd.DataFrame({"window": np.arange(len(log_p)), "rank": rank.mask(rank == 0)})
    windows["catalogue_nll"] = np.maximum(-log_p, 0.01)
    items = generator.integers(1, len(made.counts), size=(len(log_p), 10))
    place = {"window": np.repeat(windows["window"], 10), "rank": np.tile(np.arange(1, 11), len(log_p))}
    return Run({"windows": windows, "lists": pd.DataFrame({**place, "item_idx": items.ravel()})})


@cache
def study(n_users: int = 300, hits: str = "many") -> PriorStudy:
    """A tuned model led by the data and a little by the prior, an untuned one by it alone; SASRec by data."""
    made, generator = tails(n_items=200, n_users=n_users), np.random.default_rng(7)
    above = -8.0 if hits == "many" else -5.0

    def outcome(data: float, prior: float, both: float) -> Run:
        noise = (
            0.6 * generator.normal(size=len(made.target)) + 0.3 * generator.normal(size=n_users)[made.user]
        )
        effect = data * made.log_data + prior * made.log_prior + both * made.log_data * made.log_prior
        return run_of(made, -9.0 + effect + noise, generator, above)

    items = made.items().assign(
        text=[f"Title {item}" + " more" * (item % 3) for item in made.items()["item_idx"]],
        is_ambiguous=lambda table: table["item_idx"] % 17 == 0,
    )
    runs = {
        "untuned": [outcome(0.0, 0.9, 0.0)],
        "lml": [outcome(0.8, 0.4, 0.0)],
        "msl": [outcome(1.2, 0.4, 0.2)],
        "sasrec": [outcome(1.2, 0.0, 0.0)],
    }
    dataset: Any = type("Made", (), {"n_items": len(items)})()
    return PriorStudy(dataset, made.windows(), items, runs, (5, 10), 200)  # type: ignore[arg-type]


def rows(table: pd.DataFrame, **chosen: object) -> pd.DataFrame:
    for name, value in chosen.items():
        table = table[table[name] == value]
    return table


def test_both_regressions_find_what_was_planted_where_there_are_hits() -> None:
    table = prior_effects.regressions(study())
    assert set(table["outcome"]) == {"hit", "log_p"}
    graded = rows(table, outcome="log_p", method="msl").set_index("term")
    for term, value in {"data": 1.2, "prior": 0.4, "data × prior": 0.2}.items():
        assert graded.loc[term, "low"] < value < graded.loc[term, "high"]
        assert graded.loc[term, "high"] - graded.loc[term, "low"] < 0.3
    assert graded.loc["data", "deviance_drop"] > graded.loc["prior", "deviance_drop"] > 0
    hit = rows(table, outcome="hit", method="msl").set_index("term")
    assert hit.loc["data", "low"] > 0
    assert study().controls == ["title_words"], "histories of one length explain nothing"


def test_few_hits_leave_the_graded_outcome_alone() -> None:
    few = study(60, "few")
    assert 0 < few.hits()["msl"] < 50
    assert prior_effects.enough_hits(few) == {}
    table = prior_effects.regressions(few)
    assert set(table["outcome"]) == {"log_p"}
    assert set(prior_effects.differences(few)["outcome"]) == {"log_p"}


def test_the_id_only_model_is_subtracted() -> None:
    found = rows(prior_effects.differences(study()), outcome="log_p", method="msl").set_index("term")
    assert found.loc["prior", "low"] < 0.4 < found.loc["prior", "high"]
    assert found.loc["data", "low"] < 0 < found.loc["data", "high"]
    tables = prior_effects.cell_tables(study())
    contrast = rows(tables["differences"], method="msl", metric="log_p", contrast="prior").iloc[0]
    assert contrast["low"] > 0
    own = rows(tables["contrasts"], metric="log_p", contrast="prior").set_index(METHOD)["value"]
    assert contrast["value"] == pytest.approx(own["msl"] - own["sasrec"])
    assert len(tables["exposure"]) == 4 * 2 * 4


def test_shuffled_titles_explain_nothing() -> None:
    table = prior_effects.placebo(study(), n_draws=40)
    prior = rows(table, term="prior").set_index(METHOD)
    assert prior.loc[["untuned", "lml", "msl"], "is_outside"].all()
    assert not prior.loc["sasrec", "is_outside"]
    assert (prior["low"] < 0.1).all()


def test_what_dominates_is_told_with_its_interval() -> None:
    tuned, untuned = (prior_effects.dominance(study(), name) for name in ("msl", "untuned"))
    assert tuned.low > 2
    assert tuned.low < tuned.value < tuned.high
    assert untuned.value < 0.1
    drop = rows(prior_effects.regressions(study()), outcome="log_p", method="msl").set_index("term")
    ratio = drop.loc["data", "deviance_drop"] / drop.loc["prior", "deviance_drop"]
    assert tuned.value == pytest.approx(ratio)


def test_matched_items_other_measures_and_other_heads() -> None:
    matched = rows(prior_effects.matched(study()), metric="log_p", group="pooled").set_index(METHOD)
    assert matched.loc["untuned", "low"] > 0.5
    assert matched.loc["sasrec", "value"] < 0.3
    measures = {"same": study().items["prior_popularity"].to_numpy(), "none": np.ones(200)}
    others = prior_effects.other_measures(study(), measures)
    assert set(others["measure"]) == {"unambiguous titles", "same"}
    assert (others[others[METHOD] == "msl"]["low"] > 0).all()
    splits = prior_effects.cells_at_other_splits(study())
    assert splits["split"].nunique() == 3
    assert (rows(splits, method="msl", metric="log_p", contrast="data")["low"] > 0).all()


def statements(**change: object) -> list[dict[str, Any]]:
    tables = prior_effects.cell_tables(study())
    return [
        prior_statements.both_matter_statement(
            prior_effects.regressions(study()),
            prior_effects.differences(study()),
            prior_effects.placebo(study(), n_draws=40),
            "made",
        ),
        prior_statements.intersection_statement(tables["cells"], tables["contrasts"], "made", 10),
    ]


def test_statements_hold_where_their_rules_are_met_and_only_there() -> None:
    two, three = statements()
    assert (two["number"], two["holds"]) == ("2", True)
    assert "log-odds of a hit" in two["note"]
    assert three["number"] == "3"
    assert three["holds"] == (three["low"] > 0 and "highest cell HH" in three["note"])
    strong, weak, none = Dominance(3.0, 1.5, 6.0), Dominance(0.4, 0.1, 0.9), Dominance(2.8, 0.5, 9.0)
    assert prior_statements.dominance_statement(strong, weak, "made")["holds"]
    assert not prior_statements.dominance_statement(strong, Dominance(2.0, 1.0, 4.0), "made")["holds"]
    assert not prior_statements.dominance_statement(none, weak, "made")["holds"]
    assert not prior_statements.dominance_statement(weak, weak, "made")["holds"]
