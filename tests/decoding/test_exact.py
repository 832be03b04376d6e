from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reclib.decoding.beam import constrained_beam_search
from reclib.decoding.exact import exact_scores, exact_top_k
from reclib.decoding.search_trie import SearchTrie
from reclib.models.causal_lm import CausalLM
from reclib.schema import InputError
from reclib.text.trie import ItemTrie
from tests.decoding.made import (
    END,
    Rows,
    brute_force,
    catalogue,
    item_tokens,
    lm,
    prompt_tokens,
    shared_title,
)

CLOSE = {"atol": 1e-5, "rtol": 0.0}  # float32 sums of a few logarithms
N_ITEMS = 60


@pytest.fixture(scope="module", params=[(), (7, 8)], ids=["free start", "forced start"])
def rows(request: pytest.FixtureRequest) -> Rows:
    return catalogue(N_ITEMS, lead=request.param)


@pytest.fixture(scope="module")
def truth(rows: Rows) -> np.ndarray:
    return brute_force(lm(), prompt_tokens(4), rows)


def trie_of(rows: Rows) -> ItemTrie:
    return ItemTrie.build(item_tokens(rows))


@pytest.mark.parametrize("block_size", [1, 5, 1000])
def test_scores_are_those_of_every_item_by_itself(rows: Rows, truth: np.ndarray, block_size: int) -> None:
    scores = exact_scores(lm(), prompt_tokens(4), trie_of(rows), block_size=block_size)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, truth, **CLOSE)


@pytest.mark.parametrize("k", [1, 10, N_ITEMS])
@pytest.mark.parametrize("nodes_per_round", [1, 8])
def test_top_k_is_that_of_the_whole_catalogue(
    rows: Rows, truth: np.ndarray, k: int, nodes_per_round: int
) -> None:
    found = exact_top_k(lm(), prompt_tokens(4), trie_of(rows), k=k, nodes_per_round=nodes_per_round)
    assert found.items.dtype == np.int32
    np.testing.assert_allclose(found.scores, -np.sort(-truth[:, 1:], axis=1)[:, :k], **CLOSE)
    np.testing.assert_allclose(
        found.scores, np.take_along_axis(truth, found.items.astype(int), axis=1), **CLOSE
    )
    assert all(len(set(row)) == k for row in found.items.tolist())
    assert (np.diff(found.scores, axis=1) <= 0).all()


def test_the_bound_is_above_every_item_that_was_left_out(rows: Rows, truth: np.ndarray) -> None:
    found = exact_top_k(lm(), prompt_tokens(4), trie_of(rows), k=10)
    left_out = truth.copy()
    np.put_along_axis(left_out, found.items.astype(int), -np.inf, axis=1)
    assert (found.scores[:, -1] >= found.bound).all()
    assert (found.scores[:, -1] >= left_out.max(axis=1) - 1e-5).all()
    assert (found.n_opened >= 1).all()
    everything = exact_top_k(lm(), prompt_tokens(4), trie_of(rows), k=N_ITEMS)
    assert (everything.bound == -np.inf).all()
    assert (everything.n_opened == len(trie_of(rows).branching())).all()


def test_probabilities_of_distinct_titles_sum_to_one(rows: Rows) -> None:
    scores = exact_scores(lm(), prompt_tokens(4), trie_of(rows))
    distinct = [rows.index(row) + 1 for row in rows]
    total = np.exp(scores[:, sorted(set(distinct))].astype(float)).sum(axis=1)
    np.testing.assert_allclose(total, 1.0, rtol=1e-5)


def test_items_of_one_title_share_its_score_and_follow_one_another(rows: Rows) -> None:
    shared = shared_title(rows)
    assert shared
    found = exact_top_k(lm(), prompt_tokens(4), trie_of(rows), k=N_ITEMS)
    for items, scores in zip(found.items.tolist(), found.scores.tolist(), strict=True):
        for item in shared:
            twins = [i for i, row in enumerate(rows, start=1) if row == rows[item - 1]]
            first = items.index(twins[0])
            assert items[first : first + len(twins)] == twins
            assert len(set(scores[first : first + len(twins)])) == 1


def test_a_batch_of_users_is_each_user_alone(rows: Rows) -> None:
    prompts, search = prompt_tokens(4), SearchTrie.build(trie_of(rows))
    together = exact_top_k(lm(), prompts, search, k=10)
    for user in range(4):
        alone = exact_top_k(lm(), prompts.take(np.array([user])), search, k=10)
        np.testing.assert_array_equal(together.items[user], alone.items[0])
        np.testing.assert_allclose(together.scores[user], alone.scores[0], **CLOSE)
        assert together.n_opened[user] == alone.n_opened[0]


def test_forced_tokens_never_reach_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [[first, *range(20, 40), END] for first in range(50, 60)]
    n_tokens = []
    hidden_states = CausalLM.hidden_states

    def counting(self: CausalLM, input_ids: torch.Tensor, **inputs: object) -> object:
        n_tokens.append(input_ids.numel())
        return hidden_states(self, input_ids, **inputs)

    monkeypatch.setattr(CausalLM, "hidden_states", counting)
    prompts = prompt_tokens(1)
    exact_top_k(lm(), prompts, trie_of(rows), k=10)
    exact_scores(lm(), prompts, trie_of(rows))
    assert sum(n_tokens) == 2 * len(prompts.of(0))


@pytest.mark.parametrize("row", [[END], [5, 6, END]])
def test_a_single_title_is_certain(row: list[int]) -> None:
    trie = trie_of([row, row])
    found = exact_top_k(lm(), prompt_tokens(3), trie, k=2)
    assert found.items.tolist() == [[1, 2]] * 3
    assert not found.scores.any()
    assert not found.n_opened.any()
    np.testing.assert_array_equal(exact_scores(lm(), prompt_tokens(3), trie), [[-np.inf, 0, 0]] * 3)


catalogues = st.lists(
    st.lists(st.integers(10, 13), max_size=5).map(lambda row: [*row, END]), min_size=1, max_size=12
)


@settings(max_examples=40)
@given(catalogues, st.data())
def test_any_catalogue(rows: Rows, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(rows)))
    prompts, trie = prompt_tokens(2), trie_of(rows)
    scores = exact_scores(lm(), prompts, trie, block_size=data.draw(st.integers(1, 8)))
    np.testing.assert_allclose(scores, brute_force(lm(), prompts, rows), **CLOSE)
    found = exact_top_k(lm(), prompts, trie, k=k, nodes_per_round=data.draw(st.integers(1, 4)))
    np.testing.assert_allclose(found.scores, -np.sort(-scores[:, 1:], axis=1)[:, :k], **CLOSE)


@pytest.mark.parametrize("k", [0, N_ITEMS + 1])
def test_a_list_longer_than_the_catalogue_is_refused(rows: Rows, k: int) -> None:
    with pytest.raises(InputError, match=f"list of {k} items .* catalogue has {N_ITEMS}"):
        exact_top_k(lm(), prompt_tokens(1), trie_of(rows), k=k)


def test_an_item_that_begins_another_is_refused() -> None:
    trie = trie_of([[5, 6], [5, 6, 7]])
    with pytest.raises(InputError, match="prefix of another"):
        exact_scores(lm(), prompt_tokens(1), trie)


def test_a_model_that_gives_nan_is_refused(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden_states = CausalLM.hidden_states

    def broken(self: CausalLM, input_ids: torch.Tensor, **inputs: object) -> tuple[torch.Tensor, object]:
        hidden, cache = hidden_states(self, input_ids, **inputs)
        return hidden * torch.nan, cache

    monkeypatch.setattr(CausalLM, "hidden_states", broken)
    search = SearchTrie.build(trie_of(rows))
    with pytest.raises(InputError, match="prompt 0 of the batch: the model gives NaN"):
        exact_top_k(lm(), prompt_tokens(2), search, k=3)
    for scoring in ("full", "valid"):
        with pytest.raises(InputError, match="prompt 0 of the batch: the model gives NaN"):
            constrained_beam_search(lm(), prompt_tokens(2), search, num_beams=3, scoring=scoring)
    with pytest.raises(InputError, match="prompt 0 of the batch: the model gives NaN"):
        exact_scores(lm(), prompt_tokens(2), search)
