"""HSTU: gated blocks of attention without a softmax.

[HSTU] Zhai et al.: Actions Speak Louder than Words: Trillion-Parameter Sequential Transducers for Generative
Recommendations, ICML 2024.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reclib.models.backbones.residual import (
    INITIAL_STD,
    NORM_EPS,
    EndPositions,
    check_heads,
    check_length,
    split_heads,
)
from reclib.models.dropout import Dropout

BLOCK_EPS = 1e-6  # of the layer norms, as in the public code


class TransductionBlock(nn.Module):
    """x + W_o Dropout(LN(A V) ⊙ U) + b, [U; V; Q; K] = SiLU(LN(x) W), A = SiLU(Q Kᵀ + r) / n in each head.

    r_ij = w_{i−j}: a bias for each distance, the same for all heads; A is 0 at later positions and at
    padding; n = max_length. Layer norms have no weights. Weights sum to anything: how much a history says
    counts, which a softmax would hide. Source: [HSTU], as in its public code.
    """

    def __init__(self, d_model: int, n_heads: int, dropout: float, max_length: int) -> None:
        super().__init__()
        check_heads(d_model, n_heads)
        self.d_model, self.n_heads, self.max_length = d_model, n_heads, max_length
        self.inward = nn.Parameter(torch.empty(d_model, 4 * d_model).normal_(std=INITIAL_STD))
        self.distance = nn.Parameter(torch.empty(max_length).normal_(std=INITIAL_STD))
        self.outward = nn.Linear(d_model, d_model)
        nn.init.xavier_uniform_(self.outward.weight)
        self.dropout = Dropout(dropout)

    def forward(self, values: Tensor, mask: Tensor, *, last_only: bool = False) -> Tensor:
        """(B, S, D), mask (B, S) → (B, S, D), or (B, 1, D) of the last position."""
        first = -1 if last_only else 0
        mapped = F.silu(self._norm(values) @ self.inward)
        gate, value, query, key = mapped.chunk(4, dim=-1)
        rows = (query[:, first:], key, value)
        query, key, value = (split_heads(each, self.n_heads) for each in rows)
        weights = F.silu(query @ key.transpose(-2, -1) + self.biases(values.shape[1])[first:])
        square = torch.ones(values.shape[1], values.shape[1], dtype=torch.bool, device=mask.device).tril()
        seen = (mask[:, None] & square[first:])[:, None]
        attended = (weights * seen / self.max_length) @ value
        gated = gate[:, first:] * self._norm(attended.transpose(1, 2).flatten(2))
        return values[:, first:] + self.outward(self.dropout(gated))

    def biases(self, n_positions: int) -> Tensor:
        """r_ij = w_{i−j} for j ≤ i, (S, S); what stands above the diagonal is not used."""
        check_length(n_positions, self.max_length)
        place = torch.arange(n_positions, device=self.distance.device)
        return self.distance[(place[:, None] - place).clamp_min(0)]

    def _norm(self, values: Tensor) -> Tensor:
        return F.layer_norm(values, [self.d_model], eps=BLOCK_EPS)


class HSTU(nn.Module):
    """HSTU over items alone: Dropout(√D items + positions), `n_layers` transduction blocks, a layer norm.

    Shapes: vectors (B, S, D), mask (B, S) bool, True at items, padding on the left; S ≤ max_length, else
    InputError. Positions count from the end. Queries, keys, values and gates of a head have the width D/h.
    Histories carry no times here, so that the bias is by distance only and not by time. Instead of the layer
    norm the public code brings states to length one, as `models.unit_states.UnitStates` does for any encoder.
    Source: [HSTU]; all other details as in its public code.
    """

    is_causal = True

    def __init__(self, *, d_model: int, n_layers: int, n_heads: int, dropout: float, max_length: int) -> None:
        super().__init__()
        self.max_length = max_length
        self.scale = math.sqrt(d_model)
        self.positions = EndPositions(max_length, d_model)
        nn.init.trunc_normal_(self.positions.weight, std=1 / self.scale, a=-2 / self.scale, b=2 / self.scale)
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(
            TransductionBlock(d_model, n_heads, dropout, max_length) for _ in range(n_layers)
        )
        self.norm = nn.LayerNorm(d_model, NORM_EPS)

    def forward(self, vectors: Tensor, mask: Tensor, *, last_only: bool = False) -> Tensor:
        """States (B, S, D), zero at padding; of the last position, (B, D), when `last_only`."""
        values = self.dropout(self.scale * vectors + self.positions(vectors.shape[1])) * mask[..., None]
        for layer, block in enumerate(self.blocks, start=1):
            values = block(values, mask, last_only=last_only and layer == len(self.blocks))
        values = self.norm(values)
        return values[:, -1] * mask[:, -1:] if last_only else values * mask[..., None]
