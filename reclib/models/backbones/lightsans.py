"""LightSANs: attention from items to a few latent interests, and positions that attend apart from items.

[LightSANs] Fan, Liu, Lian, Zhao, Xie, Wen: Lighter and Better: Low-Rank Decomposed Self-Attention Networks
for Next-Item Recommendation, SIGIR 2021.
"""

from __future__ import annotations

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
)
from reclib.models.dropout import Dropout

N_INTERESTS = 5  # k of the public configuration
_LOWEST = -60.0  # exp of it is still a normal float32


class PrefixInterests(nn.Module):
    """Interests of each prefix, m_ic = Σ_{j≤i} w_jc x_j / Σ_{j≤i} w_jc with w_jc = exp(x_j·Θ_c), c = 1…k.

    The published pooling softmax_j(XΘ)ᵀX ([LightSANs] Eq. 2–3) takes j over the whole history; ours is it at
    the last position, and at position i the published one of the prefix up to i. The sums are cumulative, so
    the cost stays linear in S. Logits are shifted by the row's largest and cut 60 below it.
    """

    def __init__(self, d_model: int, n_interests: int) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.empty(d_model, n_interests).normal_())

    def forward(self, values: Tensor, mask: Tensor, *, last_only: bool = False) -> Tensor:
        """(B, S, D), mask (B, S) → (B, S, k, D), or (B, 1, k, D); zeros before the first item."""
        logits = at_least_single(values @ self.theta).masked_fill(~mask[..., None], -torch.inf)
        shift = logits.detach().amax(dim=1, keepdim=True).nan_to_num(neginf=0.0)
        weights = torch.exp((logits - shift).clamp_min(_LOWEST)) * mask[..., None]  # (B, S, k)
        if last_only:
            pooled = torch.einsum("bsk,bsd->bkd", weights, at_least_single(values))[:, None]
            total = weights.sum(dim=1, keepdim=True)
        else:
            pooled = (weights[..., None] * at_least_single(values)[:, :, None]).cumsum(dim=1)
            total = weights.cumsum(dim=1)
        return (pooled / total.clamp_min(torch.finfo(total.dtype).tiny)[..., None]).to(values.dtype)


class LightAttention(nn.Module):
    """LN(x + Dropout(W_o [F_1 … F_h])), F = softmax(Q K̃ᵀ/√d) Ṽ + softmax(P_q P_kᵀ/√d) V, d = D/h.

    K̃, Ṽ: the prefix's interests of K and of V; P_q, P_k: maps of the layer-normed position embeddings, whose
    attention sees earlier items only ([LightSANs] Eq. 4–6). Each Θ reads the keys or values of all heads.
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
        """(B, S, D), (S, D), mask (B, S) → (B, S, D), or (B, 1, D) of the last position."""
        first = -1 if last_only else 0
        value = self.value(values)
        keys = self._heads(self.key_interests(self.key(values), mask, last_only=last_only))  # (B, Q, k, h, d)
        interests = self._heads(self.value_interests(value, mask, last_only=last_only))
        query = self._heads(self.query(values[:, first:]))
        logits = torch.einsum("bqhd,bqkhd->bqhk", query, keys) * query.shape[-1] ** -0.5
        by_item = torch.einsum("bqhk,bqkhd->bqhd", self.dropout(logits.softmax(dim=-1)), interests)
        weights = self.dropout(self.position_weights(positions, mask, first))
        by_position = torch.einsum("bhqs,bshd->bqhd", weights, self._heads(value))
        return self.norm(values[:, first:] + self.dropout(self.outward((by_item + by_position).flatten(-2))))

    def position_weights(self, positions: Tensor, mask: Tensor, first: int = 0) -> Tensor:
        """softmax(P_q P_kᵀ/√d) of positions first … over the items up to each, (B, h, Q, S)."""
        normed = self.position_norm(positions)
        query, key = self._heads(self.position_query(normed[first:])), self._heads(self.position_key(normed))
        logits = torch.einsum("qhd,shd->hqs", query, key) * query.shape[-1] ** -0.5
        earlier = mask.new_ones(len(positions), len(positions)).tril()[first:]
        seen = mask[:, None, None] & earlier
        return logits.masked_fill(~seen, torch.finfo(logits.dtype).min).softmax(dim=-1)

    def _heads(self, values: Tensor) -> Tensor:
        """(..., D) → (..., h, d)."""
        return values.unflatten(-1, (self.n_heads, -1))


class LightSANs(nn.Module):
    """LightSANs with interests of prefixes: LN(items), then `n_layers` blocks of attention and feed-forward.

    Shapes: vectors (B, S, D), mask (B, S) bool, True at items, padding on the left; S ≤ max_length, else
    InputError. Position embeddings are not added to items: they make attention weights of their own. A state
    depends on its item and earlier ones; the published interests pool the whole history.
    Source: [LightSANs] §2; widths and initialisation as in its public code.
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
