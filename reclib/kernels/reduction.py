"""From losses of positions to one number: which positions and samples the mean counts."""

from __future__ import annotations

from torch import Tensor

REDUCTIONS = ("unforced", "tokens", "samples")


def denominator(reduction: str, *, n_counted: int, n_tokens: int, n_samples: int) -> float:
    """What the sum of the losses is divided by.

    "unforced": positions whose loss is not identically zero; "tokens": all target positions, forced
    ones counting as zeros; "samples": samples, as [MSL] Eq. (1) and (5) print it.
    """
    counts = {"unforced": n_counted, "tokens": n_tokens, "samples": n_samples}
    if reduction not in counts:
        raise ValueError(f"unknown reduction {reduction!r}; one of {', '.join(REDUCTIONS)}")
    return float(counts[reduction])


def reduce_positions(losses: Tensor, normaliser: float) -> Tensor:
    """Σ losses / normaliser; 0 where nothing was counted.

    losses: (P,). Dividing every micro-batch by the count of the whole optimisation step makes the
    sum of the micro-batches' results equal to the result of one large batch.
    """
    return losses.sum() / max(normaliser, 1.0)


def sum_by_sample(losses: Tensor, sample: Tensor, *, n_samples: int) -> Tensor:
    """Σ over the positions of each sample, (n_samples,).

    losses, sample: (P,), `sample` the sample of each position.
    """
    return losses.new_zeros(n_samples).index_add(0, sample, losses)
