"""Grounding: answers are transformers' own, texts are embedded as plain passes do, near titles rank first."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from reclib.config import LMConfig
from reclib.decoding import grounding
from reclib.decoding.grounding import _first_line, generate_freely, grounded_lists, text_states
from reclib.kernels.grounding import reweighted_distances
from reclib.models.causal_lm import load_lm
from reclib.schema import InputError
from tests.decoding.made import TITLES, lm, prompt_tokens
from tests.models.hybrid import with_items
from tests.sizes import Sizes

MORE = [*TITLES, "Blue", "The Red House (again)", "The Red House"]


def titles_matrix(titles: list[str], pooling: str = "last") -> np.ndarray:
    return np.pad(text_states(lm(), titles, pooling=pooling), ((1, 0), (0, 0)))


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_a_text_is_its_last_state_or_the_mean_whatever_it_is_batched_with(pooling: str) -> None:
    found = text_states(lm(), [*MORE, ""], pooling=pooling)
    for row, text in zip(found, MORE, strict=False):
        tokens = torch.tensor([lm().tokenizer(text)["input_ids"]])
        with torch.no_grad():
            hidden = lm().hidden_states(tokens)[0][0]
        expected = hidden[-1] if pooling == "last" else hidden.mean(dim=0)
        np.testing.assert_allclose(row, expected.numpy(), atol=1e-5)
    assert not found[-1].any()
    with pytest.raises(InputError, match='choose "last" or "mean"'):
        text_states(lm(), MORE, pooling="first")


@pytest.mark.parametrize("num_beams", [1, 3])
def test_answers_are_those_of_each_prompt_alone(num_beams: int) -> None:
    prompts = prompt_tokens(4)
    found = generate_freely(lm(), prompts, num_beams=num_beams, max_new_tokens=6)
    for row, answer in enumerate(found):
        tokens = torch.from_numpy(prompts.of(row).astype(np.int64))[None]
        alone = lm().network.generate(
            tokens,
            attention_mask=torch.ones_like(tokens),
            num_beams=num_beams,
            do_sample=False,
            max_new_tokens=6,
            eos_token_id=lm().end_token,
            pad_token_id=lm().end_token,
        )
        text = lm().tokenizer.decode(alone[0, tokens.shape[1] :], skip_special_tokens=True)
        assert answer == text.strip().split("\n")[0].strip().strip('"').strip()


def test_what_follows_a_title_is_no_part_of_the_answer() -> None:
    assert _first_line('\n"Soul Food (1997)"\n\n### Expected Output:\n"Soul') == "Soul Food (1997)"
    assert _first_line(' "" ') == ""


def test_prompts_with_vectors_are_answered_too() -> None:
    own = load_lm(LMConfig(name="random"), seed=0, titles=TITLES)
    with_items(own, 3)
    prompts = prompt_tokens(2)
    plain = generate_freely(own, prompts, num_beams=2, max_new_tokens=5)
    prompts.tokens[prompts.start[1:] - 1] = own.vocabulary_size + 2
    assert generate_freely(own, prompts, num_beams=2, max_new_tokens=5) != plain


def test_an_exact_title_gives_its_item_first_and_items_of_one_title_together() -> None:
    states = titles_matrix(MORE)
    (lists,) = grounded_lists(states[1:], states, k=len(MORE))
    first = {title: MORE.index(title) + 1 for title in MORE}
    assert lists.items[:, 0].tolist() == [first[title] for title in MORE]
    assert lists.items[0, :2].tolist() == [1, 6]
    np.testing.assert_array_equal(lists.scores[:, 0], 0)
    assert (np.diff(lists.scores, axis=1) <= 0).all()


def test_knowledge_of_weight_zero_changes_nothing_and_of_large_weight_lifts_what_is_known() -> None:
    states = titles_matrix(TITLES)
    answers = text_states(lm(), ["The Red", "Blue House"], pooling="last")
    (plain,) = grounded_lists(answers, states, k=3)
    counts = np.array([99, 1, 2, 50])
    same, lifted = grounded_lists(answers, states, k=3, knowledge=counts, gammas=(0.0, 200.0))
    np.testing.assert_array_equal(same.items, plain.items)
    assert (lifted.items[:, 0] == plain.items[:, 0]).all()  # at distance 0 once scaled
    assert all(3 in row[:2] for row in lifted.items.tolist())
    of_each = np.array([[0.0, 5.0, 0.0, 0.0], [0.0, 0.0, 5.0, 0.0]])
    (lifted,) = grounded_lists(answers, states, k=3, knowledge=of_each, gammas=(200.0,))
    assert 1 in lifted.items[0, :2]
    assert 2 in lifted.items[1, :2]


def sorted_lists(
    answers: np.ndarray, titles: np.ndarray, knowledge: np.ndarray | None, gamma: float
) -> tuple[np.ndarray, np.ndarray]:
    """Slow twin of `grounded_lists`: all distances, each row sorted whole."""
    distance = torch.from_numpy(np.linalg.norm(answers[:, None] - titles[1:], axis=-1))
    if knowledge is not None:
        known = torch.from_numpy(np.atleast_2d(knowledge)[:, 1:].astype(np.float64))
        distance = reweighted_distances(distance, known, gamma=gamma)
    nearest, place = distance.sort(dim=1, stable=True)
    return place.numpy() + 1, -nearest.numpy()


@pytest.mark.parametrize("k", [1, 4, 60])
@pytest.mark.parametrize("kind", ["none", "of all", "of each"])
def test_lists_are_those_of_a_whole_sort_whatever_the_ties(
    k: int, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grounding, "DISTANCES_AT_ONCE", 150)  # blocks of two answers
    generator = np.random.default_rng(0)
    titles = generator.integers(-1, 2, size=(61, 3)).astype(np.float64)  # 27 places for 60 titles
    answers = generator.integers(-1, 2, size=(7, 3)).astype(np.float64)
    answers[3] = 0
    shape = {"none": None, "of all": 61, "of each": (7, 61)}[kind]
    knowledge = None if shape is None else generator.integers(0, 2, size=shape)
    gammas = (0.0,) if shape is None else (0.0, 1.0, 50.0)
    found = grounded_lists(answers, titles, k=k, knowledge=knowledge, gammas=gammas)
    answered = answers.any(axis=1)
    for gamma, lists in zip(gammas, found, strict=True):
        items, scores = sorted_lists(answers, titles, knowledge, gamma)
        np.testing.assert_array_equal(lists.items[answered], items[answered, :k])
        np.testing.assert_allclose(lists.scores[answered], scores[answered, :k], rtol=1e-6)
        assert not lists.items[~answered].any()


def test_no_matrix_of_answers_and_titles_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grounding, "DISTANCES_AT_ONCE", 200)
    generator = np.random.default_rng(0)
    answers, titles = generator.normal(size=(30, 2)), generator.normal(size=(101, 2))
    with Sizes() as sizes:
        grounded_lists(answers, titles, k=5, knowledge=np.arange(101), gammas=(0.0, 1.0))
    assert sizes.largest == 200


def test_an_answer_without_a_token_has_an_empty_list_and_bad_input_is_refused() -> None:
    states = titles_matrix(TITLES)
    answers = text_states(lm(), ["", "Blue Moon"], pooling="last")
    (lists,) = grounded_lists(answers, states, k=2)
    assert lists.items[0].tolist() == [0, 0]
    assert lists.table()["window"].tolist() == [1, 1]
    with pytest.raises(InputError, match="list of 9 items"):
        grounded_lists(answers, states, k=9)
    with pytest.raises(InputError, match="state of answer 0 is NaN"):
        grounded_lists(np.full_like(answers, np.nan), states, k=2)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_title_or_knowledge_that_is_no_number_is_named(value: float) -> None:
    states = titles_matrix(TITLES)
    answers, counts = states[1:], np.arange(4.0)
    states[0], counts[0] = value, value  # padding is not read
    grounded_lists(answers, states, k=2, knowledge=counts)
    bad = states.copy()
    bad[2, 1] = value
    with pytest.raises(InputError, match="title state of item_idx 2 is NaN or infinite"):
        grounded_lists(answers, bad, k=2, knowledge=counts)
    of_each = np.ones((3, 4))
    of_each[1, 3] = value
    with pytest.raises(InputError, match="knowledge of item_idx 3 is NaN or infinite"):
        grounded_lists(answers, states, k=2, knowledge=of_each)
