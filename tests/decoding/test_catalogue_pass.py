from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reclib.decoding import catalogue_pass
from reclib.decoding.catalogue_pass import catalogue_log_probs, title_scores
from reclib.decoding.exact import exact_scores
from reclib.models.causal_lm import CausalLM
from reclib.schema import InputError
from reclib.text.trie import ItemTrie
from tests.decoding.made import END, Rows, brute_force, catalogue, item_tokens, lm, prompt_tokens

CLOSE = {"atol": 1e-5, "rtol": 0.0}  # float32 sums of a few logarithms
# Of 1 and 2 words that begin others, items that share a title, forced tails.
AWKWARD = [[11, END], [11, 12, END], [11, 12, 13, END], [11, 12, END], [14, 15, 16, END], [11, END]]


@pytest.fixture(scope="module", params=["many", "forced start", "prefixes and shared titles"])
def rows(request: pytest.FixtureRequest) -> Rows:
    if request.param == "prefixes and shared titles":
        return AWKWARD
    return catalogue(60, lead=(7, 8) if request.param == "forced start" else ())


def trie_of(rows: Rows) -> ItemTrie:
    return ItemTrie.build(item_tokens(rows))


def quiet(rows: Rows, n_contexts: int = 3, **options: object) -> np.ndarray:
    return catalogue_log_probs(lm(), prompt_tokens(n_contexts), trie_of(rows), progress=False, **options)


@torch.no_grad()
def title_by_title(model: CausalLM, rows: Rows, n_contexts: int) -> tuple[np.ndarray, np.ndarray]:
    """Slow twin of `title_scores`: each title with its context through the plain model."""
    prompts = prompt_tokens(n_contexts)
    log_prob = np.full((n_contexts, len(rows) + 1), -np.inf)
    tail = np.zeros((n_contexts, len(rows) + 1), dtype=np.int64)
    for context in range(n_contexts):
        prompt = prompts.of(context).tolist()
        for item, row in enumerate(rows, start=1):
            title = row[:-1]
            logits = model.network(torch.tensor([prompt + title])).logits[0, len(prompt) - 1 : -1].double()
            chosen = logits.log_softmax(-1)[torch.arange(len(title)), title]
            log_prob[context, item] = float(chosen.sum())
            is_best = (logits.argmax(-1) == torch.tensor(title)).tolist()
            while is_best and is_best.pop():
                tail[context, item] += 1
    return log_prob, tail


@pytest.mark.parametrize("nodes_per_block", [2, 5, 1000])
def test_every_item_has_the_probability_of_a_run_by_itself(rows: Rows, nodes_per_block: int) -> None:
    found = quiet(rows, nodes_per_block=nodes_per_block)
    np.testing.assert_allclose(found, brute_force(lm(), prompt_tokens(3), rows), **CLOSE)


@pytest.mark.parametrize("nodes_per_block", [3, 1000])
def test_titles_have_the_probability_of_a_run_by_themselves(rows: Rows, nodes_per_block: int) -> None:
    found = title_scores(
        lm(), prompt_tokens(3), trie_of(rows), progress=False, nodes_per_block=nodes_per_block
    )
    log_prob, tail = title_by_title(lm(), rows, 3)
    np.testing.assert_allclose(found.log_prob, log_prob, atol=1e-4, rtol=0)
    np.testing.assert_array_equal(found.greedy_tail, tail)


def test_a_title_that_the_model_completes_is_told_from_one_that_it_does_not() -> None:
    prompts = prompt_tokens(1)
    start = [20, 21]
    with torch.no_grad():
        likely = list(start)
        for _ in range(3):
            logits = lm().network(torch.tensor([prompts.of(0).tolist() + likely])).logits[0, -1]
            likely.append(int(logits.argmax()))
    assert END not in likely
    other = [*start, *((token + 1) % 200 + 2 for token in likely[2:])]
    found = title_scores(lm(), prompts, trie_of([[*likely, END], [*other, END]]), progress=False)
    assert found.greedy_tail[0, 1] >= 3
    assert found.greedy_tail[0, 2] == 0


def test_probabilities_of_distinct_titles_sum_to_one(rows: Rows) -> None:
    distinct = sorted({rows.index(row) + 1 for row in rows})
    np.testing.assert_allclose(np.exp(quiet(rows)[:, distinct]).sum(axis=1), 1.0, atol=1e-5)


def test_one_pass_over_all_contexts_equals_the_scores_of_decoding(rows: Rows) -> None:
    expected = exact_scores(lm(), prompt_tokens(3), trie_of(rows))
    np.testing.assert_allclose(quiet(rows), expected, **CLOSE)


class Killed(Exception):
    """What the tests raise where a process would be killed."""


@pytest.mark.parametrize("kind", ["valid", "full"])
def test_a_killed_pass_goes_on_where_it_was_and_ends_with_the_same_numbers(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, n_done, made = catalogue(60), 3, []

    def run(folder: Path | None) -> np.ndarray:
        options = {"workdir": folder, "progress": False, "nodes_per_block": 2}
        if kind == "valid":
            return catalogue_log_probs(lm(), prompt_tokens(2), trie_of(rows), **options)
        return title_scores(lm(), prompt_tokens(2), trie_of(rows), **options).log_prob

    straight = run(None)
    block = catalogue_pass._Pass._block

    def counted(*args: object) -> object:
        if len(made) == n_done:
            raise Killed
        made.append(args)
        return block(*args)

    monkeypatch.setattr(catalogue_pass._Pass, "_block", counted)
    with pytest.raises(Killed):
        run(tmp_path)
    assert len(list(tmp_path.iterdir())) == n_done, "no block that was finished is lost"
    n_done = 10_000
    before = len(made)
    np.testing.assert_array_equal(run(tmp_path), straight)
    n_blocks = len(list(tmp_path.iterdir()))
    assert len(made) == n_blocks > before
    np.testing.assert_array_equal(run(tmp_path), straight)
    assert len(made) == n_blocks, "nothing is made twice"


def test_what_another_catalogue_or_context_left_is_not_taken(tmp_path: Path) -> None:
    rows = catalogue(30)
    first = quiet(rows, workdir=tmp_path)
    others = catalogue_log_probs(
        lm(), prompt_tokens(3, seed=1), trie_of(rows), workdir=tmp_path, progress=False
    )
    fewer = quiet(rows[:20], workdir=tmp_path)
    assert not np.allclose(first[:, 1:], others[:, 1:])
    np.testing.assert_allclose(fewer, brute_force(lm(), prompt_tokens(3), rows[:20]), **CLOSE)


def test_each_node_runs_once_for_all_contexts(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, n_contexts, n_tokens = catalogue(60), 4, []
    hidden_states = CausalLM.hidden_states

    def counting(self: CausalLM, input_ids: torch.Tensor, **inputs: object) -> object:
        n_tokens.append(input_ids.numel())
        return hidden_states(self, input_ids, **inputs)

    monkeypatch.setattr(CausalLM, "hidden_states", counting)
    quiet(rows, n_contexts)
    trie = trie_of(rows)
    prompts = prompt_tokens(n_contexts)
    assert len(trie.evaluated()) <= catalogue_pass.NODES_PER_BLOCK, (
        "one block, which the contexts run once for"
    )
    padded = len(prompts.head) + n_contexts * int(np.diff(prompts.start).max())
    assert sum(n_tokens) == padded + n_contexts * (len(trie.evaluated()) - 1)


@pytest.mark.parametrize("row", [[END], [5, 6, END]])
def test_a_single_title_is_certain(row: list[int]) -> None:
    np.testing.assert_array_equal(quiet([row, row]), [[-np.inf, 0, 0]] * 3)


catalogues = st.lists(
    st.lists(st.integers(10, 13), max_size=5).map(lambda row: [*row, END]), min_size=1, max_size=12
)


@settings(max_examples=15)
@given(catalogues, st.integers(1, 8))
def test_any_catalogue(rows: Rows, nodes_per_block: int) -> None:
    found = quiet(rows, 2, nodes_per_block=nodes_per_block)
    np.testing.assert_allclose(found, brute_force(lm(), prompt_tokens(2), rows), **CLOSE)
    titles = title_scores(
        lm(), prompt_tokens(2), trie_of(rows), progress=False, nodes_per_block=nodes_per_block
    )
    np.testing.assert_allclose(titles.log_prob, title_by_title(lm(), rows, 2)[0], atol=1e-4, rtol=0)


def test_bad_input_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="prefix of another"):
        quiet([[5, 6], [5, 6, 7]])
    with pytest.raises(InputError, match="nodes_per_block is 0"):
        quiet(AWKWARD, nodes_per_block=0)
    hidden_states = CausalLM.hidden_states

    def broken(self: CausalLM, input_ids: torch.Tensor, **inputs: object) -> tuple[torch.Tensor, object]:
        hidden, cache = hidden_states(self, input_ids, **inputs)
        return hidden * torch.nan, cache

    monkeypatch.setattr(CausalLM, "hidden_states", broken)
    with pytest.raises(InputError, match="prompt 0 of the batch: the model gives NaN"):
        quiet(AWKWARD)
