from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reclib.decoding.beam import constrained_beam_search
from reclib.decoding.exact import exact_top_k
from reclib.decoding.search_trie import SearchTrie
from reclib.schema import InputError
from reclib.text.trie import ItemTrie
from tests.decoding.made import (
    END,
    Rows,
    brute_force,
    catalogue,
    first_items,
    generated,
    item_tokens,
    lm,
    prompt_tokens,
)

CLOSE = {"atol": 1e-5, "rtol": 0.0}  # float32 sums of a few logarithms
N_ITEMS = 80
ROWS = catalogue(N_ITEMS, seed=3, lead=(7,))
TRIE = ItemTrie.build(item_tokens(ROWS))
N_USERS = 20


@pytest.mark.parametrize(
    ("scoring", "length_penalty"), [("full", None), ("full", 0.0), ("valid", None), ("valid", 0.7)]
)
@pytest.mark.parametrize("num_beams", [3, 10])
def test_lists_and_scores_are_those_of_transformers(
    scoring: str, length_penalty: float | None, num_beams: int
) -> None:
    prompts = prompt_tokens(N_USERS if length_penalty is None else 5, seed=4)
    expected = generated(
        lm(),
        prompts,
        ROWS,
        num_beams=num_beams,
        length_penalty=(1.0 if scoring == "full" else 0.0) if length_penalty is None else length_penalty,
        renormalize=scoring == "valid",
    )
    found = constrained_beam_search(
        lm(), prompts, TRIE, num_beams=num_beams, scoring=scoring, length_penalty=length_penalty
    )
    for user, entries in enumerate(expected):
        scores, items = first_items(entries, num_beams)
        assert found.items[user].tolist() == items
        np.testing.assert_allclose(found.scores[user], scores, **CLOSE)


def test_enough_beams_find_the_exact_lists() -> None:
    prompts = prompt_tokens(4)
    beams = constrained_beam_search(lm(), prompts, TRIE, num_beams=N_ITEMS, scoring="valid")
    exact = exact_top_k(lm(), prompts, TRIE, k=N_ITEMS)
    np.testing.assert_allclose(beams.scores, exact.scores, **CLOSE)
    assert (np.sort(beams.items) == np.arange(1, N_ITEMS + 1)).all()


def test_enough_beams_find_every_item_by_its_full_probability() -> None:
    prompts = prompt_tokens(3)
    truth = brute_force(lm(), prompts, ROWS, full=True)
    beams = constrained_beam_search(lm(), prompts, TRIE, num_beams=N_ITEMS, length_penalty=0.0)
    np.testing.assert_allclose(beams.scores, -np.sort(-truth[:, 1:], axis=1), atol=1e-4, rtol=0.0)


@pytest.mark.parametrize("scoring", ["full", "valid"])
def test_a_batch_of_users_is_each_user_alone(scoring: str) -> None:
    prompts, search = prompt_tokens(4), SearchTrie.build(TRIE)
    together = constrained_beam_search(lm(), prompts, search, num_beams=10, scoring=scoring)
    for user in range(4):
        alone = constrained_beam_search(
            lm(), prompts.take(np.array([user])), search, num_beams=10, scoring=scoring
        )
        np.testing.assert_array_equal(together.items[user], alone.items[0])
        np.testing.assert_allclose(together.scores[user], alone.scores[0], **CLOSE)


@pytest.mark.parametrize("scoring", ["full", "valid"])
def test_one_beam_ends_in_an_item(scoring: str) -> None:
    prompts = prompt_tokens(4)
    found = constrained_beam_search(lm(), prompts, TRIE, num_beams=1, scoring=scoring, length_penalty=0.0)
    truth = brute_force(lm(), prompts, ROWS, full=scoring == "full")
    np.testing.assert_allclose(
        found.scores, np.take_along_axis(truth, found.items.astype(int), axis=1), **CLOSE
    )


@pytest.mark.parametrize(("scoring", "certain"), [("full", False), ("valid", True)])
def test_a_single_title(scoring: str, certain: bool) -> None:
    trie = ItemTrie.build(item_tokens([[5, 6, END], [5, 6, END]]))
    found = constrained_beam_search(lm(), prompt_tokens(2), trie, num_beams=2, scoring=scoring)
    assert found.items.tolist() == [[1, 2], [1, 2]]
    assert (found.scores == 0.0).all() == certain


catalogues = st.lists(
    st.lists(st.integers(10, 13), max_size=5).map(lambda row: [*row, END]), min_size=1, max_size=12
)


@settings(max_examples=40)
@given(catalogues, st.data())
def test_lists_are_full_whatever_the_catalogue(rows: Rows, data: st.DataObject) -> None:
    prompts, trie = prompt_tokens(2), ItemTrie.build(item_tokens(rows))
    num_beams = data.draw(st.integers(1, len(rows)))
    for scoring in ("full", "valid"):
        found = constrained_beam_search(lm(), prompts, trie, num_beams=num_beams, scoring=scoring)
        assert all(len(set(items) - {0}) == num_beams for items in found.items.tolist())
        assert np.isfinite(found.scores).all()
        assert (np.diff(found.scores, axis=1) <= 0).all()


def test_bad_input_is_refused() -> None:
    prompts = prompt_tokens(1)
    with pytest.raises(InputError, match=f"list of {N_ITEMS + 1} items .* catalogue has {N_ITEMS}"):
        constrained_beam_search(lm(), prompts, TRIE, num_beams=N_ITEMS + 1)
    with pytest.raises(InputError, match="scoring is 'both'"):
        constrained_beam_search(lm(), prompts, TRIE, num_beams=2, scoring="both")
    prefix = ItemTrie.build(item_tokens([[5, 6], [5, 6, 7]]))
    with pytest.raises(InputError, match="prefix of another"):
        constrained_beam_search(lm(), prompts, prefix, num_beams=1)
