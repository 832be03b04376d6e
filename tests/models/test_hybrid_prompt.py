"""Prompts with vectors: what they read as, what a vector changes, and what goes on as it did."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from reclib.config import LMConfig
from reclib.decoding.beam import constrained_beam_search
from reclib.decoding.exact import exact_scores, exact_top_k
from reclib.models.causal_lm import CausalLM, adapter_state, load_adapter, load_lm
from reclib.models.hybrid_prompt import HybridEmbedding, Users
from reclib.models.packing import pack
from reclib.schema import InputError
from reclib.text.hybrid_prompts import stacked
from reclib.text.prompts import PROMPT_TAIL, prompt_head
from reclib.text.tokenization import PromptTokens, tokenize_prompts
from reclib.training.checkpoints import save_adapter
from tests.decoding.made import brute_force
from tests.models.hybrid import with_items, with_items_and_users
from tests.training.toy import MAX_TOKENS, Toy, make_toy


def llara(**options: object) -> Toy:
    toy = make_toy(**options)  # type: ignore[arg-type]
    with_items(toy.lm, toy.dataset.n_items)
    return toy


def prompts(toy: Toy, n_windows: int = 3, *, max_tokens: int = MAX_TOKENS) -> PromptTokens:
    data = toy.dataset
    windows = data.test.take(np.arange(n_windows))
    return toy.lm.prompts(windows, data.titles, data.domain, max_tokens=max_tokens)


def read(toy: Toy, tokens: np.ndarray) -> str:
    """The text of a prompt, its vectors as <item_idx> and <user row>."""
    first, n_items = toy.lm.vocabulary_size, toy.dataset.n_items
    text, waiting = "", []
    for token in [*tokens.tolist(), None]:
        if token is not None and token < first:
            waiting.append(token)
            continue
        text += toy.lm.tokenizer.decode(waiting)
        waiting = []
        if token is not None:
            row = token - first
            text += f"<{row}>" if row <= n_items else f"<user {row - n_items - 1}>"
    return text


def by_hand(toy: Toy, row: int) -> str:
    """A prompt of LLaRA, put together by hand."""
    history = [item for item in toy.dataset.test.history[row] if item]
    listed = ",".join(f' "{toy.dataset.titles[item - 1]}"<{item}>' for item in history)
    return prompt_head(toy.dataset.domain) + listed + PROMPT_TAIL


def test_each_title_is_followed_by_its_vector() -> None:
    toy = llara()
    found = prompts(toy)
    assert [read(toy, found.of(row)) for row in range(3)] == [by_hand(toy, row) for row in range(3)]


def test_a_users_vector_opens_the_input() -> None:
    toy = make_toy()
    with_items_and_users(toy.lm, toy.dataset)
    found = prompts(toy)
    hybrid = toy.lm.hybrid
    assert hybrid is not None
    users = hybrid.user_ids(toy.dataset.test.history[:3]) - hybrid.first_item - toy.dataset.n_items - 1
    for row in range(3):
        text = by_hand(toy, row).replace(
            "### Input:\n", f"### Input:\n<user {users[row]}> is a user representation. "
        )
        assert read(toy, found.of(row)) == text


@pytest.mark.parametrize("has_users", [False, True])
def test_a_prompt_keeps_to_its_limit_by_losing_its_oldest_items(has_users: bool) -> None:
    toy = make_toy()
    _ = with_items_and_users(toy.lm, toy.dataset) if has_users else with_items(toy.lm, toy.dataset.n_items)
    whole = prompts(toy)
    limit = max(len(whole.of(row)) for row in range(3)) - 1
    cut = prompts(toy, max_tokens=limit)
    longest = int(np.argmax([len(whole.of(row)) for row in range(3)]))
    assert len(cut.of(longest)) <= limit
    assert cut.n_truncated >= 1
    assert cut.of(longest)[-8:].tolist() == whole.of(longest)[-8:].tolist()


def states(lm: CausalLM, tokens: np.ndarray) -> torch.Tensor:
    with torch.no_grad():
        return lm.hidden_states(torch.from_numpy(tokens.astype(np.int64))[None])[0][0]


def test_a_vector_changes_what_follows_it_and_nothing_before() -> None:
    toy = llara()
    tokens = prompts(toy, 1).of(0)
    place = int(np.flatnonzero(tokens >= toy.lm.vocabulary_size)[0])
    before = states(toy.lm, tokens)
    table = toy.lm.hybrid.tables["item"]  # type: ignore[union-attr]
    table.vectors[tokens[place] - toy.lm.vocabulary_size] += 1.0  # type: ignore[operator, union-attr]
    moved = (states(toy.lm, tokens) - before).abs().amax(dim=1)
    assert float(moved[:place].max()) == 0
    assert float(moved[place:].min()) > 1e-6


def test_ids_are_embedded_by_the_table_that_they_name() -> None:
    toy = make_toy()
    with_items_and_users(toy.lm, toy.dataset)
    hybrid = toy.lm.hybrid
    assert hybrid is not None
    first, n_items = hybrid.first_item, toy.dataset.n_items
    items, users = hybrid.tables["item"], hybrid.tables["user"]
    ids = torch.tensor([[3, first + 2, first + n_items + 1], [first + n_items + 2, first + n_items, 0]])
    with torch.no_grad():
        found = hybrid(ids)
        rows = [
            hybrid.weight[3],
            items.projector(items.vectors[2]),
            users.projector(users.vectors[0]),
            users.projector(users.vectors[1]),
            items.projector(items.vectors[n_items]),
            hybrid.weight[0],
        ]
    torch.testing.assert_close(
        found.flatten(0, 1), torch.stack([row.double() for row in rows]), atol=1e-5, rtol=0
    )


def test_a_text_without_vectors_is_embedded_as_before_and_gives_projectors_no_gradient() -> None:
    plain, toy = make_toy(), llara()
    text = plain.prompts(plain.dataset.test.take(np.arange(1))).of(0)
    assert torch.equal(states(toy.lm, text), states(plain.lm, text))
    inputs, _ = pack(text[:5], text[5:], np.array([0, len(text) - 5]))
    toy.lm(**inputs, asked=torch.tensor([len(text) - 1])).sum().backward()
    table = toy.lm.hybrid.tables["item"]  # type: ignore[union-attr]
    assert all(weight.grad is None for weight in table.parameters())


def test_decoders_rank_hybrid_prompts_as_plain_passes_do() -> None:
    toy = llara(dtype="float32")
    found = prompts(toy)
    rows = [toy.items.of(item).tolist() for item in range(1, toy.dataset.n_items + 1)]
    slow = brute_force(toy.lm, found, rows)
    np.testing.assert_allclose(exact_scores(toy.lm, found, toy.trie)[:, 1:], slow[:, 1:], atol=2e-4)
    best = np.sort(slow, axis=1)[:, ::-1][:, :5]
    np.testing.assert_allclose(exact_top_k(toy.lm, found, toy.trie, k=5).scores, best, atol=2e-4)
    beams = constrained_beam_search(toy.lm, found, toy.trie, num_beams=toy.dataset.n_items, scoring="valid")
    np.testing.assert_allclose(beams.scores[:, :5], best, atol=2e-4)


def test_an_adapter_holds_lora_and_projectors_and_goes_back_where_it_was(tmp_path: Path) -> None:
    toy, other = llara(seed=1), llara(seed=2)
    tokens = prompts(toy, 1).of(0)
    with torch.no_grad():
        for weight in toy.lm.hybrid.tables.parameters():  # type: ignore[union-attr]
            weight.add_(0.1)
    save_adapter(toy.lm, tmp_path / "adapter.safetensors")
    assert not torch.equal(states(toy.lm, tokens), states(other.lm, tokens))
    load_adapter(other.lm, tmp_path / "adapter.safetensors")
    assert torch.equal(states(toy.lm, tokens), states(other.lm, tokens))
    with pytest.raises(InputError, match="missing, unknown"):
        load_adapter(make_toy().lm, tmp_path / "adapter.safetensors")


def test_an_lm_without_lora_has_projectors_for_an_adapter() -> None:
    toy = make_toy()
    frozen = load_lm(LMConfig(name="random"), seed=0, titles=toy.dataset.titles)
    assert adapter_state(frozen) == {}
    with_items_and_users(frozen, toy.dataset)
    trained = {id(weight) for weight in frozen.parameters() if weight.requires_grad}
    state = adapter_state(frozen)
    assert trained == {id(weight) for weight in frozen.hybrid.tables.parameters()}  # type: ignore[union-attr]
    assert len(state) == len(trained)
    wanted = {name: weight + 1 for name, weight in state.items()}
    load_adapter(frozen, wanted)
    assert all(torch.equal(weight, wanted[name]) for name, weight in adapter_state(frozen).items())


def test_vectors_are_exchanged_and_not_piled_up() -> None:
    toy = llara()
    with_items_and_users(toy.lm, toy.dataset)
    assert toy.lm.hybrid is not None
    assert not isinstance(toy.lm.hybrid.tokens, HybridEmbedding)


def test_users_are_found_by_their_history_alone() -> None:
    history = np.array([[0, 1, 2], [3, 256, 1], [0, 1, 2], [0, 0, 0]], np.int32)
    users = Users(history, np.arange(8, dtype=np.float32).reshape(4, 2))
    assert len(users.vectors) == 3
    np.testing.assert_array_equal(users.vectors[users.rows(history[[1, 2, 0, 3]])][:, 0], [2, 0, 0, 6])
    with pytest.raises(InputError, match="window 1 has a history without a user vector"):
        users.rows(np.array([[0, 1, 2], [0, 2, 1]]))


def test_stacked_prompts_are_both_sets() -> None:
    toy = llara()
    data, windows = toy.dataset, toy.dataset.test.take(np.arange(3))
    text = tokenize_prompts(windows, data.titles, data.domain, toy.lm.tokenizer, max_tokens=MAX_TOKENS)
    hybrid = prompts(toy)
    both = stacked(text, hybrid)
    assert len(both.head) == len(text.head) > 0
    unlike = stacked(text, hybrid.without_head())
    assert len(unlike.head) == 0
    for row in range(3):
        for joined in (both, unlike):
            np.testing.assert_array_equal(joined.of(row), text.of(row))
            np.testing.assert_array_equal(joined.of(3 + row), hybrid.of(row))
