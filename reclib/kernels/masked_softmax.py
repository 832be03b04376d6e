"""Softmax losses of target tokens: over the valid tokens, and over the whole vocabulary.

The valid tokens of P positions are ragged rows (`ValidTokens`) of M entries in all, so the masked
loss never holds an array of the size of the vocabulary. The full loss works in blocks of rows.
Logits and sums are made in float32 or wider. [MSL] is the paper "MSL: Not All Tokens Are What You Need
for Tuning LLM as a Recommender".
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

BLOCK_BYTES = 64 * 2**20  # largest block of full logits held at once, forward and backward


class ValidTokens(NamedTuple):
    """Valid tokens of P positions as ragged rows.

    union: (U,) int64, token ids that are valid somewhere in the batch, each once
    column: (M,) int64, place in `union` of each entry; no token twice in a row
    row_start: (P+1,) int64, entries of row p are `row_start[p]:row_start[p+1]`
    target_entry: (P,) int64, the entry of each row that is its target token
    n_valid: (P,) int64, length of each row
    """

    union: Tensor
    column: Tensor
    row_start: Tensor
    target_entry: Tensor
    n_valid: Tensor


def row_of_entry(row_start: Tensor, n_entries: int) -> Tensor:
    """Row of each entry of ragged rows.

    row_start: (P+1,) int64; `n_entries` = M = `row_start[-1]`, passed so that a GPU need not be
    waited for; returns (M,) int64.
    """
    rows = torch.arange(len(row_start) - 1, device=row_start.device)
    return torch.repeat_interleave(rows, row_start.diff(), output_size=n_entries)


def valid_logits(hidden: Tensor, output_embedding: Tensor, valid: ValidTokens) -> Tensor:
    """Logits f(z) of the valid tokens z of each position, and of no others.

    One product with the U tokens valid somewhere in the batch, then a gather. Equal to
    `(hidden @ output_embedding.T)[row_of_entry, union[column]]`.

    hidden: (P, D); output_embedding: (Z, D); returns (M,), float32 for narrower inputs, whatever the
    autocast state. Only (P, U) and (U, D) are held. Source: [MSL] §4.1.
    """
    dtype = torch.promote_types(hidden.dtype, torch.float32)
    entry = row_of_entry(valid.row_start, len(valid.column)) * len(valid.union) + valid.column
    with torch.autocast(hidden.device.type, enabled=False):
        tokens = output_embedding.index_select(0, valid.union).to(dtype)  # (U, D)
        return (hidden.to(dtype) @ tokens.T).flatten().index_select(0, entry)


def full_logits(hidden: Tensor, output_embedding: Tensor) -> Tensor:
    """Logits f(z) of the whole vocabulary, `hidden @ output_embedding.T`.

    A narrower embedding is widened a block of tokens at a time: a wide copy of it is never held whole.

    hidden: (R, D); output_embedding: (Z, D); returns (R, Z), float32 for narrower inputs, whatever the
    autocast state.
    """
    dtype = torch.promote_types(hidden.dtype, torch.float32)
    hidden = hidden.to(dtype)
    with torch.autocast(hidden.device.type, enabled=False):
        if output_embedding.dtype == dtype:
            return hidden @ output_embedding.T
        tokens_at_once = max(1, BLOCK_BYTES // (4 * hidden.shape[1]))
        parts = output_embedding.split(tokens_at_once)
        return torch.cat([hidden @ part.to(dtype).T for part in parts], dim=1)


class _SegmentLogSumExp(torch.autograd.Function):
    """Forward keeps the M shifted exponentials; backward is one multiplication."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, row_start: Tensor) -> Tensor:
        row = row_of_entry(row_start, len(values))
        peak = values.new_full((len(row_start) - 1,), -torch.inf).scatter_reduce_(0, row, values, "amax")
        peak.masked_fill_(peak.isneginf(), 0.0)  # a row of −inf must not become −inf − (−inf)
        share = (values - peak.index_select(0, row)).exp_()
        total = torch.segment_reduce(share, "sum", offsets=row_start, unsafe=True)
        ctx.save_for_backward(share, total, row)
        return peak + total.log()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        share, total, row = ctx.saved_tensors
        return share * (gradient / total).index_select(0, row), None


def segment_logsumexp(values: Tensor, row_start: Tensor) -> Tensor:
    """Logarithm of Σ exp(values) over each row of ragged rows, shifted by each row's maximum.

    Equal to `stack([values[a:b].logsumexp(0) for a, b in pairwise(row_start)])`.

    values: (M,) float32 or float64; row_start: (P+1,) int64; returns (P,), −inf for an empty row.
    Differentiable once.
    """
    return _SegmentLogSumExp.apply(values, row_start)


def masked_softmax_loss(
    logits: Tensor, valid: ValidTokens, *, temperature: float = 1.0, alpha: Tensor | None = None
) -> Tensor:
    """Loss −τ log P of each target t among its valid tokens, P = exp(f_t/τ) / Σ_valid exp(f_z/τ).

    With `alpha` the negatives' part of the denominator is multiplied by it, after the temperature:
    P = exp(f_t/τ) / (exp(f_t/τ) + α Σ_{z≠t} exp(f_z/τ)). α = 1 is the plain loss.

    Equal to `[-τ * log_softmax(row / τ)[t] for row, t in …]` over the rows of `logits`.

    logits: (M,) from `valid_logits`; alpha: (P,); returns (P,). A position with one valid token gives
    exactly 0 and exactly no gradient. Source: [MSL] Eq. (5), (9); α: Table 6.
    """
    scaled = logits / temperature
    target = scaled.index_select(0, valid.target_entry)
    if alpha is not None:
        row = row_of_entry(valid.row_start, len(logits))
        shift = alpha.to(scaled.dtype).log().index_select(0, row)
        scaled = scaled + shift.index_fill(0, valid.target_entry, 0.0)
    return temperature * (segment_logsumexp(scaled, valid.row_start) - target)


def target_weight(losses: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Weight w = 1 − P(target) with which a position enters the gradient, from its loss −τ log P.

    Equal to `1 - exp(-losses / temperature)`, without cancellation for small losses.

    losses: (P,), of either softmax; returns (P,). Source: [MSL] Eq. (7), (10).
    """
    return -torch.expm1(-losses / temperature)


def _softmax_block(hidden: Tensor, embedding: Tensor, target: Tensor, tau: float) -> tuple[Tensor, Tensor]:
    """Losses (R,) of a block of rows, and softmax(f/τ) − onehot(target), (R, Z)."""
    block = full_logits(hidden, embedding).div_(tau)
    place = target.unsqueeze(1)
    losses = -block.gather(1, place).squeeze(1)
    peak = block.amax(1, keepdim=True)
    total = block.sub_(peak).exp_().sum(1, keepdim=True)
    losses = tau * (losses + (peak + total.log()).squeeze(1))
    block.div_(total).scatter_add_(1, place, block.new_full(place.shape, -1.0))
    return losses, block


class _LanguageModellingLoss(torch.autograd.Function):
    """Hidden states' gradients are made in the forward pass, where each block of logits exists.

    They need no gradient from above but a factor per row. Only for a trained output embedding are
    the blocks made again in the backward pass.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, embedding: Tensor, target: Tensor, tau: float, block_bytes: int
    ) -> Tensor:
        rows = max(1, block_bytes // (4 * len(embedding)))
        losses, slopes = [], []
        for h, t in zip(hidden.split(rows), target.split(rows), strict=True):
            loss, residual = _softmax_block(h, embedding, t, tau)
            losses.append(loss)
            if ctx.needs_input_grad[0]:
                slopes.append((residual.to(embedding.dtype) @ embedding).to(hidden.dtype))
        trained = (hidden, embedding, target) if ctx.needs_input_grad[1] else ()
        ctx.save_for_backward(*slopes, *trained)
        ctx.n_slopes, ctx.rows, ctx.tau = len(slopes), rows, tau
        return torch.cat(losses)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        slopes, trained = ctx.saved_tensors[: ctx.n_slopes], ctx.saved_tensors[ctx.n_slopes :]
        for_hidden = for_embedding = None
        if slopes:
            for_hidden = torch.cat(slopes) * gradient.unsqueeze(1).to(slopes[0].dtype)
        if trained:
            hidden, embedding, target = trained
            for_embedding = torch.zeros_like(embedding)
            for h, t, g in zip(*(part.split(ctx.rows) for part in (hidden, target, gradient)), strict=True):
                residual = _softmax_block(h, embedding, t, ctx.tau)[1].mul_(g.unsqueeze(1))
                for_embedding += residual.to(h.dtype).T @ h
        return for_hidden, for_embedding, None, None, None


def language_modelling_loss(
    hidden: Tensor,
    output_embedding: Tensor,
    target: Tensor,
    *,
    temperature: float = 1.0,
    block_bytes: int = BLOCK_BYTES,
) -> Tensor:
    """Loss −τ log softmax(f/τ)[target] over the whole vocabulary.

    Equal to `τ * cross_entropy(hidden @ output_embedding.T / τ, target, reduction="none")`, in blocks
    of rows of at most `block_bytes` of float32 logits (one row at least), forward and backward.

    hidden: (P, D); output_embedding: (Z, D), with or without gradient; target: (P,) int64; returns
    (P,), float32 for narrower inputs, whatever the autocast state. Differentiable once. Source: [MSL]
    Eq. (1); τ: Table 6.
    """
    if not torch.is_grad_enabled():  # a Function is told that its inputs need gradients even then
        hidden, output_embedding = hidden.detach(), output_embedding.detach()
    with torch.autocast(hidden.device.type, enabled=False):
        return _LanguageModellingLoss.apply(hidden, output_embedding, target, temperature, block_bytes)
