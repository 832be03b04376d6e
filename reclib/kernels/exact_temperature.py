"""Temperatures at which the target's probability among the valid tokens is η, from the logits themselves.

log P(β) = −log Σ_z exp(β (f(z) − f(target))) is concave in the inverse temperature β = 1/τ, and −log m at
β = 0. So P has one peak, takes the value η at most once before it and at most once after it, and both are
found by halving intervals. [MSL] Lemma 2 replaces the sum by that of a Gaussian: it approximates this.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from reclib.kernels.masked_softmax import ValidTokens, row_of_entry, segment_logsumexp

_DOUBLINGS, _HALVINGS = 60, 80
_EQUAL = 1e-12  # of log η and −log m: sums of exponentials in float64


class ExactTemperatures(NamedTuple):
    """Temperatures τ with P(τ) = η, (P,) float64, NaN where there is none.

    falling: where P falls as τ grows; there is one only if η is above chance, 1/m
    rising: where P rises as τ grows; there is none if no valid token has a larger logit than the target
    peak: the largest P over all temperatures
    """

    falling: Tensor
    rising: Tensor
    peak: Tensor


def exact_temperatures(logits: Tensor, valid: ValidTokens, *, target_probability: float) -> ExactTemperatures:
    """The temperatures at which exp(f_t/τ) / Σ_valid exp(f_z/τ) = η, position by position.

    Equal to the roots over a fine grid of τ of `softmax(row / τ)[t] - η`. Where all logits of a row are
    equal P does not depend on τ, and there is no root.

    logits: (M,) from `valid_logits`; target_probability: η in (0, 1).
    """
    curves = _Curves(logits, valid)
    log_eta = torch.full_like(curves.spread, target_probability).log()
    at_zero = curves.log_probability(torch.zeros_like(log_eta))  # −log m
    above_chance = log_eta - at_zero
    above_chance = above_chance.masked_fill(above_chance.abs() < _EQUAL, 0.0)  # then τ = ∞ is no root
    top = curves.peak()
    peak = torch.where(
        curves.is_best, -curves.n_best.log(), curves.log_probability(top.nan_to_num(posinf=1.0))
    )
    reached = (peak >= log_eta) & curves.has_spread

    def above(beta: Tensor) -> Tensor:
        return curves.log_probability(beta) >= log_eta

    start = torch.ones_like(log_eta)
    high, _ = _doubled(start, above)
    high = torch.where(curves.is_best, high, top)
    falling = _halved(torch.zeros_like(high), high, above)
    has_falling = reached & (above_chance > 0) & above(high)

    low = torch.where(curves.is_best, start, top)
    high, ends = _doubled(torch.maximum(low, start), lambda beta: ~above(beta))
    rising = _halved(low, high, lambda beta: ~above(beta))
    has_rising = reached & ends & top.isfinite() & ((above_chance < 0) | (top > 0))

    def temperature(beta: Tensor, exists: Tensor) -> Tensor:
        return torch.where(exists, curves.spread / beta, torch.nan)

    return ExactTemperatures(temperature(falling, has_falling), temperature(rising, has_rising), peak.exp())


class _Curves:
    """log P of every row over β in units of one over the row's standard deviation."""

    def __init__(self, logits: Tensor, valid: ValidTokens) -> None:
        self.row_start = valid.row_start
        self.row = row_of_entry(valid.row_start, len(logits))
        wide = logits.detach().double()
        above_target = wide - wide.index_select(0, valid.target_entry).index_select(0, self.row)
        mean = self._sum(above_target) / valid.n_valid
        deviation = above_target - mean.index_select(0, self.row)
        self.spread = (self._sum(deviation.square()) / valid.n_valid).sqrt()
        self.has_spread = self.spread > 0
        scale = torch.where(self.has_spread, self.spread, 1.0)
        self.values = above_target / scale.index_select(0, self.row)
        best = torch.full_like(self.spread, -torch.inf).scatter_reduce(0, self.row, self.values, "amax")
        self.is_best = best <= 0
        self.n_best = self._sum((self.values >= 0).double()).clamp_min(1.0)

    def _sum(self, entries: Tensor) -> Tensor:
        return torch.segment_reduce(entries, "sum", offsets=self.row_start, unsafe=True)

    def log_probability(self, beta: Tensor) -> Tensor:
        """Log P at an inverse temperature of each row, (P,)."""
        return -segment_logsumexp(beta.index_select(0, self.row) * self.values, self.row_start)

    def _is_past_peak(self, beta: Tensor) -> Tensor:
        """Whether log P does not rise there any more: its slope is minus the mean of `values` under P."""
        exponent = beta.index_select(0, self.row) * self.values
        share = (exponent - segment_logsumexp(exponent, self.row_start).index_select(0, self.row)).exp()
        return self._sum(share * self.values) >= 0

    def peak(self) -> Tensor:
        """β at which P is largest: 0 where it only falls in β, infinite where the target is the best."""
        zero = torch.zeros_like(self.spread)
        high, found = _doubled(zero + 1, self._is_past_peak)
        inside = _halved(zero, high, self._is_past_peak)
        inside = torch.where(self._is_past_peak(zero), zero, inside)
        return torch.where(self.is_best | ~found, torch.inf, inside)


def _doubled(high: Tensor, is_enough: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """`high` doubled until it is enough, and where it ever was."""
    for _ in range(_DOUBLINGS):
        enough = is_enough(high)
        if enough.all():
            break
        high = torch.where(enough, high, 2 * high)
    return high, is_enough(high)


def _halved(low: Tensor, high: Tensor, is_enough: Callable[[Tensor], Tensor]) -> Tensor:
    """Where `is_enough` turns true between `low` and `high`."""
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        enough = is_enough(middle)
        low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
    return high
