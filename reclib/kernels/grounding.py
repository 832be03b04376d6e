"""Distances of what was generated to each item, re-weighted by what else is known of the items."""

from __future__ import annotations

from torch import Tensor


def unit_range(values: Tensor) -> Tensor:
    """Each row moved and scaled to 0…1: (x − min x) / (max x − min x); zeros for a row of equal values.

    values: (B, N); the same shape and dtype returned.
    """
    low = values.amin(dim=1, keepdim=True)
    width = values.amax(dim=1, keepdim=True) - low
    return (values - low) / width.where(width > 0, 1)


def reweighted_distances(distances: Tensor, knowledge: Tensor, *, gamma: float) -> Tensor:
    """D̂ = D̃ / (1 + w̃)^γ, with D̃ and w̃ the distances and the knowledge, each scaled to 0…1 in its row.

    γ = 0 leaves the order of each row as it is, and the nearest item (D̃ = 0) stays first under any γ ≥ 0.

    distances: (B, N) ≥ 0; knowledge: (B, N), or (1, N) for all rows, larger is better known, such as counts
    of interactions or scores of a recommender; returns (B, N). Source: [BIGRec], released code.
    """
    return unit_range(distances) * (1 + unit_range(knowledge)) ** -gamma
