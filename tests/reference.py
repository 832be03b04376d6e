"""Slow, obvious versions of the kernels, and builders of the inputs both take."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from reclib.kernels.masked_softmax import ValidTokens
from reclib.training.targets import TargetBatch


def ragged(rows: Sequence[Sequence[int]], targets: Sequence[int]) -> ValidTokens:
    """`ValidTokens` of rows of token ids, the target of each row being one of them."""
    union = sorted({token for row in rows for token in row})
    column, row_start, target_entry = [], [0], []
    for row, target in zip(rows, targets, strict=True):
        target_entry.append(len(column) + list(row).index(target))
        column += [union.index(token) for token in row]
        row_start.append(len(column))
    return ValidTokens(
        union=torch.tensor(union, dtype=torch.int64),
        column=torch.tensor(column, dtype=torch.int64),
        row_start=torch.tensor(row_start),
        target_entry=torch.tensor(target_entry, dtype=torch.int64),
        n_valid=torch.tensor([len(row) for row in rows], dtype=torch.int64),
    )


def target_batch(samples: Sequence[Sequence[tuple[int, Sequence[int]]]]) -> TargetBatch:
    """`TargetBatch` of samples given as lists of (target token, valid tokens)."""
    steps = [
        (target, sample, position, row)
        for sample, title in enumerate(samples)
        for position, (target, row) in enumerate(title)
    ]
    counted = [place for place, (*_, row) in enumerate(steps) if len(row) > 1]
    return TargetBatch(
        target=torch.tensor([target for target, *_ in steps], dtype=torch.int64),
        sample=torch.tensor([sample for _, sample, *_ in steps], dtype=torch.int64),
        position=torch.tensor([position for *_, position, _ in steps], dtype=torch.int64),
        counted=torch.tensor(counted, dtype=torch.int64),
        valid=ragged([steps[place][3] for place in counted], [steps[place][0] for place in counted]),
        n_samples=len(samples),
        n_tokens=len(steps),
    )


def masked_softmax_losses(
    hidden: Tensor,
    output_embedding: Tensor,
    rows: Sequence[Sequence[int]],
    targets: Sequence[int],
    *,
    temperature: float = 1.0,
    alpha: Sequence[float] | None = None,
) -> Tensor:
    """−τ log P_valid(target), one position at a time, with a mask over the whole vocabulary."""
    losses = []
    for position, (row, target) in enumerate(zip(rows, targets, strict=True)):
        logits = output_embedding @ hidden[position] / temperature  # (Z,)
        mask = torch.zeros(len(output_embedding), dtype=torch.bool)
        mask[list(row)] = True
        weight = torch.full_like(logits, 1.0 if alpha is None else alpha[position])
        weight[target] = 1.0
        denominator = (logits + weight.log()).masked_fill(~mask, -torch.inf).logsumexp(0)
        losses.append(temperature * (denominator - logits[target]))
    return torch.stack(losses)


def language_modelling_losses(
    hidden: Tensor, output_embedding: Tensor, targets: Tensor, *, temperature: float = 1.0
) -> Tensor:
    """−τ log softmax(f/τ)[target], one position at a time."""
    losses = []
    for position, target in enumerate(targets.tolist()):
        logits = output_embedding @ hidden[position] / temperature
        losses.append(-temperature * logits.log_softmax(0)[target])
    return torch.stack(losses)


def gaussian_log_probability(temperature: float, gap: float, variance: float, log_m: float) -> float:
    """log P(τ) of the target among m logits from N(μ, σ²), exact in the moments: [MSL] Lemma 2."""
    return gap / temperature - variance / (2 * temperature**2) - log_m


def temperature_by_bisection(gap: float, variance: float, m: float, eta: float) -> float | None:
    """τ with P(τ) = η by halving intervals: where P falls if η is above 1/m, where it rises if below.

    P rises up to τ = σ²/Δ (for ever, if Δ ≤ 0) and falls towards 1/m after it. None without such τ.
    """

    def surplus(temperature: float) -> float:
        return gaussian_log_probability(temperature, gap, variance, math.log(m)) - math.log(eta)

    peak = variance / gap if gap > 0 else math.inf
    rising = m * eta <= 1
    low, high = (1e-9, min(peak, 1e12)) if rising else (peak, 1e12)
    sign = 1 if rising else -1
    if low >= high or sign * surplus(low) > 0 or sign * surplus(high) < 0:
        return None
    for _ in range(200):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if sign * surplus(middle) < 0 else (low, middle)
    return math.sqrt(low * high)


def bce_losses(positive: Tensor, negative: Tensor, *, beta: float = 1.0) -> Tensor:
    """−β log σ(s⁺) − Σ log(1 − σ(s⁻)), one position and one score at a time."""
    losses = []
    for score, others in zip(positive.tolist(), negative.tolist(), strict=True):
        loss = -beta * math.log(1 / (1 + math.exp(-score)))
        for other in others:
            loss -= math.log(1 - 1 / (1 + math.exp(-other)))
        losses.append(loss)
    return torch.tensor(losses, dtype=positive.dtype)


def catalogue_cross_entropies(states: Tensor, items: Tensor, target: Tensor) -> Tensor:
    """−log softmax over items 1…N of the target's score, one position at a time."""
    losses = [
        -(items[1:] @ state).log_softmax(0)[item - 1]
        for state, item in zip(states, target.tolist(), strict=True)
    ]
    return torch.stack(losses)


def rank_of(scores: list[float], target: int, left_out: set[int]) -> int:
    """1 + the items that score at least what the target does, by looking at each; scores[0] is padding."""
    better = [
        item
        for item in range(1, len(scores))
        if item != target and item not in left_out and scores[item] >= scores[target]
    ]
    return 1 + len(better)


def softmax_dpo_losses(positive: Tensor, negative: Tensor, *, beta: float) -> Tensor:
    """−log of the target's share in the softmax of β times the log-ratios, sample by sample."""
    losses = []
    for own, others in zip(positive, negative, strict=True):
        worths = [torch.exp(beta * ratio) for ratio in (own, *others)]
        losses.append(-torch.log(worths[0] / sum(worths[1:], start=worths[0])))
    return torch.stack(losses)
