"""Softmax-DPO as an objective of the trainer, and the log-probabilities of answers that it compares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from reclib.config import PreferenceConfig
from reclib.kernels.masked_softmax import language_modelling_loss
from reclib.kernels.preference import softmax_dpo_loss
from reclib.kernels.reduction import reduce_positions, sum_by_sample
from reclib.training.objectives import ObjectiveOutput


class AnswerBatch(NamedTuple):
    """Tokens of the A answers to each of B prompts, answer by answer; an answer's end token is one of them.

    target: (P,) int64; answer: (P,) int64, answer of each token, 0 to B·A − 1
    reference: (B, A) float64, log-probabilities under the reference, the preferred answer first
    """

    target: Tensor
    answer: Tensor
    reference: Tensor

    @property
    def n_samples(self) -> int:
        """B, prompts in the batch."""
        return len(self.reference)

    @property
    def n_tokens(self) -> int:
        """P, tokens of all answers."""
        return len(self.target)


def answer_log_probabilities(hidden: Tensor, output_embedding: Tensor, batch: AnswerBatch) -> Tensor:
    """Values log P(answer | prompt) = Σ_t log softmax(f)[y_t] over the whole vocabulary.

    Sums are taken in float64: differences of sums of dozens of nats are what is learnt from.

    hidden: (P, D), at the positions that predict `batch.target`; output_embedding: (Z, D); returns (B, A).
    """
    losses = language_modelling_loss(hidden, output_embedding, batch.target).double()
    by_answer = sum_by_sample(losses, batch.answer, n_samples=batch.reference.numel())
    return -by_answer.view_as(batch.reference)


class PreferenceObjective:
    """Mean over samples of the softmax-DPO loss, called by the trainer on each micro-batch.

    Its parts, means over samples: "margin", β times the log-ratio of the target less that of its negatives;
    "preferred", how often the target's is above all of them; "target_log_ratio", log π − log π_ref of the
    target, which falls where the policy only pushes its negatives down faster.
    """

    def __init__(self, config: PreferenceConfig) -> None:
        self.config = config

    def count(self, batch: AnswerBatch) -> float:
        """What this batch adds to the normaliser of its optimisation step."""
        return float(batch.n_samples)

    def __call__(
        self,
        hidden: Tensor,
        output_embedding: Tensor,
        batch: AnswerBatch,
        *,
        normaliser: float | None = None,
    ) -> ObjectiveOutput:
        """Σ of the samples' losses over `normaliser`, by default `count(batch)`.

        hidden: (P, D), at the positions that predict `batch.target`; output_embedding: (Z, D).
        """
        ratio = answer_log_probabilities(hidden, output_embedding, batch) - batch.reference  # (B, A)
        positive, negative = ratio[:, 0], ratio[:, 1:]
        losses = softmax_dpo_loss(positive, negative, beta=self.config.beta)
        total = reduce_positions(losses, normaliser=self.count(batch) if normaliser is None else normaliser)
        with torch.no_grad():
            parts = {
                "margin": self.config.beta * (positive - negative.mean(dim=1)).mean(),
                "preferred": (positive > negative.amax(dim=1)).double().mean(),
                "target_log_ratio": positive.mean(),
            }
        return ObjectiveOutput(total, parts, n_counted=batch.n_samples)

    def step(self) -> dict[str, float]:
        """End an optimisation step; nothing moves but the weights."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """What a report wants, as JSON values; a resumed run needs nothing."""
        return {"beta": self.config.beta}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`: the reference, not the objective, carries what came before."""
