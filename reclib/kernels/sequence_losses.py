"""Losses of predicted positions: against sampled items, and against the whole catalogue.

P predicted positions, L sampled negatives, D width, N items. All losses are unreduced, (P,).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

BLOCK_BYTES = 2 * 2**20  # of scores held at once on a CPU: what stays in a core's cache
DEVICE_BLOCK_BYTES = 256 * 2**20  # elsewhere: enough rows to keep a device busy


def bce_loss(positive: Tensor, negative: Tensor) -> Tensor:
    """−log σ(s⁺) − Σ_l log(1 − σ(s_l⁻)).

    positive: (P,) scores of the targets; negative: (P, L) of sampled items. Source: [SASRec] §III-E.
    """
    return softplus(-positive) + softplus(negative).sum(dim=1)


def gbce_loss(positive: Tensor, negative: Tensor, *, n_items: int, calibration: float) -> Tensor:
    """−β log σ(s⁺) − Σ_l log(1 − σ(s_l⁻)), β = α (t (1 − 1/α) + 1/α), α = L / (N − 1).

    t = `calibration`: at 0 it is `bce_loss`, at 1 scores estimate what they would without sampling. The
    paper divides by L + 1. positive: (P,); negative: (P, L). Source: [gSASRec].
    """
    alpha = negative.shape[1] / max(1, n_items - 1)
    beta = calibration * (alpha - 1) + 1
    return beta * softplus(-positive) + softplus(negative).sum(dim=1)


def sampled_softmax_loss(
    positive: Tensor,
    negative: Tensor,
    *,
    positive_log_q: Tensor | None = None,
    negative_log_q: Tensor | None = None,
) -> Tensor:
    """−log exp(s⁺ − log q⁺) / (exp(s⁺ − log q⁺) + Σ_l exp(s_l⁻ − log q_l⁻)).

    q: how likely an item is drawn; without it items are drawn evenly and it cancels. A negative of score
    −inf does not count: so a draw that hit the target is left out.

    positive: (P,); negative: (P, L); positive_log_q: (P,); negative_log_q: (L,) or (P, L).
    """
    if positive_log_q is not None:
        positive = positive - positive_log_q
    if negative_log_q is not None:
        negative = negative - negative_log_q
    scores = torch.cat([positive[:, None], negative], dim=1)
    return scores.logsumexp(dim=1) - positive


def catalogue_cross_entropy(
    states: Tensor, items: Tensor, target: Tensor, *, rows_at_once: int | None = None
) -> Tensor:
    """−log softmax(states @ items.T)[target] over items 1…N; the padding row 0 has no probability.

    The (P, N) scores are never held at once: blocks of rows go through the product, the softmax and, where
    gradients are wanted, their share of the gradient while they are in cache. The gradient is then that of
    the sum; a backward pass that weighs the rows alike, such as a mean, only scales it, and any other goes
    through the blocks again.

    states: (P, D); items: (N+1, D); target: (P,) int64 in 1…N; rows_at_once: of a block, by default as many
    as fit in `BLOCK_BYTES`.
    """
    if rows_at_once is None:
        size = BLOCK_BYTES if states.device.type == "cpu" else DEVICE_BLOCK_BYTES
        rows_at_once = max(16, size // (len(items) * states.element_size()))
    return _CatalogueCrossEntropy.apply(states, items, target, rows_at_once)


class _CatalogueCrossEntropy(torch.autograd.Function):
    """Loss and, on the way, the gradient of its sum."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, items: Tensor, target: Tensor, rows_at_once: int) -> Tensor:
        """Losses, (P,)."""
        ctx.save_for_backward(states, items, target)
        ctx.rows_at_once = rows_at_once
        if not any(ctx.needs_input_grad):
            return _blocks(states, items, target, rows_at_once)[0]
        losses, *ctx.of_sum = _blocks(
            states, items, target, rows_at_once, weight=torch.ones_like(states[:, 0])
        )
        return losses

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        """Gradients of Σ_p weight_p loss_p."""
        (weight,) = gradients
        if len(weight) == 0 or bool((weight == weight[0]).all()):
            scale = weight[:1].sum()
            by_state, by_item = (part * scale for part in ctx.of_sum)
        else:
            states, items, target = ctx.saved_tensors
            _, by_state, by_item = _blocks(states, items, target, ctx.rows_at_once, weight=weight)
        return by_state, by_item, None, None


def _blocks(
    states: Tensor, items: Tensor, target: Tensor, rows_at_once: int, *, weight: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Losses and the gradients by states and items of the weighted sum, block by block.

    Without a weight the gradients are left at zero.
    """
    columns = items[1:]  # (N, D)
    is_plain = weight is None or bool((weight == 1).all())
    losses = torch.empty_like(states[:, 0])
    by_state, by_item = torch.zeros_like(states), torch.zeros_like(items)
    # one block for all: memory that is fresh each time costs about as much as the product
    block = states.new_empty(min(rows_at_once, len(states)), len(columns))
    for start in range(0, len(states), rows_at_once):
        rows = slice(start, start + rows_at_once)
        scores = torch.mm(states[rows], columns.T, out=block[: len(states[rows])])  # (block, N)
        own = (target[rows] - 1)[:, None]
        gained = (scores.gather(1, own) - scores.amax(dim=1, keepdim=True))[:, 0]
        chances = torch.softmax(scores, dim=1, out=scores)  # row by row: a row stays in cache
        losses[rows] = -chances.amax(dim=1).log() - gained  # the best item's chance never underflows
        if weight is None:
            continue
        chances.scatter_add_(1, own, -torch.ones_like(own, dtype=chances.dtype))
        if not is_plain:
            chances.mul_(weight[rows, None])
        torch.mm(chances, columns, out=by_state[rows])
        by_item[1:].addmm_(chances.T, states[rows])
    return losses, by_state, by_item
