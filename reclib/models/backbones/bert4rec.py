"""BERT4Rec: attention to both sides, trained to fill in masked items.

[BERT4Rec] Sun et al.: BERT4Rec: Sequential Recommendation with Bidirectional Encoder Representations from
Transformer, CIKM 2019.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reclib.models.backbones.blocks import AttentionStack
from reclib.models.backbones.residual import INITIAL_STD, EndPositions, initialise_linear
from reclib.models.dropout import Dropout


class BERT4Rec(nn.Module):
    """BERT4Rec: Dropout(items + positions), `n_layers` blocks of attention to all items, GELU(h W + b).

    `mask_vector` (D,) stands in place of the items to be predicted; the caller puts it there. The last map
    is the projection of [BERT4Rec] Eq. 7, whose product with the item table scores; its bias of each item
    is left out, so that a score stays an inner product. Shapes: vectors (B, S, D), mask (B, S) bool, True at
    items and at the mask vector, padding on the left; S ≤ max_length, else InputError. Positions count from
    the end (in the public code from the first item). Source: [BERT4Rec] §3.3–3.6; items + positions and the
    projection without the layer norms that its code adds.
    """

    is_causal = False

    def __init__(self, *, d_model: int, n_layers: int, n_heads: int, dropout: float, max_length: int) -> None:
        super().__init__()
        self.max_length = max_length
        self.mask_vector = nn.Parameter(torch.empty(d_model).normal_(std=INITIAL_STD))
        self.positions = EndPositions(max_length, d_model)
        self.dropout = Dropout(dropout)
        self.stack = AttentionStack(d_model, n_layers, n_heads, dropout)
        self.projection = nn.Linear(d_model, d_model)
        self.apply(initialise_linear)

    def forward(self, vectors: Tensor, mask: Tensor, *, last_only: bool = False) -> Tensor:
        """States (B, S, D), zero at padding; of the last position, (B, D), when `last_only`."""
        values = self.dropout(vectors + self.positions(vectors.shape[1]))
        values = self.stack(values, mask, is_causal=False, last_only=last_only)
        values = F.gelu(self.projection(values))
        return values[:, -1] * mask[:, -1:] if last_only else values * mask[..., None]
