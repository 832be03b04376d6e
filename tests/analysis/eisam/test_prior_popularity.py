"""The prior of a catalogue against full enumeration with a tiny random model, and its tables."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from reclib import config
from reclib.analysis.eisam import prior_popularity
from reclib.analysis.eisam.prior_popularity import (
    PriorConfig,
    catalogue_texts,
    item_table,
    mean_prior,
    prior_step,
    template_priors,
)
from reclib.config import LMConfig
from reclib.data.dataset import Dataset
from reclib.data.load import load
from reclib.models.causal_lm import CausalLM, load_lm
from reclib.schema import InputError
from reclib.text.prior_prompts import TEMPLATES, prior_contexts, tokenize_contexts
from reclib.text.tokenization import tokenize_items
from tests.analysis.bench import PROFILE
from tests.decoding.made import brute_force

# Titles that begin others, and one that three items share.
TITLES = ["The Red", "The Red House", "The Red House", "Blue Moon", "The Red House II", "The Red House", "It"]


@lru_cache
def lm() -> CausalLM:
    return load_lm(LMConfig(name="random"), seed=0, titles=TITLES)


@lru_cache
def dataset() -> Dataset:
    return load(PROFILE.data, seed=0)


def priors(**options: object) -> np.ndarray:
    return template_priors(lm(), TITLES, "movies", progress=False, **options)


def test_the_prior_is_that_of_every_title_enumerated_by_itself() -> None:
    tokens = tokenize_items(TITLES, lm().tokenizer)
    rows = [tokens.of(item).tolist() for item in range(1, len(TITLES) + 1)]
    contexts = tokenize_contexts(prior_contexts("movies"), lm().tokenizer)
    shared = np.array([TITLES.count(title) for title in TITLES])
    expected = np.exp(brute_force(lm(), contexts, rows)[:, 1:]) / shared
    np.testing.assert_allclose(np.exp(priors()[:, 1:]), expected, rtol=1e-4)


def test_the_probabilities_of_the_catalogue_sum_to_one_under_every_template_and_in_the_mean() -> None:
    log_prior = priors()
    np.testing.assert_allclose(np.exp(log_prior).sum(axis=1), np.ones(len(TEMPLATES)), atol=1e-4)
    prior = mean_prior(log_prior)
    assert prior.sum() == pytest.approx(1, abs=1e-12)
    assert prior[0] == 0
    assert prior[2] == prior[3] == prior[6], "items of one title share its probability equally"


def test_the_mean_is_of_logarithms_and_has_their_order() -> None:
    log_prior = np.full((2, 4), -np.inf)
    log_prior[:, 1:] = np.log([[0.1, 0.4, 0.5], [0.4, 0.4, 0.2]])
    root = np.sqrt([0.1 * 0.4, 0.4 * 0.4, 0.5 * 0.2])
    np.testing.assert_allclose(mean_prior(log_prior)[1:], root / root.sum())


def test_very_improbable_titles_keep_their_order() -> None:
    prior = mean_prior(np.array([[-np.inf, -900.0, -901.0, -1.0]]))
    assert prior[3] == pytest.approx(1)
    assert np.isfinite(prior).all()


def test_a_template_is_the_same_alone_and_among_others() -> None:
    together = priors()
    for place, name in enumerate(TEMPLATES):
        np.testing.assert_allclose(priors(templates=[name])[0], together[place], atol=1e-5)


def test_a_model_in_half_precision_whose_sum_misses_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = prior_popularity.catalogue_log_probs
    monkeypatch.setattr(
        prior_popularity, "catalogue_log_probs", lambda *args, **options: whole(*args, **options) + 1e-3
    )
    with pytest.raises(InputError, match=r"template \w+: .* miss one by 0.001; load the model"):
        priors()


def test_the_step_gives_the_prior_its_controls_and_the_correlation_with_the_data(tmp_path: Path) -> None:
    settings = prior_popularity.config(PROFILE)
    tables = prior_step(settings, seed=0, workdir=tmp_path)
    items = tables["items"]
    assert len(items) == dataset().n_items
    assert items["prior_popularity"].sum() == pytest.approx(1, abs=1e-9)
    assert items["data_popularity"].sum() == pytest.approx(1, abs=1e-9)
    assert items["prior_head"].sum() == items["data_head"].sum() == np.ceil(0.2 * dataset().n_items)
    assert tables["correlation"]["items"].tolist()[0] == "all"
    assert tables["correlation"]["value"].between(-1, 1).all()
    assert len(tables["stability"]) == 10, "each two of five templates"
    assert len(tables["templates"]) == 5 * dataset().n_items
    assert tables["templates"].groupby("template")["log_prior"].apply(lambda q: np.exp(q).sum()).tolist() == (
        pytest.approx([1] * 5, abs=1e-4)
    )


def test_a_step_that_was_killed_gives_the_same_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = PriorConfig(data=PROFILE.data, lm=PROFILE.lm, templates=("bare", "asked"), bootstrap=20)
    straight = prior_step(settings, seed=0, workdir=tmp_path / "straight")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(prior_popularity, "item_table", killed)
        with pytest.raises(KeyboardInterrupt):
            prior_step(settings, seed=0, workdir=tmp_path / "killed")
    again = prior_step(settings, seed=0, workdir=tmp_path / "killed")
    assert again["items"].equals(straight["items"])
    assert again["stability"].equals(straight["stability"])


def test_products_are_cut_and_given_titles_are_not() -> None:
    long = "One Two Three Four Five Six Seven Eight Nine Ten, Eleven"
    made = Dataset(**{**vars(dataset()), "items": dataset().items.assign(title=long)})
    assert catalogue_texts(made, lm(), titles="given", max_tokens=4)[0] == long
    short = catalogue_texts(made, lm(), titles="cleaned", max_tokens=4)[0]
    assert long.startswith(short)
    assert len(short) < len("One Two Three Four Five")


def test_a_prior_of_another_catalogue_is_refused() -> None:
    with pytest.raises(InputError, match="7 texts and a prior of 7 items"):
        item_table(dataset(), TITLES, mean_prior(priors()))


def test_a_profile_names_its_own_data_and_model() -> None:
    settings = prior_popularity.config(config.DEFAULT)
    assert (settings.data, settings.lm) == (config.DEFAULT.data, config.DEFAULT.lm)
    assert len(settings.templates) >= 5
