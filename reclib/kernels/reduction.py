"""From losses of positions to one number: what a mean counts."""

from __future__ import annotations

from torch import Tensor

REDUCTIONS = ("unforced", "tokens", "samples")


def denominator(reduction: str, *, n_counted: int, n_tokens: int, n_samples: int) -> float:
    """What the sum over positions is divided by.

    - "unforced": n_counted, the positions whose loss is not zero by construction (the released code
      with adaptive temperature);
    - "tokens": n_tokens, every target position, forced ones counting as zeros (the released code with
      fixed temperature);
    - "samples": n_samples, so that a sample counts as the sum over its target, as [MSL] Eq. (1) and
      (5) print it.

    Counts of micro-batches add up to the count of their optimisation step. Raises ValueError for
    another name.
    """
    counts = {"unforced": n_counted, "tokens": n_tokens, "samples": n_samples}
    if reduction not in counts:
        raise ValueError(f"unknown reduction {reduction!r}: choose one of {', '.join(REDUCTIONS)}")
    return float(counts[reduction])


def reduce_positions(losses: Tensor, *, normaliser: float) -> Tensor:
    """Σ losses / normaliser, and 0 where nothing was counted.

    losses: (P,); normaliser: a `denominator`. With the denominator of the whole optimisation step,
    the results of its micro-batches add up to that of one large batch.
    """
    return losses.sum() / (normaliser or 1.0)


def sum_by_sample(losses: Tensor, sample: Tensor, *, n_samples: int) -> Tensor:
    """Sum of each sample's positions, as in [MSL] Eq. (1), (5): −log P(target) where losses are −log P.

    losses: (P,); sample: (P,) int64, the sample of each position; returns (n_samples,), 0 for a
    sample without positions.
    """
    return losses.new_zeros(n_samples).index_add(0, sample, losses)
