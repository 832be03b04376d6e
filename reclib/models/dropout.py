"""Dropout whose random numbers cost a quarter."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_LEVELS = 2**16  # of a 16-bit draw
_DRAWS = 4  # that one 64-bit number gives


class Dropout(nn.Module):
    """Each value becomes zero with chance p, and the others 1 / (1 − p) times as large, while training.

    What `nn.Dropout` does, but a 64-bit random number decides for four values, which is most of the cost on
    a CPU; so p is rounded to a multiple of 2⁻¹⁶. Draws from the global generator, as `nn.Dropout`.
    Raises ValueError for a p outside [0, 1).
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"dropout p is {p}: choose a share of at least 0 and below 1")
        self.p = p

    def forward(self, values: Tensor) -> Tensor:
        """Values of any shape."""
        n_dropped = round(self.p * _LEVELS)
        if not self.training or not n_dropped:
            return values
        if values.device.type != "cpu":
            return nn.functional.dropout(values, self.p)
        words = torch.empty(-(-values.numel() // _DRAWS), dtype=torch.int64).random_(-(2**63), None)
        drawn = words.view(torch.int16)[: values.numel()].view(values.shape)
        kept = drawn >= n_dropped - _LEVELS // 2
        return values * kept.to(values.dtype).mul_(_LEVELS / (_LEVELS - n_dropped))

    def extra_repr(self) -> str:
        """What `print` shows."""
        return f"p={self.p}"
