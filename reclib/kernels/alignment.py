"""Alignment of two embedding spaces of the same items, by items and by dimensions: FAERec, and LLMEmb's."""

from __future__ import annotations

import torch
from torch import Tensor

from reclib.kernels.contrast import info_nce

SMALLEST = 1e-12  # a sum of squares below this is that of a dimension that does not vary


def item_alignment(id_embedding: Tensor, llm_embedding: Tensor, *, temperature: float) -> Tensor:
    """−log exp(cos(id_k, llm_k) / τ) / Σ_j exp(cos(id_k, llm_j) / τ), for each of K distinct items.

    Both: (K, D). Returns (K,), unreduced; 0 for a single item. One direction, ID → LLM, as printed.
    Source: [FAERec] Eq. (5).
    """
    itself = torch.arange(len(id_embedding), device=id_embedding.device)
    return info_nce(id_embedding, llm_embedding, itself, temperature=temperature)


def similarity_alignment(first: Tensor, second: Tensor, *, temperature: float) -> Tensor:
    """½ (H(T_k, softmax_j a_k·b_j / τ) + H(Tᵀ_k, softmax_j b_k·a_j / τ)), H(t, p) = −Σ_j t_j log p_j.

    T = softmax(τ (a aᵀ + b bᵀ) / 2) over each row: an item should be as like the others across the two spaces
    as it is within them. As released, T passes a gradient too, and a row of Tᵀ need not add up to 1.

    Both: (K, D) of the same items. Returns (K,), unreduced; 0 for a single item. Source: [LLMEmb], public
    code.
    """
    across = first @ second.T / temperature
    target = ((first @ first.T + second @ second.T) * (temperature / 2)).softmax(dim=1)
    one = -(target * across.log_softmax(dim=1)).sum(dim=1)
    other = -(target.T * across.T.log_softmax(dim=1)).sum(dim=1)
    return (one + other) / 2


def cross_correlation(first: Tensor, second: Tensor) -> Tensor:
    """C_ij = Σ_k a_ki b_kj / (√Σ_k a_ki² √Σ_k b_kj²), a and b the dimensions less their means over K items.

    Both: (K, D). Returns (D, D). A dimension that does not vary, as all do with a single item, correlates 0
    with every other, and gets no gradient. Source: [FAERec] Eq. (7), (8).
    """
    units = []
    for rows in (first, second):
        centred = rows - rows.mean(dim=0)
        squares = centred.square().sum(dim=0)
        varies = squares > SMALLEST
        units.append(torch.where(varies, centred / torch.where(varies, squares, 1.0).sqrt(), 0.0))
    return units[0].T @ units[1]


def feature_alignment(first: Tensor, second: Tensor, *, redundancy_weight: float) -> Tensor:
    """Σ_i (1 − C_ii)² + λ Σ_{i≠j} C_ij², C the `cross_correlation` of one group of items.

    Both: (K, D). Returns a scalar: D where nothing varies, 0 for equal spaces of uncorrelated dimensions.
    Source: [FAERec] Eq. (9), (10).
    """
    correlation = cross_correlation(first, second)
    diagonal = correlation.diagonal()
    off_diagonal = correlation.square().sum() - diagonal.square().sum()
    return (1 - diagonal).square().sum() + redundancy_weight * off_diagonal


def popular_half(counts: Tensor) -> Tensor:
    """Whether each of K items is in the more popular half of them, (K,) bool.

    The ⌊K/2⌋ items of the highest counts; ties go to the items that stand later, so that both halves are
    filled even where all items are equally popular. counts: (K,). Source: [FAERec] Eq. (6).
    """
    order = counts.argsort(stable=True)
    is_popular = torch.zeros_like(counts, dtype=torch.bool)
    is_popular[order[len(order) - len(order) // 2 :]] = True
    return is_popular
