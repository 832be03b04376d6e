"""Adaptive temperature as a state: moments gathered over a step, τ moved once a step."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from reclib.config import ObjectiveConfig
from reclib.kernels.temperature import STATUS_NAMES, adaptive_temperature, moment_sums, moments
from reclib.training.targets import TargetBatch

SCOPES = ("first", "first_decision", "all")


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
        gap, variance, mean_valid = moments(sums[:4])
        if self.config.scope == "all":
            n_tokens, n_unforced = sums[4:].unbind()
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
