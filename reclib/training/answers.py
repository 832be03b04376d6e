"""Prompts with several answers each: batches that compute every prompt once."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from accelerate.utils import send_to_device

from reclib.models.packing import pack
from reclib.text.ragged import row_starts, spans
from reclib.text.tokenization import ItemTokens, PromptTokens
from reclib.training.preference_objective import AnswerBatch


class AnswerCollator:
    """Makes packed batches of prompts and the A items that answer each, as branches of the prompt.

    An answer sees the prompt and itself only, so its log-probability is that of the two run alone. The last
    token of an answer, its end token, is predicted and never run.
    """

    def __init__(self, item_tokens: ItemTokens, *, device: torch.device | str = "cpu") -> None:
        self.item_tokens = item_tokens
        self.device = torch.device(device)

    def batch(self, prompts: PromptTokens, answers: np.ndarray, reference: np.ndarray) -> dict[str, Any]:
        """Batch of all the prompts; answers: (B, A) item_idx; reference: (B, A) log-probabilities.

        Returns "model_inputs", the keyword arguments of `CausalLM.forward`, and "targets", an `AnswerBatch`
        whose tokens are in the order of the hidden states.
        """
        n_answers = answers.shape[1]
        first = self.item_tokens.start[answers].ravel()
        length = self.item_tokens.start[answers + 1].ravel() - first
        prompt_length = np.diff(prompts.start)
        # pieces of the packed row, prompt by prompt: its own tokens, then its answers
        piece_length = np.column_stack([prompt_length, (length - 1).reshape(answers.shape)])
        piece = row_starts(piece_length.ravel())
        begins = piece[:-1].reshape(piece_length.shape)  # (B, 1 + A)
        tokens = np.empty(piece[-1], np.int64)
        tokens[spans(begins[:, 0], prompt_length)] = prompts.tokens
        tokens[spans(begins[:, 1:].ravel(), length - 1)] = self.item_tokens.tokens[spans(first, length - 1)]
        branch = np.repeat(np.tile(np.arange(1 + n_answers), len(answers)), piece_length.ravel())
        model_inputs, _ = pack(prompts.head, tokens, piece[:: 1 + n_answers], branch=branch)

        answer = np.repeat(np.arange(answers.size), length)
        position = spans(np.zeros_like(length), length)
        last_of_prompt = begins[:, 0] + prompt_length - 1
        before = begins[:, 1:].ravel()[answer] + position - 1
        asked = np.where(position == 0, last_of_prompt[answer // n_answers], before)
        model_inputs["asked"] = torch.from_numpy(len(prompts.head) + asked)
        targets = AnswerBatch(
            target=torch.from_numpy(self.item_tokens.tokens[spans(first, length)].astype(np.int64)),
            answer=torch.from_numpy(answer),
            reference=torch.from_numpy(np.asarray(reference, np.float64)),
        )
        return send_to_device({"model_inputs": model_inputs, "targets": targets}, self.device)
