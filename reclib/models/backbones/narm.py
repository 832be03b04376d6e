"""NARM: a recurrent network, and attention of its last state to its earlier ones.

[NARM] Li, Ren, Chen, Ren, Lian, Ma: Neural Attentive Session-based Recommendation, CIKM 2017.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from reclib.models.backbones.blocks import PaddedGRU
from reclib.models.backbones.residual import initialise_linear
from reclib.models.dropout import Dropout

QUERY_BLOCK = 32  # positions that attend at once: bounds the (B, Q, S, D) block that the attention needs


class AdditiveAttention(nn.Module):
    """c_t = Σ_{j≤t} α_tj h_j, α_tj = vᵀ σ(A₁ h_t + A₂ h_j), weights of no fixed sum; [NARM]."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.query = nn.Linear(d_model, d_model, bias=False)  # A₁
        self.key = nn.Linear(d_model, d_model, bias=False)  # A₂
        self.score = nn.Linear(d_model, 1, bias=False)  # v

    def forward(self, states: Tensor, n_queries: int) -> Tensor:
        """(B, S, D) → (B, Q, D) of the last Q positions; zero states, those of padding, add nothing."""
        n_positions = states.shape[1]
        query, key = self.query(states[:, n_positions - n_queries :]), self.key(states)
        blocks: list[Tensor] = []
        for rows in query.split(QUERY_BLOCK, dim=1):
            end = n_positions - n_queries + sum(block.shape[1] for block in blocks) + rows.shape[1]
            arguments = (rows, key[:, :end], states[:, :end])
            blocks.append(checkpoint(self._attend, *arguments, use_reentrant=False))
        return torch.cat(blocks, dim=1)

    def _attend(self, query: Tensor, key: Tensor, states: Tensor) -> Tensor:
        """(B, Q, D), for queries of the last Q of the positions."""
        weights = self.score(torch.sigmoid(query[:, :, None] + key[:, None])).squeeze(-1)  # (B, Q, S)
        return weights.tril(key.shape[1] - query.shape[1]) @ states


class NARM(nn.Module):
    """NARM: states h of a GRU over Dropout(items); B Dropout([h_t ; Σ_{j≤t} α_tj h_j]) scores items.

    h_t is the global encoder, the sum the local one; B ∈ R^{D×2D} is the bilinear decoder's. Shapes: vectors
    (B, S, D), mask (B, S) bool, True at items, padding on the left; S of any length. The published encoder
    reads the last state of a session; here each position is a last one of what came before it. `n_layers`
    counts layers of the GRU (the paper: 1); `n_heads` and `max_length` are taken for one signature of all.
    Source: [NARM], whose public code divides the weights by a softmax; hidden width D.
    """

    is_causal = True

    def __init__(self, *, d_model: int, n_layers: int, n_heads: int, dropout: float, max_length: int) -> None:
        super().__init__()
        self.max_length = max_length
        self.dropout = Dropout(dropout)
        self.recurrence = PaddedGRU(d_model, n_layers, dropout)
        self.attention = AdditiveAttention(d_model)
        self.decoder = nn.Linear(2 * d_model, d_model, bias=False)
        self.apply(initialise_linear)

    def forward(self, vectors: Tensor, mask: Tensor, *, last_only: bool = False) -> Tensor:
        """States (B, S, D), zero at padding; of the last position, (B, D), when `last_only`."""
        states = self.recurrence(self.dropout(vectors), mask)
        n_queries = 1 if last_only else states.shape[1]
        both = torch.cat([states[:, -n_queries:], self.attention(states, n_queries)], dim=-1)
        decoded = self.decoder(self.dropout(both))
        return decoded[:, -1] if last_only else decoded
