"""Parts that two encoders share: self-attention and its block, and a recurrence that skips left padding.

[Transformer] Vaswani et al.: Attention Is All You Need, NeurIPS 2017.
[GRU] Cho et al.: Learning Phrase Representations using RNN Encoder–Decoder, EMNLP 2014.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reclib.models.backbones.residual import NORM_EPS, ResidualFeedForward, check_heads, split_heads
from reclib.models.dropout import Dropout


def allowed_keys(mask: Tensor, *, is_causal: bool) -> Tensor:
    """Which key (last axis) each query may attend to: items, if `is_causal` none that is later; and itself.

    mask: (B, S) → (B, 1, S, S) bool, the second axis for the heads. With itself no query is without a key,
    so that padded positions stay finite; as keys they are seen by nobody else.
    """
    square = torch.ones(mask.shape[1], mask.shape[1], dtype=torch.bool, device=mask.device)
    itself = torch.eye(mask.shape[1], dtype=torch.bool, device=mask.device)
    return ((mask[:, None, :] & (square.tril() if is_causal else square)) | itself)[:, None]


class SelfAttention(nn.Module):
    """Concat_h(Dropout(softmax(Q_h K_hᵀ / √(D/H))) V_h) W_O, with [Q; K; V] = x [W_Q; W_K; W_V] + b.

    Source: [Transformer] §3.2. Raises InputError where the H heads do not divide D.
    """

    def __init__(self, d_model: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        check_heads(d_model, n_heads)
        self.n_heads = n_heads
        self.query_key_value = nn.Linear(d_model, 3 * d_model)
        self.output = nn.Linear(d_model, d_model)
        self.dropout = Dropout(dropout)

    def forward(self, values: Tensor, allowed: Tensor) -> Tensor:
        """(B, S, D) → (B, Q, D) for the last Q positions; allowed: bool, (B or 1, 1, Q, S)."""
        n_queries, d_model = allowed.shape[2], values.shape[2]
        if n_queries == values.shape[1]:
            query, key, value = self.query_key_value(values).chunk(3, dim=-1)
        else:
            weight, bias = self.query_key_value.weight, self.query_key_value.bias
            query = F.linear(values[:, -n_queries:], weight[:d_model], bias[:d_model])
            key, value = F.linear(values, weight[d_model:], bias[d_model:]).chunk(2, dim=-1)
        query, key, value = (split_heads(rows, self.n_heads) for rows in (query, key, value))
        attended = self._attend(query, key, value, allowed)
        return self.output(attended.transpose(1, 2).flatten(2))

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, allowed: Tensor) -> Tensor:
        """(B, H, Q, D/H). Training on a CPU torch has no fused kernel that drops: ours drops at less cost."""
        if not (self.training and self.dropout.p and query.device.type == "cpu"):
            p = self.dropout.p if self.training else 0.0
            return F.scaled_dot_product_attention(query, key, value, attn_mask=allowed, dropout_p=p)
        scores = (query / math.sqrt(query.shape[-1])) @ key.transpose(-2, -1)
        bias = torch.zeros(allowed.shape, dtype=scores.dtype).masked_fill_(~allowed, -torch.inf)
        return self.dropout((scores + bias).softmax(dim=-1)) @ value


class AttentionBlock(nn.Module):
    """a = LN(x + Dropout(Attention(x))), then LN(a + Dropout(W₂ GELU(W₁a + b₁) + b₂)), inner width 4D."""

    def __init__(self, d_model: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = SelfAttention(d_model, n_heads, dropout)
        self.norm = nn.LayerNorm(d_model, NORM_EPS)
        self.dropout = Dropout(dropout)
        self.feed_forward = ResidualFeedForward(d_model, F.gelu, dropout)

    def forward(self, values: Tensor, allowed: Tensor) -> Tensor:
        """(B, S, D) → (B, Q, D) for the last Q positions; allowed: bool, (B or 1, 1, Q, S)."""
        attended = self.dropout(self.attention(values, allowed))
        return self.feed_forward(self.norm(values[:, -allowed.shape[2] :] + attended))


class AttentionStack(nn.Module):
    """`n_layers` attention blocks; of the last one only the last query where no other is wanted."""

    def __init__(self, d_model: int, n_layers: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(AttentionBlock(d_model, n_heads, dropout) for _ in range(n_layers))

    def forward(self, values: Tensor, mask: Tensor, *, is_causal: bool, last_only: bool) -> Tensor:
        """(B, S, D), mask (B, S) → (B, S, D), or (B, 1, D) of the last position."""
        is_full = mask.device.type == "cpu" and bool(mask.all())  # then one square serves all rows
        allowed = allowed_keys(mask[:1] if is_full else mask, is_causal=is_causal)
        for layer, block in enumerate(self.blocks, start=1):
            only = last_only and layer == len(self.blocks)
            values = block(values, allowed[:, :, -1:] if only else allowed)
        return values


class PaddedGRU(nn.Module):
    """Stacked gated recurrent units without biases, so that leading zeros leave the state at zero.

    z = σ(W_z x + U_z h), r = σ(W_r x + U_r h), n = tanh(W_n x + r ⊙ (U_n h)), h' = (1 − z) ⊙ n + z ⊙ h.
    x = 0 and h = 0 give h' = 0: a left-padded history has the states of the history alone. Dropout stands
    between layers. Each D×D matrix starts uniform within ±√(6 / 2D). Source: [GRU], in the variant that
    torch has: r multiplies U_n h; there it multiplies the h that U_n reads.
    """

    def __init__(self, d_model: int, n_layers: int, dropout: float) -> None:
        super().__init__()
        between = dropout if n_layers > 1 else 0.0
        self.gru = nn.GRU(d_model, d_model, n_layers, bias=False, batch_first=True, dropout=between)
        for weight in self.gru.parameters():
            nn.init.uniform_(weight, -math.sqrt(3 / d_model), math.sqrt(3 / d_model))

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """(B, S, D), mask (B, S) with padding on the left only → states (B, S, D), zero at padding."""
        if not len(values):
            return values
        return self.gru(values * mask[..., None])[0]
