"""Ranking distillation: how much each entry of a teacher's list counts, and what it costs the student.

B lists of up to K items, N items in the catalogue. All are unreduced.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

SMALLEST = 1e-8  # weight of agreement where there is none, so that a list of such items still has weights


def position_weights(is_listed: Tensor, *, decay: float) -> Tensor:
    """w_r = exp(−r / λ) / Σ_j exp(−j / λ), r = 1…K the place in the list; (B, K).

    is_listed: (B, K) bool, whether an item stands there; rows without any are zero. λ = `decay`.
    Source: [DLLM2Rec], public code.
    """
    place = torch.arange(1, is_listed.shape[1] + 1, device=is_listed.device)
    return _over_listed(-place / decay, is_listed)


def confidence_weights(distance: Tensor, is_listed: Tensor) -> Tensor:
    """w_r = exp(−d_r) / Σ_j exp(−d_j), d_r the distance of what the teacher said from the item there; (B, K).

    With d = −log P_valid of the item it is the item's share of the list's probability. A distance adds up:
    one that all items of a list share changes nothing. distance: (B, K), read where `is_listed`.
    Source: [DLLM2Rec], public code.
    """
    return _over_listed(-distance, is_listed)


def importance_weights(
    distance: Tensor,
    is_listed: Tensor,
    agrees: Tensor,
    *,
    position_share: float,
    confidence_share: float,
    consistency_share: float,
    decay: float,
) -> Tensor:
    """How much each item of a list counts, (B, K): rows sum to one, those without an item are zero.

    w = (γₚ wᵖ + γ꜀ wᶜ + γₒ wᵒ) over its sum along the list. wᵖ: `position_weights`; wᶜ:
    `confidence_weights`; wᵒ: 1 where the student agrees, 1e-8 where it does not, so that weights are even
    where nothing else speaks. Without any share all weights are zero.

    distance: (B, K); is_listed, agrees: (B, K) bool. Source: [DLLM2Rec], public code.
    """
    consistency = torch.where(agrees, 1.0, SMALLEST)
    weight = (
        position_share * position_weights(is_listed, decay=decay)
        + confidence_share * confidence_weights(distance, is_listed)
        + consistency_share * consistency
    ).masked_fill(~is_listed, 0.0)
    total = weight.sum(dim=1, keepdim=True)
    return weight / torch.where(total > 0, total, 1.0)


def paired_distillation(positive: Tensor, negative: Tensor, weight: Tensor) -> Tensor:
    """Σ_r w_r (−log σ(s_r) − Σ_l log(1 − σ(s_l⁻))), (B,); 0 for an empty list.

    The binary loss with each listed item in the place of the target. positive: (B, K) scores of listed items;
    negative: (B, L) of sampled ones; weight: (B, K). Source: [DLLM2Rec].
    """
    against = softplus(negative).sum(dim=1, keepdim=True)
    return (weight * (softplus(-positive) + against)).sum(dim=1)


def listed_cross_entropy(positive: Tensor, first_loss: Tensor, weight: Tensor) -> Tensor:
    """−Σ_r w_r log softmax(s)[item r] over the catalogue, (B,); 0 for an empty list.

    One normaliser serves a list: it is the loss of the first item plus that item's score. positive: (B, K)
    scores of listed items; first_loss: (B,) −log softmax of the first; weight: (B, K), rows that sum to one
    or are zero.
    """
    is_taught = (weight.sum(dim=1) > 0).to(positive)
    return is_taught * (first_loss + positive[:, 0]) - (weight * positive).sum(dim=1)


def _over_listed(logits: Tensor, is_listed: Tensor) -> Tensor:
    """Softmax over the places that hold an item, (B, K); zeros in rows without any."""
    logits = logits.expand(is_listed.shape).masked_fill(~is_listed, -torch.inf)
    is_empty = ~is_listed.any(dim=1, keepdim=True)
    return logits.masked_fill(is_empty, 0.0).softmax(dim=1).masked_fill(~is_listed, 0.0)
