"""SASRec: self-attention over the items so far.

[SASRec] Kang, McAuley: Self-Attentive Sequential Recommendation, ICDM 2018.
"""

from __future__ import annotations

from torch import Tensor, nn

from reclib.models.backbones.blocks import AttentionStack
from reclib.models.backbones.residual import NORM_EPS, EndPositions, initialise_linear
from reclib.models.dropout import Dropout


class SASRec(nn.Module):
    """SASRec: Dropout(LN(items + positions)), then `n_layers` blocks of causal attention and feed-forward.

    Position i attends to positions j ≤ i that hold items ([SASRec] §III-B). Positions count from the end, as
    in left-padded histories of one length. Shapes: vectors (B, S, D), mask (B, S) bool, True at items,
    padding on the left; S ≤ max_length, else InputError. Of a last state alone, the last block computes
    one query. Source: [SASRec] §III; the layer norm after each residual, GELU and the inner width 4D as in
    the Transformer encoders of public comparisons (the paper and its code: norm before, ReLU, D).
    """

    is_causal = True

    def __init__(self, *, d_model: int, n_layers: int, n_heads: int, dropout: float, max_length: int) -> None:
        super().__init__()
        self.max_length = max_length
        self.positions = EndPositions(max_length, d_model)
        self.norm = nn.LayerNorm(d_model, NORM_EPS)
        self.dropout = Dropout(dropout)
        self.stack = AttentionStack(d_model, n_layers, n_heads, dropout)
        self.apply(initialise_linear)

    def forward(self, vectors: Tensor, mask: Tensor, *, last_only: bool = False) -> Tensor:
        """States (B, S, D), zero at padding; of the last position, (B, D), when `last_only`."""
        values = self.dropout(self.norm(vectors + self.positions(vectors.shape[1])))
        values = self.stack(values, mask, is_causal=True, last_only=last_only)
        return values[:, -1] * mask[:, -1:] if last_only else values * mask[..., None]
