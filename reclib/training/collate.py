"""Windows to batches: packed tokens for the LM, target positions and their valid tokens for the objective."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from accelerate.utils import send_to_device

from reclib.kernels.masked_softmax import ValidTokens
from reclib.models.packing import pack
from reclib.text.ragged import row_starts, spans
from reclib.text.tokenization import ItemTokens, PromptTokens
from reclib.text.trie import ItemTrie
from reclib.training.targets import TargetBatch


class WindowCollator:
    """Makes batches of prompts and targets, in numpy, so that a device is never waited for.

    With `needs_forced` all target positions are in the batch and all target tokens but the last are run;
    without, only positions with two or more valid tokens, and no token after a target's last such one.
    The valid tokens of a position are those of a trie node: one int32 a token is all that is stored.
    """

    def __init__(
        self,
        trie: ItemTrie,
        item_tokens: ItemTokens,
        *,
        needs_forced: bool,
        device: torch.device | str = "cpu",
    ) -> None:
        self.item_tokens = item_tokens
        self.needs_forced = needs_forced
        self.device = torch.device(device)
        self._trie = trie
        self._node = trie.path(item_tokens)

    def batch(self, prompts: PromptTokens, target_idx: np.ndarray) -> dict[str, Any]:
        """Batch of all the prompts, each with its target (B,).

        Returns "model_inputs", the keyword arguments of `CausalLM.forward`, "targets", a `TargetBatch` whose
        positions are in the order of the hidden states, and "target_idx", (B,) int64.
        """
        first = self.item_tokens.start[target_idx]
        length = self.item_tokens.start[np.asarray(target_idx) + 1] - first
        sample = np.repeat(np.arange(len(length)), length)
        position = spans(np.zeros(len(length), np.int64), length)
        node = self._node[np.repeat(first, length) + position]
        is_unforced = self._trie.n_children[node] > 1
        kept = np.ones_like(is_unforced) if self.needs_forced else is_unforced
        n_run = np.zeros(
            len(length), np.int64
        )  # target tokens the LM must read to reach the last kept position
        np.maximum.at(n_run, sample[kept], position[kept])

        model_inputs, own_start = self._packed(prompts, first, n_run)
        prompt_length = np.diff(prompts.start)
        asked = (own_start + prompt_length - 1)[sample[kept]] + position[kept]
        model_inputs["asked"] = torch.from_numpy(asked)
        token = self.item_tokens.tokens[np.repeat(first, length) + position]
        targets = TargetBatch(
            target=_tensor(token[kept]),
            sample=_tensor(sample[kept]),
            position=_tensor(position[kept]),
            counted=_tensor(np.flatnonzero(is_unforced[kept])),
            valid=self.valid_tokens(node[is_unforced], token[is_unforced]),
            n_samples=len(length),
            n_tokens=len(token),
        )
        batch = {
            "model_inputs": model_inputs,
            "targets": targets,
            "target_idx": _tensor(np.asarray(target_idx)),
        }
        return send_to_device(batch, self.device)

    def valid_tokens(self, nodes: np.ndarray, target: np.ndarray) -> ValidTokens:
        """Valid tokens after trie nodes (P,), and where among them each target token (P,) is."""
        child, row_start = self._trie.children(nodes)
        token = self._trie.token[child]
        n_valid = np.diff(row_start)
        union, column = np.unique(token, return_inverse=True)
        return ValidTokens(
            union=_tensor(union),
            column=_tensor(column),
            row_start=_tensor(row_start),
            target_entry=_tensor(np.flatnonzero(token == np.repeat(target, n_valid))),
            n_valid=_tensor(n_valid),
        )

    def _packed(
        self, prompts: PromptTokens, first: np.ndarray, n_run: np.ndarray
    ) -> tuple[dict[str, Any], np.ndarray]:
        """Each prompt's own tokens, then the first `n_run` of its target's."""
        prompt_length = np.diff(prompts.start)
        start = row_starts(prompt_length + n_run)
        tokens = np.empty(start[-1], np.int64)
        tokens[spans(start[:-1], prompt_length)] = prompts.tokens
        tokens[spans(start[:-1] + prompt_length, n_run)] = self.item_tokens.tokens[spans(first, n_run)]
        return pack(prompts.head, tokens, start)


def _tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.int64, copy=False))
