"""How far the logits of the valid tokens are from a Gaussian: skewness, kurtosis, Kolmogorov's distance."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from reclib.kernels.masked_softmax import ValidTokens, row_of_entry


class RowShape(NamedTuple):
    """Shape of each row of logits, (P,) float64; all but the first two NaN where its logits are equal.

    target_gap: Δ = f(target) − μ, μ the row's mean; deviation: σ about it
    skewness and excess kurtosis: 0 for a Gaussian
    distance: the largest distance of the row's distribution function from that of N(μ, σ²)
    """

    target_gap: Tensor
    deviation: Tensor
    skewness: Tensor
    kurtosis: Tensor
    distance: Tensor


def row_shape(logits: Tensor, valid: ValidTokens) -> RowShape:
    """Moments of each row of ragged rows and its distance from the Gaussian of its mean and variance.

    With x = (f − μ)/σ: skewness = mean x³, kurtosis = mean x⁴ − 3,
    distance = max_i max(i/m − Φ(x_(i)), Φ(x_(i)) − (i−1)/m) over the sorted x. Moments are of the row as it
    is, divided by m. The limits of the distance are those of Lilliefors, as μ and σ are the row's own.

    logits: (M,) from `valid_logits`. Source: the assumption of [MSL] Lemma 2.
    """
    row = row_of_entry(valid.row_start, len(logits))
    wide = logits.detach().double()

    def mean(entries: Tensor) -> Tensor:
        total = torch.segment_reduce(entries, "sum", offsets=valid.row_start, unsafe=True)
        return total / valid.n_valid

    centred = wide - mean(wide).index_select(0, row)
    deviation = mean(centred.square()).sqrt()
    x = centred / deviation.index_select(0, row)
    order = x.argsort(stable=True)
    order = order[row[order].argsort(stable=True)]  # by row, and by value within a row
    place = torch.arange(len(x), device=x.device) - valid.row_start[:-1].index_select(0, row)
    n_valid = valid.n_valid.index_select(0, row)
    normal = 0.5 * torch.erfc(-x[order] / math.sqrt(2))
    gap = torch.maximum((place + 1) / n_valid - normal, normal - place / n_valid)
    distance = torch.zeros_like(deviation).scatter_reduce(0, row, gap, "amax")
    shape = (mean(x**3), mean(x**4) - 3, distance)
    defined = (part.masked_fill(deviation == 0, torch.nan) for part in shape)
    return RowShape(centred.index_select(0, valid.target_entry), deviation, *defined)
