"""Losses that guard against the worst distribution near a nominal one: the dual of a Kullback–Leibler ball.

P rows, N outcomes of each, D width. All losses are unreduced, (P,).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

BLOCK_BYTES = 16 * 2**20  # of scores held at once on a CPU
DEVICE_BLOCK_BYTES = 256 * 2**20  # elsewhere


def robust_loss(losses: Tensor, log_nominal: Tensor, *, temperature: float) -> Tensor:
    """β log Σ_i q_i exp(l_i / β) = max over distributions p of Σ_i p_i l_i − β KL(p ‖ q).

    The worst p is `worst_case`, and the gradient by l_i is p_i. Towards β = ∞, a ball without radius, it is
    the mean Σ_i q_i l_i; towards β = 0 the largest loss that has a probability.

    losses: (P, N); log_nominal: log q, (N,) or (P, N), −inf for what cannot occur; returns (P,).
    Source: [DROS], the dual of its KL-constrained maximum.
    """
    return temperature * (log_nominal + losses / temperature).logsumexp(dim=1)


def worst_case(losses: Tensor, log_nominal: Tensor, *, temperature: float) -> Tensor:
    """The distribution p_i ∝ q_i exp(l_i / β) that `robust_loss` is the worst of, (P, N); rows sum to one.

    losses: (P, N); log_nominal: (N,) or (P, N).
    """
    return (log_nominal + losses / temperature).softmax(dim=1)


def flattened_popularity(counts: Tensor, *, power: float) -> Tensor:
    """Logarithm of q_i = (n_i + 1)^γ / Σ_j (n_j + 1)^γ, (N,) float32.

    γ = 1 is the popularity of training, each item counted once more, and γ = 0 makes items equally likely:
    between them rare items have a larger share than training gives them. counts: (N,).
    Source: [DROS], public code.
    """
    return (power * (counts.double() + 1).log()).log_softmax(dim=0).float()


def squared_errors(scores: Tensor, target: Tensor) -> Tensor:
    """l_i = (σ(s_i) − y_i)², y_i = 1 for the target and 0 for all else; (P, N).

    scores: (P, N); target: (P,) int64 columns.
    """
    wanted = torch.zeros_like(scores).scatter(1, target[:, None], 1.0)
    return (scores.sigmoid() - wanted).square()


def catalogue_robust_loss(
    states: Tensor,
    items: Tensor,
    target: Tensor,
    log_nominal: Tensor,
    *,
    temperature: float,
    rows_at_once: int | None = None,
) -> Tensor:
    """`robust_loss` of the `squared_errors` of all items 1…N, scores being states @ items.T.

    The (P, N) scores are never held at once: blocks of rows are computed, and where a gradient is wanted
    once more for it. Padding, row 0, has no share.

    states: (P, D); items: (N+1, D); target: (P,) int64 in 1…N; log_nominal: (N,); rows_at_once: of a block,
    by default as many as fit in `BLOCK_BYTES`.
    """
    if rows_at_once is None:
        size = BLOCK_BYTES if states.device.type == "cpu" else DEVICE_BLOCK_BYTES
        rows_at_once = max(1, size // (len(items) * states.element_size()))

    def block(some: Tensor, own: Tensor) -> Tensor:
        losses = squared_errors(some @ items[1:].T, own - 1)
        return robust_loss(losses, log_nominal.to(losses), temperature=temperature)

    blocks = zip(states.split(rows_at_once), target.split(rows_at_once), strict=True)
    if len(states) <= rows_at_once:
        return block(states, target)
    parts = [checkpoint(block, *each, use_reentrant=False, preserve_rng_state=False) for each in blocks]
    return torch.cat(parts)
