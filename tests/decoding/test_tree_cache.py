from __future__ import annotations

import numpy as np
import pytest
import torch

from reclib.decoding.tree_cache import TreeCache, evaluating
from reclib.schema import InputError
from reclib.text.tokenization import PromptTokens
from tests.decoding.made import lm, prompt_tokens

CLOSE = {"atol": 1e-5, "rtol": 0.0}  # float32; hidden states are of size 1


class GrownTree:
    """A cache and, beside it, the path of each slot of each user."""

    def __init__(self, prompts: PromptTokens) -> None:
        self.prompts = prompts
        self.cache = TreeCache(lm(), prompts)
        self.paths: list[list[list[int]]] = [[] for _ in range(len(prompts))]

    def extend(self, parents: np.ndarray, generator: np.random.Generator) -> torch.Tensor:
        """Append tokens below `parents`, (B, n) slots, this block's own counted on; −1 is the prompt."""
        n_users, n_tokens = parents.shape
        before = self.cache.n_slots
        tokens = generator.integers(2, 200, size=parents.shape)
        anchor = np.full(parents.shape, -1)
        within = np.zeros((n_users, n_tokens, n_tokens), dtype=bool)
        for user in range(n_users):
            for place, parent in enumerate(parents[user]):
                inside = parent - before
                if inside >= 0:
                    within[user, place] = within[user, inside]
                    anchor[user, place] = anchor[user, inside]
                else:
                    anchor[user, place] = parent
                within[user, place, place] = True
                above = self.paths[user][parent] if parent >= 0 else []
                self.paths[user].append([*above, int(tokens[user, place])])
        return self.cache.extend(*map(torch.as_tensor, (tokens, anchor, within)))

    def expected(self, user: int, slot: int) -> torch.Tensor:
        """Hidden state of the last token of prompt and path, from a plain forward pass."""
        return plain(self.prompts.of(user).tolist() + self.paths[user][slot])


def plain(tokens: list[int]) -> torch.Tensor:
    hidden, _ = lm().hidden_states(torch.tensor([tokens]))
    return hidden[0, -1]


def random_parents(generator: np.random.Generator, n_users: int, before: int, n_tokens: int) -> np.ndarray:
    upper = np.arange(before, before + n_tokens)
    return generator.integers(-1, upper, size=(n_users, n_tokens))


@torch.no_grad()
@pytest.mark.parametrize("n_head", [0, 5])
def test_every_token_is_as_in_a_plain_forward_pass(n_head: int) -> None:
    generator = np.random.default_rng(0)
    tree = GrownTree(prompt_tokens(3, n_head=n_head))
    for user in range(3):
        torch.testing.assert_close(
            tree.cache.last_hidden[user], plain(tree.prompts.of(user).tolist()), **CLOSE
        )
    for n_tokens in (4, 1, 7):
        before = tree.cache.n_slots
        hidden = tree.extend(random_parents(generator, 3, before, n_tokens), generator)
        for user in range(3):
            for place in range(n_tokens):
                torch.testing.assert_close(hidden[user, place], tree.expected(user, before + place), **CLOSE)


@torch.no_grad()
def test_users_and_slots_that_are_kept_go_on() -> None:
    generator = np.random.default_rng(1)
    tree = GrownTree(prompt_tokens(4))
    tree.extend(np.tile([-1, 0, 1, -1, 3], (4, 1)), generator)
    users, slots = [2, 0], [0, 1, 3]
    tree.cache.keep_users(torch.tensor(users))
    tree.cache.keep_slots(torch.tensor(slots))
    tree.prompts = tree.prompts.take(np.array(users))
    tree.paths = [[tree.paths[user][slot] for slot in slots] for user in users]
    hidden = tree.extend(np.array([[1, 2, 3], [2, 3, -1]]), generator)
    for user in range(2):
        for place in range(3):
            torch.testing.assert_close(hidden[user, place], tree.expected(user, 3 + place), **CLOSE)


@torch.no_grad()
def test_a_suffix_is_the_end_of_every_prompt() -> None:
    prompts = prompt_tokens(3)
    cache = TreeCache(lm(), prompts, suffix=np.array([11, 12], dtype=np.int32))
    for user in range(3):
        torch.testing.assert_close(
            cache.last_hidden[user], plain([*prompts.of(user).tolist(), 11, 12]), **CLOSE
        )


def test_a_prompt_without_tokens_of_its_own_is_named() -> None:
    prompts = PromptTokens(head=np.array([3, 4]), tokens=np.array([5, 6]), start=np.array([0, 1, 1, 2]))
    with pytest.raises(InputError, match="prompt 1 has no tokens of its own"):
        TreeCache(lm(), prompts)


def test_a_model_in_training_goes_on_training() -> None:
    model = lm()
    model.train()
    try:
        with evaluating(model):
            assert not model.training
            assert not torch.is_grad_enabled()
        assert model.training
    finally:
        model.eval()
