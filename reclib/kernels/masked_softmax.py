"""Softmax losses of target tokens: over the valid tokens, and over the whole vocabulary.

The valid tokens of P positions are held as ragged rows (`ValidTokens`), M entries in all, so
nothing here is of the size P times the vocabulary. References are to the MSL paper, [MSL].
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor


class ValidTokens(NamedTuple):
    """Valid tokens of P positions as ragged rows.

    union: (U,) int64, token ids that are valid somewhere in the batch, each once
    column: (M,) int64, the place in `union` of each entry
    row_start: (P+1,) int64, entries of row p are `row_start[p]:row_start[p+1]`
    target_entry: (P,) int64, the entry of each row that is its target token
    n_valid: (P,) int64, length of each row
    """

    union: Tensor
    column: Tensor
    row_start: Tensor
    target_entry: Tensor
    n_valid: Tensor


def row_of_entry(valid: ValidTokens) -> Tensor:
    """Row of each entry, (M,) int64."""
    rows = torch.arange(len(valid.n_valid), device=valid.n_valid.device)
    return torch.repeat_interleave(rows, valid.n_valid, output_size=len(valid.column))


def valid_logits(hidden: Tensor, output_embedding: Tensor, valid: ValidTokens) -> Tensor:
    """Logits f(z) of the valid tokens z of each position, and of no others.

    Equal to `(hidden @ output_embedding.T)[row, token]` for each entry (row, token), in float32 at
    least. One product with the union of the batch's valid tokens, then a gather.

    hidden: (P, D); output_embedding: (Z, D); returns (M,). Source: [MSL] §4.1.
    """
    dtype = torch.promote_types(hidden.dtype, torch.float32)
    with torch.autocast(hidden.device.type, enabled=False):
        union = output_embedding.index_select(0, valid.union).to(dtype)
        block = hidden.to(dtype) @ union.T  # (P, U)
    entry = row_of_entry(valid) * len(valid.union) + valid.column
    return block.flatten().index_select(0, entry)


class _SegmentLogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, row: Tensor, n_rows: int) -> Tensor:
        peak = values.new_full((n_rows,), -torch.inf).scatter_reduce_(0, row, values, "amax")
        peak.masked_fill_(peak.isinf(), 0.0)
        share = (values - peak[row]).exp_()
        total = values.new_zeros(n_rows).index_add_(0, row, share)
        ctx.save_for_backward(share, total, row)
        return peak + total.log()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        share, total, row = ctx.saved_tensors
        return share * (gradient / total)[row], None, None


def segment_logsumexp(values: Tensor, row_start: Tensor) -> Tensor:
    """log Σ exp over each row of ragged rows; −inf for an empty row.

    values: (M,); row_start: (P+1,) int64; returns (P,).
    """
    rows = torch.arange(len(row_start) - 1, device=values.device)
    row = torch.repeat_interleave(rows, row_start.diff(), output_size=len(values))
    return _SegmentLogSumExp.apply(values, row, len(rows))


def masked_softmax_loss(
    logits: Tensor, valid: ValidTokens, *, temperature: float = 1.0, alpha: Tensor | None = None
) -> Tensor:
    """Loss −τ log P of each target among its valid tokens, P = exp(f_t/τ) / Σ_valid exp(f_z/τ).

    With `alpha` the negatives' part of the denominator is multiplied by it:
    P = exp(f_t/τ) / (exp(f_t/τ) + α Σ_{z≠t} exp(f_z/τ)).

    logits: (M,), from `valid_logits`; alpha: (P,); returns (P,). A position with one valid token
    gives exactly 0 and no gradient. Source: [MSL] Eq. (5), (9), Table 6 ("+α").
    """
    scaled = logits / temperature
    target = scaled.index_select(0, valid.target_entry)
    if alpha is not None:
        shift = alpha.log().to(scaled.dtype)[row_of_entry(valid)]
        scaled = scaled + shift.index_fill(0, valid.target_entry, 0.0)
    return temperature * (segment_logsumexp(scaled, valid.row_start) - target)


def language_modelling_loss(
    hidden: Tensor, output_embedding: Tensor, target: Tensor, *, temperature: float = 1.0
) -> Tensor:
    """Loss −τ log softmax(f/τ)[target] over the whole vocabulary.

    hidden: (P, D); output_embedding: (Z, D); target: (P,) int64; returns (P,). Source: [MSL] Eq. (1).
    """
    logits = (hidden @ output_embedding.T).float() / temperature
    return temperature * torch.nn.functional.cross_entropy(logits, target, reduction="none")


def target_weight(losses: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Weight w = 1 − P(target) of each position, from its loss −τ log P.

    losses: (P,); returns (P,). Source: [MSL] Eq. (7), (10).
    """
    return -torch.expm1(-losses / temperature)
