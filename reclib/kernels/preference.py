"""Losses of preferring one answer to others, from their log-ratios to a reference.

B samples, K negatives each. [S-DPO] is the paper "On Softmax Direct Preference Optimization for
Recommendation".
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid


def softmax_dpo_loss(positive: Tensor, negative: Tensor, *, beta: float) -> Tensor:
    """−log σ(−log Σ_k exp(β r_k⁻ − β r⁺)), r = log π(answer) − log π_ref(answer).

    Equal to `-log_softmax(beta * stack([positive, *negatives]))[0]`: the sum is taken as a logsumexp, so
    that it neither overflows nor vanishes. With one negative it is DPO, −log σ(β (r⁺ − r⁻)); where policy and
    reference agree it is log(1 + K).

    positive: (B,) log-ratios of the preferred answers; negative: (B, K) of the others, K ≥ 1; beta: β > 0;
    returns (B,). Source: [S-DPO].
    """
    gap = beta * (negative - positive[:, None])
    return -logsigmoid(-gap.logsumexp(dim=1))
