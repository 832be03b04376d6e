"""GRU4Rec: a recurrent network over the items so far.

[GRU4Rec] Hidasi, Karatzoglou, Baltrunas, Tikk: Session-based Recommendations with Recurrent Neural Networks,
ICLR 2016.
"""

from __future__ import annotations

from torch import Tensor, nn

from reclib.models.backbones.blocks import PaddedGRU
from reclib.models.dropout import Dropout


class GRU4Rec(nn.Module):
    """GRU4Rec: h_i = GRU(x_i, h_{i−1}) of `n_layers` layers over Dropout(items); the state scores items.

    Shapes: vectors (B, S, D), mask (B, S) bool, True at items, padding on the left; S of any length. The
    hidden width is D, so that states multiply item vectors without a further map. `n_heads` and
    `max_length` are taken for one signature of all. Source: [GRU4Rec] §3.
    """

    is_causal = True

    def __init__(self, *, d_model: int, n_layers: int, n_heads: int, dropout: float, max_length: int) -> None:
        super().__init__()
        self.max_length = max_length
        self.dropout = Dropout(dropout)
        self.recurrence = PaddedGRU(d_model, n_layers, dropout)

    def forward(self, vectors: Tensor, mask: Tensor, *, last_only: bool = False) -> Tensor:
        """States (B, S, D), zero at padding; of the last position, (B, D), when `last_only`."""
        states = self.recurrence(self.dropout(vectors), mask)
        return states[:, -1] if last_only else states
