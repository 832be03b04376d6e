"""gMLP: positions mixed by a gate that is a linear map over the sequence.

[gMLP] Liu, Dai, So, Le: Pay Attention to MLPs, NeurIPS 2021.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reclib.models.backbones.residual import NORM_EPS, check_length, initialise_linear
from reclib.models.dropout import Dropout

EXPANSION = 4  # d_ffn over D; the two halves of the gate have half of it each


class SpatialGate(nn.Module):
    """s(u, v)_i = u_i ⊙ (Σ_{j≤i} W_ij LN(v_j) + b_i), the gate of [gMLP] with a triangular W ∈ R^{n×n}.

    Rows and columns count from the end of the sequence (n = max_length), so that padding on the left does not
    shift them. W starts near zero and b at one, so that the gate starts as u, as there.
    """

    def __init__(self, width: int, max_length: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, NORM_EPS)
        self.weight = nn.Parameter(torch.empty(max_length, max_length).uniform_(-1e-3, 1e-3) / max_length)
        self.bias = nn.Parameter(torch.ones(max_length))

    def forward(self, content: Tensor, gate: Tensor, mask: Tensor) -> Tensor:
        """(B, Q, F) of the last Q positions, (B, S, F), mask (B, S) → (B, Q, F); v is zeroed at padding."""
        n_queries, n_positions, max_length = content.shape[1], gate.shape[1], len(self.bias)
        check_length(n_positions, max_length)
        weight = self.weight.tril()[max_length - n_queries :, max_length - n_positions :]
        mixed = weight @ (self.norm(gate) * mask[..., None])
        return content * (mixed + self.bias[max_length - n_queries :, None])


class GatedBlock(nn.Module):
    """x + Dropout(W₂ s(u, v) + b₂), (u, v) = GELU(W₁ LN(x) + b₁), each of width 2D; [gMLP]."""

    def __init__(self, d_model: int, dropout: float, max_length: int) -> None:
        super().__init__()
        width = EXPANSION * d_model // 2
        self.norm = nn.LayerNorm(d_model, NORM_EPS)
        self.content = nn.Linear(d_model, width)
        self.gate = nn.Linear(d_model, width)
        self.spatial = SpatialGate(width, max_length)
        self.outer = nn.Linear(width, d_model)
        self.dropout = Dropout(dropout)

    def forward(self, values: Tensor, mask: Tensor, *, last_only: bool = False) -> Tensor:
        """(B, S, D), mask (B, S) → (B, S, D), or (B, 1, D) of the last position."""
        normed = self.norm(values)
        first = -1 if last_only else 0
        content, gate = F.gelu(self.content(normed[:, first:])), F.gelu(self.gate(normed))
        return values[:, first:] + self.dropout(self.outer(self.spatial(content, gate, mask)))


class GMLP(nn.Module):
    """gMLP over histories: `n_layers` gated blocks and a layer norm; no position embeddings.

    Shapes: vectors (B, S, D), mask (B, S) bool, True at items, padding on the left; S ≤ max_length, else
    InputError. The published gate sees the whole sequence; ours sees its position and earlier ones.
    `n_heads` is taken for one signature of all and not used. Source: [gMLP]; d_ffn = 4D, as the
    feed-forwards of the others (the paper: 6D).
    """

    is_causal = True

    def __init__(self, *, d_model: int, n_layers: int, n_heads: int, dropout: float, max_length: int) -> None:
        super().__init__()
        self.max_length = max_length
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(GatedBlock(d_model, dropout, max_length) for _ in range(n_layers))
        self.norm = nn.LayerNorm(d_model, NORM_EPS)
        self.apply(initialise_linear)

    def forward(self, vectors: Tensor, mask: Tensor, *, last_only: bool = False) -> Tensor:
        """States (B, S, D), zero at padding; of the last position, (B, D), when `last_only`."""
        values = self.dropout(vectors)
        for layer, block in enumerate(self.blocks, start=1):
            values = block(values, mask, last_only=last_only and layer == len(self.blocks))
        values = self.norm(values)
        return values[:, -1] * mask[:, -1:] if last_only else values * mask[..., None]
