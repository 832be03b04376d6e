from __future__ import annotations

import numpy as np
import pytest
import torch

from reclib.analysis.eisam.title_measures import (
    MEASURES,
    completed_share,
    residual,
    title_features,
    title_measures,
    token_log_frequency,
)
from reclib.text.prior_prompts import NEUTRAL, prior_contexts
from reclib.text.tokenization import tokenize_items
from tests.analysis.eisam.test_prior_popularity import TITLES, lm

PASSAGES = ("One two three.", "The red house stands.")


@torch.no_grad()
def log_prob(context: str, title: str) -> float:
    """Of a quoted title after a context, one plain pass."""
    tokenizer = lm().tokenizer
    start, own = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (context, f'"{title}"'))
    logits = lm().network(torch.tensor([start + own])).logits[0, len(start) - 1 : -1].double()
    return float(logits.log_softmax(-1)[torch.arange(len(own)), own].sum())


def test_each_measure_is_what_its_formula_says() -> None:
    templates = ["bare", "asked"]
    table = title_measures(lm(), TITLES, "movies", templates=templates, progress=False)
    assert table.columns.tolist() == ["item_idx", "title_tokens", *MEASURES]
    tokens = tokenize_items(TITLES, lm().tokenizer)
    contexts = prior_contexts("movies", templates)
    for place, title in enumerate(TITLES):
        row = table.iloc[place]
        total = np.mean([log_prob(context, title) for context in contexts])
        assert row["title_tokens"] == len(tokens.of(place + 1)) - 1
        assert row["s_tot"] == pytest.approx(total, abs=1e-4)
        assert row["s_tok"] == pytest.approx(total / row["title_tokens"], abs=1e-4)
        assert row["s_pmi"] == pytest.approx(total - log_prob(NEUTRAL, title), abs=1e-4)
    assert table["s_res"].mean() == pytest.approx(0, abs=1e-9)
    assert table["s_know"].dropna().isin([0, 0.5, 1]).all()
    assert table["s_know"].isna().tolist() == [row - 2 < 2 for row in table["title_tokens"]]


def test_a_title_is_known_where_its_second_half_and_its_end_are_greedy() -> None:
    title_tokens = np.array([6, 6, 7, 4, 3])  # 4, 4, 5, 2 and 1 tokens of words
    greedy_tail = np.array([[3, 2, 3, 2, 1], [6, 0, 2, 2, 1]])
    found = completed_share(greedy_tail, title_tokens)
    np.testing.assert_array_equal(found, [1, 0, 0.5, 1, np.nan])


def test_a_residual_is_free_of_its_features_and_keeps_the_rest() -> None:
    generator = np.random.default_rng(0)
    features = generator.normal(size=(300, 3))
    features[:, 2] = 1.0  # the same for all
    noise = generator.normal(size=300)
    found = residual(features @ [2.0, -1.0, 5.0] + 7 + noise, features)
    np.testing.assert_allclose(features.T @ found, 0, atol=1e-8)
    assert np.corrcoef(found, noise)[0, 1] > 0.98


def test_features_of_a_title_are_those_of_its_string() -> None:
    texts = ["Alien 3", "Star Wars: Hope"]
    tokens = tokenize_items(texts, lm().tokenizer)
    frequency = np.arange(lm().vocabulary_size, dtype=float)
    table = title_features(texts, tokens, frequency)
    assert table["characters"].tolist() == [7, 15]
    assert table["has_digit"].tolist() == [True, False]
    assert table["has_subtitle"].tolist() == [False, True]
    assert table["tokens"].tolist() == [len(tokens.of(item)) - 1 for item in (1, 2)]
    assert table["log_frequency"].tolist() == [float(tokens.of(item)[:-1].sum()) for item in (1, 2)]


def test_token_frequencies_are_a_distribution_averaged_over_positions() -> None:
    found = token_log_frequency(lm(), PASSAGES)
    assert found.shape == (lm().vocabulary_size,)
    assert np.exp(found).sum() == pytest.approx(1)
    parts = []
    with torch.no_grad():
        for passage in PASSAGES:
            row = lm().tokenizer(passage, add_special_tokens=False)["input_ids"]
            parts.append(lm().network(torch.tensor([row])).logits[0].double().softmax(-1))
    np.testing.assert_allclose(np.exp(found), torch.cat(parts).mean(0).numpy(), rtol=1e-4)
