"""LightSANs: attention from items to a few latent interests, and positions that attend apart from items.

[LightSANs] Fan, Liu, Lian, Zhao, Xie, Wen: Lighter and Better: Low-Rank Decomposed Self-Attention Networks
for Next-Item Recommendation, SIGIR 2021.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reclib.models.backbones.residual import (
    NORM_EPS,
    EndPositions,
    ResidualFeedForward,
    at_least_single,
    check_heads,
    initialise_linear,
    split_heads,
)
from reclib.models.dropout import Dropout

N_INTERESTS = 5  # k: the default of RecBole; the authors' runs take a tenth of the longest history


class PrefixInterests(nn.Module):
    """Weights that pool each prefix into k interests: w_icj = exp(x_j·Θ_c) / Σ_{l≤i} exp(x_l·Θ_c), j ≤ i.

    The published pooling softmax_j(XΘ)ᵀX of [LightSANs] takes j over the whole history; ours is it at
    the last position, and at position i the published one of the prefix up to i.
    """

    def __init__(self, d_model: int, n_interests: int) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.empty(d_model, n_interests).normal_())

    def forward(self, values: Tensor, seen: Tensor) -> Tensor:
        """(B, S, D), seen (B, 1, Q, S) bool → (B, Q, k, S); uniform where nothing is seen."""
        logits = at_least_single(values @ self.theta).transpose(1, 2)[:, None]
        weights = torch.where(seen.transpose(1, 2), logits, torch.finfo(logits.dtype).min).softmax(dim=-1)
        return weights.to(values.dtype)


class LightAttention(nn.Module):
    """LN(x + Dropout(W_o [F_1 … F_h])), F = softmax(Q K̃ᵀ/√d) Ṽ + softmax(P_q P_kᵀ/√d) V, d = D/h.

    K̃, Ṽ: the prefix's interests of K and of V; P_q, P_k: maps of the layer-normed position embeddings, whose
    attention sees earlier items only. Source: [LightSANs]. Each Θ reads the keys or values of all heads.
    """

    def __init__(self, d_model: int, n_heads: int, dropout: float, n_interests: int) -> None:
        super().__init__()
        check_heads(d_model, n_heads)
        self.n_heads = n_heads
        self.query, self.key, self.value = (nn.Linear(d_model, d_model) for _ in range(3))
        self.key_interests = PrefixInterests(d_model, n_interests)
        self.value_interests = PrefixInterests(d_model, n_interests)
        self.position_norm = nn.LayerNorm(d_model, NORM_EPS)
        self.position_query, self.position_key = (nn.Linear(d_model, d_model) for _ in range(2))
        self.outward = nn.Linear(d_model, d_model)
        self.norm = nn.LayerNorm(d_model, NORM_EPS)
        self.dropout = Dropout(dropout)

    def forward(self, values: Tensor, positions: Tensor, mask: Tensor, *, last_only: bool = False) -> Tensor:
        """(B, S, D), (S, D), mask (B, S) → (B, S, D), or (B, 1, D) of the last position.

        With the weights w of an interest, Q K̃ᵀ = (Q Kᵀ) wᵀ and Ṽ = w V, so that no interest is made for
        each prefix: what is large is (B, h, Q, S), as for the positions.
        """
        first = -1 if last_only else 0
        seen = (mask[:, None] & mask.new_ones(len(positions), len(positions)).tril()[first:])[:, None]
        query, key, value = self.query(values[:, first:]), self.key(values), self.value(values)
        query_h, key_h, value_h = (split_heads(rows, self.n_heads) for rows in (query, key, value))
        products = query_h * self._scale @ key_h.transpose(-2, -1)  # (B, h, Q, S)
        logits = products.transpose(1, 2) @ self.key_interests(key, seen).transpose(-2, -1)  # (B, Q, h, k)
        by_interest = self.dropout(logits.softmax(dim=-1)) @ self.value_interests(value, seen)
        by_position = self.dropout(self.position_weights(positions, seen))
        attended = (by_interest.transpose(1, 2) + by_position) @ value_h
        return self.norm(values[:, first:] + self.dropout(self.outward(attended.transpose(1, 2).flatten(2))))

    def position_weights(self, positions: Tensor, seen: Tensor) -> Tensor:
        """softmax(P_q P_kᵀ/√d) of the last Q positions over the items that each sees, (B, h, Q, S)."""
        normed = self.position_norm(positions)
        last = normed[len(positions) - seen.shape[2] :]
        rows = self.position_query(last), self.position_key(normed)
        query, key = (split_heads(each, self.n_heads) for each in rows)
        logits = query * self._scale @ key.transpose(-2, -1)
        return torch.where(seen, logits, torch.finfo(logits.dtype).min).softmax(dim=-1)

    @property
    def _scale(self) -> float:
        """1/√d."""
        return math.sqrt(self.n_heads / self.outward.in_features)


class LightSANs(nn.Module):
    """LightSANs with interests of prefixes: LN(items), then `n_layers` blocks of attention and feed-forward.

    Shapes: vectors (B, S, D), mask (B, S) bool, True at items, padding on the left; S ≤ max_length, else
    InputError. Position embeddings are not added to items: they make attention weights of their own. A state
    depends on its item and earlier ones; the published interests pool the whole history.
    Source: [LightSANs]; widths and initialisation as in its public code.
    """

    is_causal = True

    def __init__(self, *, d_model: int, n_layers: int, n_heads: int, dropout: float, max_length: int) -> None:
        super().__init__()
        self.max_length = max_length
        self.positions = EndPositions(max_length, d_model)
        self.norm = nn.LayerNorm(d_model, NORM_EPS)
        self.dropout = Dropout(dropout)
        self.attentions = nn.ModuleList(
            LightAttention(d_model, n_heads, dropout, N_INTERESTS) for _ in range(n_layers)
        )
        self.feed_forwards = nn.ModuleList(
            ResidualFeedForward(d_model, F.gelu, dropout) for _ in range(n_layers)
        )
        self.apply(initialise_linear)

    def forward(self, vectors: Tensor, mask: Tensor, *, last_only: bool = False) -> Tensor:
        """States (B, S, D), zero at padding; of the last position, (B, D), when `last_only`."""
        positions = self.positions(vectors.shape[1])
        values = self.dropout(self.norm(vectors))
        for layer, (attention, feed_forward) in enumerate(
            zip(self.attentions, self.feed_forwards, strict=True), start=1
        ):
            only = last_only and layer == len(self.attentions)
            values = feed_forward(attention(values, positions, mask, last_only=only))
        return values[:, -1] * mask[:, -1:] if last_only else values * mask[..., None]
