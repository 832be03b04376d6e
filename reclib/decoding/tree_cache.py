"""`TreeCache`: keys and values of each user's prompt, and of a tree of tokens grown below it.

A prompt runs through the model once. Tokens of the tree are appended in blocks; each sees its user's prompt,
its ancestors and itself, so one call scores many branches (tree attention). The head that all prompts
share runs once for all users of the cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from reclib.models.causal_lm import CausalLM
from reclib.schema import InputError
from reclib.text.tokenization import PromptTokens


class TreeCache:
    """Prompts of B users and the tokens appended below them.

    Every appended token has a slot, 0, 1, … in order of appending, the same numbering for all users.

    last_hidden: (B, D) hidden state at the last token of each prompt
    n_slots: tokens appended so far
    """

    def __init__(self, lm: CausalLM, prompts: PromptTokens, *, suffix: np.ndarray | None = None) -> None:
        """Run the prompts, each followed by `suffix` (the same tokens for every user)."""
        self._lm = lm
        own, length = right_padded(prompts, np.empty(0, np.int32) if suffix is None else suffix)
        n_head, (n_users, width) = len(prompts.head), own.shape
        head = torch.as_tensor(prompts.head, dtype=torch.long, device=lm.device)
        self._cache = DynamicCache()
        if n_head:
            self._run(head[None])
            self._cache.batch_repeat_interleave(n_users)
        length = length.to(lm.device)
        positions = torch.arange(n_head, n_head + width, device=lm.device)
        # Padding stands to the right of every real token, so the causal mask alone keeps it out of sight.
        hidden = self._run(own.to(lm.device), position_ids=positions.expand(n_users, width))
        self.last_hidden = hidden[torch.arange(n_users, device=lm.device), length - 1]
        self._length = length + n_head
        self._prompt = torch.arange(n_head + width, device=lm.device) < self._length[:, None]  # (B, prompt)
        self._visible = torch.zeros(n_users, 0, 0, dtype=torch.bool, device=lm.device)  # (B, slot, slot)

    @property
    def n_slots(self) -> int:
        """Number of tokens appended and kept."""
        return self._visible.shape[-1]

    def extend(self, tokens: Tensor, anchor: Tensor, within: Tensor) -> Tensor:
        """Append a block of tokens and return their hidden states.

        tokens: (B, n) int64, padding may be any token that nothing else refers to
        anchor: (B, n) slot of the nearest ancestor appended before this block, −1 for the prompt itself
        within: (B or 1, n, n) bool, `within[b, i, j]`: token j of the block is token i or an ancestor of it
        Returns (B, n, D). A token's position is its user's prompt length + its depth in the tree − 1.
        """
        n_users, n_tokens = tokens.shape
        index = anchor.clamp(min=0)[:, :, None].expand(-1, -1, self.n_slots)
        above = self._visible.new_zeros(n_users, n_tokens, self.n_slots)
        if self.n_slots:
            above = self._visible.gather(1, index) & (anchor >= 0)[:, :, None]
        visible = torch.cat([above, within.expand(n_users, -1, -1)], dim=-1)  # (B, n, slots)
        prompt = self._prompt[:, None].expand(-1, n_tokens, -1)
        hidden = self._run(
            tokens,
            attention_mask=self._additive(torch.cat([prompt, visible], dim=-1)),
            position_ids=self._length[:, None] + visible.sum(-1) - 1,
        )
        earlier = torch.nn.functional.pad(self._visible, (0, n_tokens))
        self._visible = torch.cat([earlier, visible], dim=1)
        return hidden

    def keep_users(self, users: Tensor) -> None:
        """Keep only the users at these places, in this order."""
        self._cache.batch_select_indices(users)
        self._length, self._prompt, self._visible = (
            self._length[users],
            self._prompt[users],
            self._visible[users],
        )

    def keep_slots(self, slots: Tensor) -> None:
        """Keep only these slots, which are renumbered in the order given; the others are forgotten."""
        n_prompt = self._prompt.shape[1]
        place = torch.cat([torch.arange(n_prompt, device=slots.device), slots + n_prompt])
        layers: Any = self._cache.layers
        for layer in layers:
            layer.keys, layer.values = layer.keys[:, :, place], layer.values[:, :, place]
        self._visible = self._visible[:, slots][:, :, slots]

    def _run(self, tokens: Tensor, **inputs: Tensor) -> Tensor:
        hidden, _ = self._lm.hidden_states(tokens, cache=self._cache, use_cache=True, **inputs)
        return hidden

    def _additive(self, visible: Tensor) -> Tensor:
        """Mask of shape (B, 1, n, keys) that sdpa and eager attention both add to their scores as it is."""
        dtype = self._lm.network.dtype
        mask = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
        return mask.masked_fill_(~visible, torch.finfo(dtype).min)[:, None]


@contextmanager
def evaluating(lm: CausalLM) -> Iterator[None]:
    """Without gradients and without dropout; a model that was training goes on training afterwards."""
    was_training = lm.training
    lm.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        lm.train(was_training)


def right_padded(prompts: PromptTokens, suffix: np.ndarray) -> tuple[Tensor, Tensor]:
    """Own tokens of each prompt, then `suffix`, padded on the right: (B, width), and their lengths (B,)."""
    own_length = np.diff(prompts.start)
    if (own_length == 0).any():
        row = int(np.argmin(own_length))
        raise InputError(f"prompt {row} has no tokens of its own beside the shared head: drop this window")
    length = own_length + len(suffix)
    column = np.arange(length.max(initial=0))
    own = np.zeros((len(length), len(column)), dtype=np.int64)
    own[column < own_length[:, None]] = prompts.tokens[prompts.start[0] : prompts.start[-1]]
    own[(column >= own_length[:, None]) & (column < length[:, None])] = np.tile(suffix, len(length))
    return torch.from_numpy(own), torch.from_numpy(length)
