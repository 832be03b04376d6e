"""Losses of predicted positions: against sampled items, and against the whole catalogue.

P predicted positions, L sampled negatives, D width, N items. All losses are unreduced, (P,).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
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
    through the blocks again. Differentiable once.

    states: (P, D); items: (N+1, D); target: (P,) int64 in 1…N; rows_at_once: of a block, by default as many
    as fit in `BLOCK_BYTES`.
    """
    if rows_at_once is None:
        rows_at_once = _rows_at_once(states, items)
    states, items = _as_asked(states, items)
    return _CatalogueCrossEntropy.apply(states, items, target, rows_at_once)


def weighted_catalogue_cross_entropy(
    states: Tensor, items: Tensor, target: Tensor, weights: Tensor, *, rows_at_once: int | None = None
) -> tuple[Tensor, Tensor]:
    """Σ_p weights_jp `catalogue_cross_entropy`_p for each of J weightings, (J,), and the losses, (P,).

    Of several weightings the scores are made once, and each costs one product more, for the items'
    gradient. weights: (J, P), without gradient; the losses are detached; all else as there.
    """
    if rows_at_once is None:
        rows_at_once = _rows_at_once(states, items)
    states, items = _as_asked(states, items)
    return _WeightedCatalogueCrossEntropy.apply(states, items, target, weights.to(states.dtype), rows_at_once)


def logit_adjusted_cross_entropy(
    states: Tensor, items: Tensor, target: Tensor, offset: Tensor, *, rows_at_once: int | None = None
) -> Tensor:
    """−log softmax(states @ items.T + offset)[target] over items 1…N, as `catalogue_cross_entropy`.

    With offset = τ log π of the training data, scores alone estimate log P(item | history) − τ log P(item);
    τ = 1 is the balanced softmax, 0 the cross-entropy. offset: (N+1,), without gradient; its entry of padding
    is not read. Source: Menon et al. 2021; Ren et al. 2020.
    """
    ones = torch.ones_like(states[:, :1])
    column = offset.to(items)[:, None]
    return catalogue_cross_entropy(
        torch.cat([states, ones], dim=1), torch.cat([items, column], dim=1), target, rows_at_once=rows_at_once
    )


def _rows_at_once(states: Tensor, items: Tensor) -> int:
    size = BLOCK_BYTES if states.device.type == "cpu" else DEVICE_BLOCK_BYTES
    return max(16, size // (len(items) * states.element_size()))


def _as_asked(states: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
    """Both detached where no gradient is made: a Function is told that its inputs need them even then."""
    return (states, items) if torch.is_grad_enabled() else (states.detach(), items.detach())


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
            states, items, target, rows_at_once, weights=torch.ones_like(states[:, 0])[None]
        )
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        """Gradients of Σ_p weight_p loss_p."""
        (weight,) = gradients
        if len(weight) == 0 or bool((weight == weight[0]).all()):
            by_state, by_item = ctx.of_sum
            scale = weight[:1].sum()
            return by_state * scale, by_item[0] * scale, None, None
        states, items, target = ctx.saved_tensors
        _, by_state, by_item = _blocks(states, items, target, ctx.rows_at_once, weights=weight[None])
        return by_state * weight[:, None], by_item[0], None, None


class _WeightedCatalogueCrossEntropy(torch.autograd.Function):
    """Weighted sums of the loss and, on the way, the gradient of each."""

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, items: Tensor, target: Tensor, weights: Tensor, rows_at_once: int
    ) -> tuple[Tensor, Tensor]:
        """Sums, (J,), and losses, (P,)."""
        wanted = weights if any(ctx.needs_input_grad) else None
        losses, by_state, by_item = _blocks(states, items, target, rows_at_once, weights=wanted)
        ctx.save_for_backward(weights, by_state, by_item)
        ctx.mark_non_differentiable(losses)
        return weights @ losses, losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        """Gradients of Σ_j gradient_j sum_j."""
        weights, by_state, by_item = ctx.saved_tensors
        of_sums = gradients[0]
        row = of_sums @ weights
        return by_state * row[:, None], torch.tensordot(of_sums, by_item, dims=1), None, None, None


def _blocks(
    states: Tensor, items: Tensor, target: Tensor, rows_at_once: int, *, weights: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Losses (P,), each one's gradient by its state (P, D), and by items that of weighted sums (J, N+1, D).

    weights: (J, P); without them the gradients are left at zero.
    """
    columns = items[1:]  # (N, D)
    losses = torch.empty_like(states[:, 0])
    by_state = torch.zeros_like(states)
    by_item = items.new_zeros(0 if weights is None else len(weights), *items.shape)
    # one block for all: memory that is fresh each time costs about as much as the product
    block = states.new_empty(min(rows_at_once, len(states)), len(columns))
    for start in range(0, len(states), rows_at_once):
        rows = slice(start, start + rows_at_once)
        scores = torch.mm(states[rows], columns.T, out=block[: len(states[rows])])  # (block, N)
        own = (target[rows] - 1)[:, None]
        gained = (scores.gather(1, own) - scores.amax(dim=1, keepdim=True))[:, 0]
        chances = torch.softmax(scores, dim=1, out=scores)  # row by row: a row stays in cache
        losses[rows] = -chances.amax(dim=1).log() - gained  # the best item's chance never underflows
        if weights is None:
            continue
        chances.scatter_add_(1, own, -torch.ones_like(own, dtype=chances.dtype))
        torch.mm(chances, columns, out=by_state[rows])
        for of_weighting, weight in zip(by_item, weights[:, rows], strict=True):
            of_weighting[1:].addmm_(chances.T, states[rows] * weight[:, None])
    return losses, by_state, by_item
