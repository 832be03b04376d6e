"""Training objectives of a causal LM on item titles: the kernels composed, by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from reclib.config import ObjectiveConfig
from reclib.kernels.masked_softmax import (
    ValidTokens,
    language_modelling_loss,
    masked_softmax_loss,
    valid_logits,
)
from reclib.kernels.reduction import REDUCTIONS, denominator, reduce_positions
from reclib.kernels.temperature import STATUS_NAMES, adaptive_temperature, moment_sums, moments
from reclib.schema import InputError

NAMES = ("lml", "msl")
SCOPES = ("first", "first_decision", "all")


class TargetBatch(NamedTuple):
    """Target positions of a (micro-)batch, in the order sample by sample, first token first.

    target: (P_all,) int64, target tokens: every one of them or, where the objective's `needs_forced`
        is False, any choice that contains the unforced ones
    sample: (P_all,) int64, sample of each position, 0 to n_samples − 1
    position: (P_all,) int64, place in the whole target, 0 for its first token
    counted: (P,) int64, ascending, which of the P_all are unforced (more than one valid token)
    valid: valid tokens of the counted positions
    n_samples: samples in the batch
    n_tokens: target tokens of these samples, forced ones and those left out of `target` included
    """

    target: Tensor
    sample: Tensor
    position: Tensor
    counted: Tensor
    valid: ValidTokens
    n_samples: int
    n_tokens: int


class LossParts(NamedTuple):
    """Losses of each target position, (P_all,) each, with lml = lml_valid + lml_item.

    lml: 𝓛, −log P(target) over the whole vocabulary, [MSL] Eq. (1)
    lml_valid: 𝓛¹, −log of the probability of all valid tokens together, [MSL] Eq. (3)
    lml_item: 𝓛², −log P(target) among the valid tokens, 0 where forced, [MSL] Eq. (4)
    """

    lml: Tensor
    lml_valid: Tensor
    lml_item: Tensor


def loss_parts(hidden: Tensor, output_embedding: Tensor, batch: TargetBatch) -> LossParts:
    """The language-modelling loss 𝓛 and its parts 𝓛¹ and 𝓛², position by position, at τ = 1.

    hidden: (P_all, D), at the positions that predict `batch.target`; output_embedding: (Z, D).
    Differentiable in each part. Source: [MSL] Eq. (1)–(4).
    """
    lml = language_modelling_loss(hidden, output_embedding, batch.target)
    logits = valid_logits(hidden.index_select(0, batch.counted), output_embedding, batch.valid)
    unforced = masked_softmax_loss(logits, batch.valid).to(lml.dtype)
    item = torch.zeros_like(lml).index_copy(0, batch.counted, unforced)
    return LossParts(lml, lml - item, item)


@dataclass
class ObjectiveOutput:
    """What an objective returns.

    total: scalar to differentiate
    parts: detached scalars for the log; with `monitor` lml, lml_valid, lml_item, means over all target
        tokens of this micro-batch at τ = 1 whatever is trained, so that runs can be compared
    details: where asked for, `LossParts` by name, detached, (P_all,) each
    """

    total: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)
    details: dict[str, Tensor] = field(default_factory=dict)


class AdaptiveTemperature:
    """Temperature that keeps the target's probability near η: moments gathered, τ moved once a step.

    A step's τ comes from the steps before it, so every micro-batch (and process) of a step has the
    same τ and splitting a batch changes nothing. Scopes, by the positions whose logits count:

    - "first": the first token of each target, where it is unforced, as the released code means to do;
      m is the mean number of valid tokens there.
    - "first_decision": each sample's first position with more than 1/η valid tokens, where η is above
      chance; the same as "first" where every item starts with so open a choice (MSL's own tokenizer),
      and its meaning kept where a tokenizer puts the opening quote alone first.
    - "all": every unforced position, and m = AVT, the mean number of valid tokens over all target
      tokens, forced ones included, as [MSL] Table 4 counts it. [MSL] Eq. (12).

    τ starts at `temperature` within the clamps, and moves by τ ← (1 − r) τ + r clamp(solution), r the
    smoothing. A step without positions to count leaves it.
    """

    def __init__(self, config: ObjectiveConfig) -> None:
        self.config = config
        self.value = self._clamp(config.temperature)
        self.counts = dict.fromkeys((*STATUS_NAMES, "no_statistics", "clamped_low", "clamped_high"), 0)
        self._sums: Tensor | None = None  # of `moment_sums`, then target tokens and unforced positions

    def _clamp(self, temperature: float) -> float:
        return min(max(temperature, self.config.temperature_low), self.config.temperature_high)

    def _selected(self, batch: TargetBatch) -> Tensor:
        """Which counted positions enter the moments, (P,) bool."""
        if self.config.scope == "all":
            return torch.ones_like(batch.counted, dtype=torch.bool)
        if self.config.scope == "first":
            return batch.position.index_select(0, batch.counted) == 0
        wide = batch.valid.n_valid * self.config.target_probability > 1
        sample = batch.sample.index_select(0, batch.counted)
        place = torch.arange(len(wide), device=wide.device).masked_fill(~wide, len(wide))
        first = place.new_full((batch.n_samples,), len(wide)).scatter_reduce(0, sample, place, "amin")
        return wide & (first.index_select(0, sample) == place)

    def gather(self, logits: Tensor, batch: TargetBatch) -> None:
        """Add a micro-batch's moments to the step's; logits: (M,) of `batch.valid`."""
        sums = moment_sums(logits, batch.valid, self._selected(batch))
        sums = torch.cat([sums, sums.new_tensor([batch.n_tokens, len(batch.counted)])])
        self._sums = sums if self._sums is None else self._sums + sums

    def step(self) -> dict[str, float]:
        """Move τ by what was gathered, over all processes; returns what went into it, for the log."""
        sums, self._sums = self._sums, None
        if sums is None:
            return {"temperature": self.value}
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(sums)
        gap, variance, mean_valid = moments(sums[:5])
        if self.config.scope == "all":
            n_tokens, n_unforced = sums[5:].unbind()
            mean_valid = (sums[2] + n_tokens - n_unforced) / n_tokens
        log_m_eta = (mean_valid * self.config.target_probability).log()
        solution, status = adaptive_temperature(gap, variance, log_m_eta)
        if not math.isfinite(float(gap)):
            self.counts["no_statistics"] += 1
            return {"temperature": self.value}
        self._move(float(solution), STATUS_NAMES[int(status)])
        return {
            "temperature": self.value,
            "temperature_solution": float(solution),
            "target_gap": float(gap),
            "logit_variance": float(variance),
            "mean_valid_tokens": float(mean_valid),
        }

    def _move(self, solution: float, status: str) -> None:
        clamped = self._clamp(solution)
        self.counts[status] += 1
        self.counts["clamped_low"] += solution < clamped
        self.counts["clamped_high"] += solution > clamped
        self.value += self.config.smoothing * (clamped - self.value)


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
        if (self.needs_forced or details) and len(batch.target) != batch.n_tokens:
            raise InputError(
                f"objective {self.config.name!r} needs all {batch.n_tokens} target positions, the batch holds "
                f"{len(batch.target)}: collate with forced positions, as `needs_forced` says"
            )
        losses = self._losses(hidden, output_embedding, batch)
        total = reduce_positions(losses, normaliser=self.count(batch) if normaliser is None else normaliser)
        output = ObjectiveOutput(total)
        if self.monitor or details:
            with torch.no_grad():
                by_position = loss_parts(hidden, output_embedding, batch)._asdict()
            output.parts = {name: part.sum() / batch.n_tokens for name, part in by_position.items()}
            output.details = by_position if details else {}
        return output

    def _losses(self, hidden: Tensor, output_embedding: Tensor, batch: TargetBatch) -> Tensor:
        tau = self.temperature
        if self.config.name == "lml":
            return language_modelling_loss(hidden, output_embedding, batch.target, temperature=tau)
        logits = valid_logits(hidden.index_select(0, batch.counted), output_embedding, batch.valid)
        if self.adaptive is not None and torch.is_grad_enabled():
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
