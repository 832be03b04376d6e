"""Training objectives of a causal LM on item titles: kernels composed, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor

from reclib.config import ObjectiveConfig
from reclib.kernels.masked_softmax import (
    ValidTokens,
    language_modelling_loss,
    masked_softmax_loss,
    valid_logits,
)
from reclib.kernels.reduction import denominator, reduce_positions


class TargetBatch(NamedTuple):
    """Target positions of a (micro-)batch; one row of hidden states for each of `target`.

    target: (P_all,) int64, target tokens; all of them, or only unforced ones where the objective's
        `needs_forced` is False
    sample: (P_all,) int64, sample of each position, 0 to n_samples − 1
    position: (P_all,) int64, place in the target, 0 for its first token
    counted: (P,) int64, which of the P_all are unforced
    valid: valid tokens of the counted positions
    n_samples: samples in the batch
    n_tokens: target tokens in the batch, forced ones and those left out of `target` included
    """

    target: Tensor
    sample: Tensor
    position: Tensor
    counted: Tensor
    valid: ValidTokens
    n_samples: int
    n_tokens: int


@dataclass
class ObjectiveOutput:
    """What an objective returns: the total to differentiate, and detached numbers beside it."""

    total: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)
    details: dict[str, Tensor] = field(default_factory=dict)


class Objective:
    """A training objective; call it on hidden states, and `step()` once per optimisation step."""

    def __init__(self, config: ObjectiveConfig, vocabulary_size: int, *, monitor: bool = False) -> None:
        self.config, self.vocabulary_size, self.monitor = config, vocabulary_size, monitor
        self.temperature = config.temperature

    @property
    def needs_forced(self) -> bool:
        """Whether hidden states at forced positions are needed too."""
        return self.config.name == "lml" or self.monitor

    def count(self, batch: TargetBatch) -> float:
        """What this batch adds to the normaliser of its optimisation step."""
        unforced = batch.target if self.config.name == "lml" else batch.counted
        return denominator(
            self.config.reduction,
            n_counted=len(unforced),
            n_tokens=batch.n_tokens,
            n_samples=batch.n_samples,
        )

    def __call__(
        self,
        hidden: Tensor,
        output_embedding: Tensor,
        batch: TargetBatch,
        *,
        normaliser: float | None = None,
        details: bool = False,
    ) -> ObjectiveOutput:
        """Loss of a batch: Σ losses / normaliser, by default `count(batch)`.

        hidden: (P_all, D), at the positions that predict `batch.target`; output_embedding: (Z, D).
        """
        if self.config.name == "lml":
            losses = language_modelling_loss(
                hidden, output_embedding, batch.target, temperature=self.temperature
            )
        else:
            logits = valid_logits(hidden.index_select(0, batch.counted), output_embedding, batch.valid)
            alpha = self.vocabulary_size / batch.valid.n_valid if self.config.alpha else None
            losses = masked_softmax_loss(logits, batch.valid, temperature=self.temperature, alpha=alpha)
        total = reduce_positions(losses, self.count(batch) if normaliser is None else normaliser)
        return ObjectiveOutput(total)

    def step(self) -> None:
        """Take up the statistics gathered since the last call; once per optimisation step."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs, as JSON values."""
        return {"temperature": self.temperature}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the state of `state_dict`."""
        self.temperature = float(state["temperature"])


def make_objective(
    config: ObjectiveConfig, vocabulary_size: int, *, monitor: bool = False
) -> Objective:
    """Objective by name: "lml" or "msl", with `monitor` to report 𝓛, 𝓛¹ and 𝓛² beside it."""
    return Objective(config, vocabulary_size, monitor=monitor)
