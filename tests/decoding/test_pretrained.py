"""The same oracles on a pretrained LM and a real tokenizer; 30 layers in float32 ask for more tolerance."""

from __future__ import annotations

import numpy as np
import pytest

from reclib.config import LMConfig
from reclib.decoding.beam import constrained_beam_search
from reclib.decoding.exact import exact_scores, exact_top_k
from reclib.models.causal_lm import CausalLM, load_lm
from reclib.text.prompts import prompt, prompt_head
from reclib.text.tokenization import PromptTokens, tokenize_items
from reclib.text.trie import ItemTrie
from tests.decoding.made import brute_force, first_items, generated

TITLES = [
    "The Hobbit",
    "The Hunger Games",
    "The Hunger Artist",
    "Dune",
    "Dune Messiah",
    "1984",
    "Emma",
    "Emma",
]
HISTORIES = [["Dune", "1984"], ["A Game of Thrones"]]
CLOSE = {"atol": 2e-4, "rtol": 0.0}


@pytest.fixture(scope="module")
def model(smollm2: str) -> CausalLM:
    return load_lm(LMConfig(name=smollm2), seed=0)


def tokens_of(model: CausalLM, texts: list[str]) -> list[list[int]]:
    return model.tokenizer(texts, add_special_tokens=False)["input_ids"]


def test_lists_and_scores(model: CausalLM) -> None:
    items = tokenize_items(TITLES, model.tokenizer)
    rows = [items.of(item).tolist() for item in range(1, len(TITLES) + 1)]
    (head,) = tokens_of(model, [prompt_head("books")])
    own = [row[len(head) :] for row in tokens_of(model, [prompt(titles, "books") for titles in HISTORIES])]
    prompts = PromptTokens(
        head=np.array(head, np.int32),
        tokens=np.concatenate(own).astype(np.int32),
        start=np.cumsum([0, *map(len, own)]),
    )
    trie = ItemTrie.build(items)
    truth = brute_force(model, prompts, rows)
    np.testing.assert_allclose(exact_scores(model, prompts, trie), truth, **CLOSE)
    exact = exact_top_k(model, prompts, trie, k=3)
    np.testing.assert_allclose(exact.scores, -np.sort(-truth[:, 1:], axis=1)[:, :3], **CLOSE)
    beams = constrained_beam_search(model, prompts, trie, num_beams=3)
    expected = generated(model, prompts, rows, num_beams=3, length_penalty=1.0, renormalize=False)
    for user, entries in enumerate(expected):
        scores, listed = first_items(entries, 3)
        assert beams.items[user].tolist() == listed
        np.testing.assert_allclose(beams.scores[user], scores, **CLOSE)
