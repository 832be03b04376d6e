"""Training objectives of a causal LM on item titles: the kernels composed, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from reclib.config import ObjectiveConfig
from reclib.kernels.masked_softmax import language_modelling_loss, masked_softmax_loss, valid_logits
from reclib.kernels.reduction import REDUCTIONS, denominator, reduce_positions, sum_by_sample
from reclib.schema import InputError
from reclib.training.adaptive import SCOPES, AdaptiveTemperature
from reclib.training.targets import TargetBatch, loss_parts

NAMES = ("lml", "msl")


@dataclass
class ObjectiveOutput:
    """What an objective returns.

    total: scalar to differentiate
    parts: detached scalars for the log; with `monitor` lml, lml_valid, lml_item, means over all target
        tokens of this micro-batch at τ = 1 whatever is trained, so that runs can be compared
    details: where asked for, `LossParts` by name, detached, (P_all,) each
    n_counted: what the parts are means over; None is all target tokens
    """

    total: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)
    details: dict[str, Tensor] = field(default_factory=dict)
    n_counted: int | None = None


class Objective:
    """An objective by name: call it on each micro-batch, and `step()` after each optimisation step.

    "lml": −τ log softmax(f/τ) over the whole vocabulary at every target position. "msl": over the valid
    tokens at unforced positions, with `alpha` the negatives weighted by α = |Z| / |Z_valid|, with
    `adaptive` an `AdaptiveTemperature`. Under reduction "unforced" all positions of "lml" count: none
    of its losses is zero by construction.
    """

    def __init__(self, config: ObjectiveConfig, vocabulary_size: int, *, monitor: bool = False) -> None:
        _check(config)
        self.config = config
        self.vocabulary_size = vocabulary_size
        self.monitor = monitor
        self.adaptive = AdaptiveTemperature(config) if config.adaptive else None

    @property
    def temperature(self) -> float:
        """The temperature τ in use."""
        return self.config.temperature if self.adaptive is None else self.adaptive.value

    @property
    def needs_forced(self) -> bool:
        """Whether a batch must hold hidden states at forced positions too."""
        return self.config.name == "lml" or self.monitor

    def count(self, batch: TargetBatch) -> float:
        """What this batch adds to the normaliser of its optimisation step."""
        return denominator(
            self.config.reduction,
            n_counted=batch.n_tokens if self.config.name == "lml" else len(batch.counted),
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
        """Σ of the positions' losses over `normaliser`, by default `count(batch)`.

        For gradient accumulation pass the sum of `count` over the micro-batches of the step. Moments
        for the temperature are gathered only where gradients are enabled: evaluation leaves τ alone.

        hidden: (P_all, D), at the positions that predict `batch.target`; output_embedding: (Z, D).
        Raises InputError where forced positions are needed and left out.
        """
        self._check_positions(batch, all_needed=self.needs_forced or details)
        losses = self._losses(hidden, output_embedding, batch)
        total = reduce_positions(losses, normaliser=self.count(batch) if normaliser is None else normaliser)
        output = ObjectiveOutput(total)
        if self.monitor or details:
            with torch.no_grad():
                by_position = loss_parts(hidden, output_embedding, batch)._asdict()
            output.parts = {name: part.sum() / batch.n_tokens for name, part in by_position.items()}
            output.details = by_position if details else {}
        return output

    def by_sample(
        self,
        hidden: Tensor,
        output_embedding: Tensor,
        batch: TargetBatch,
        *,
        normaliser: float | None = None,
        gather: bool = True,
    ) -> Tensor:
        """What each sample adds to the total of a call, (n_samples,) with graph.

        gather: whether the moments for the temperature are taken up: once for each micro-batch, not again
        when it passes at perturbed weights. Arguments and errors are otherwise those of a call.
        """
        self._check_positions(batch, all_needed=self.needs_forced)
        losses = self._losses(hidden, output_embedding, batch, gather=gather)
        sample = batch.sample if self.config.name == "lml" else batch.sample.index_select(0, batch.counted)
        count = self.count(batch) if normaliser is None else normaliser
        return sum_by_sample(losses, sample, n_samples=batch.n_samples) / (count or 1.0)

    def _check_positions(self, batch: TargetBatch, *, all_needed: bool) -> None:
        if all_needed and len(batch.target) != batch.n_tokens:
            raise InputError(
                f"objective {self.config.name!r} needs all {batch.n_tokens} target positions and got "
                f"{len(batch.target)}: collate with forced positions, as `needs_forced` says"
            )

    def _losses(
        self, hidden: Tensor, output_embedding: Tensor, batch: TargetBatch, *, gather: bool = True
    ) -> Tensor:
        tau = self.temperature
        if self.config.name == "lml":
            return language_modelling_loss(hidden, output_embedding, batch.target, temperature=tau)
        logits = valid_logits(hidden.index_select(0, batch.counted), output_embedding, batch.valid)
        if self.adaptive is not None and gather and torch.is_grad_enabled():
            self.adaptive.gather(logits, batch)
        alpha = self.vocabulary_size / batch.valid.n_valid if self.config.alpha else None
        return masked_softmax_loss(logits, batch.valid, temperature=tau, alpha=alpha)

    def step(self) -> dict[str, float]:
        """End an optimisation step: the adaptive temperature moves; returns numbers for the log."""
        return {"temperature": self.temperature} if self.adaptive is None else self.adaptive.step()

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs and a report wants, as JSON values: τ, and counts of the solver."""
        counts = {} if self.adaptive is None else dict(self.adaptive.counts)
        return {"temperature": self.temperature, "counts": counts}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict` taken between optimisation steps."""
        if self.adaptive is not None:
            self.adaptive.value = float(state["temperature"])
            self.adaptive.counts.update({name: int(count) for name, count in state["counts"].items()})


def _check(config: ObjectiveConfig) -> None:
    """Refuse settings that mean nothing, naming the field and what it may be."""
    choices = {"name": NAMES, "scope": SCOPES, "reduction": REDUCTIONS}
    for name, allowed in choices.items():
        if getattr(config, name) not in allowed:
            raise InputError(
                f"objective.{name} is {getattr(config, name)!r}: choose one of {', '.join(allowed)}"
            )
    if not config.temperature > 0:
        raise InputError(f"objective.temperature is {config.temperature}: it must be above 0")
    if config.name == "lml" and (config.adaptive or config.alpha):
        raise InputError(
            "objective.adaptive and objective.alpha belong to the masked softmax: use name='msl'"
        )
    if config.adaptive and config.alpha:
        raise InputError(
            "objective.adaptive solves for the temperature without alpha: switch one of them off"
        )
    if config.adaptive and not (0 < config.temperature_low <= config.temperature_high):
        raise InputError("objective.temperature_low must be above 0 and at most objective.temperature_high")


def make_objective(config: ObjectiveConfig, vocabulary_size: int, *, monitor: bool = False) -> Objective:
    """Objective named by the configuration; with `monitor` it reports 𝓛, 𝓛¹ and 𝓛² beside its loss.

    vocabulary_size: |Z|, for the α variant. Raises InputError for settings that mean nothing.
    """
    return Objective(config, vocabulary_size, monitor=monitor)
