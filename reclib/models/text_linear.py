"""Frozen text embeddings of items through one trained linear map."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from reclib.schema import PAD_IDX


class LinearTextItems(nn.Module):
    """W x + b of frozen text embeddings x; W starts by Xavier's rule, b at zero. An `ItemModule`.

    text: (N+1, E), row 0 padding; frozen and not written to checkpoints. Source: LLM2Rec's evaluation.
    """

    text: Tensor

    def __init__(self, text: np.ndarray, d_model: int) -> None:
        super().__init__()
        self.n_items = len(text) - 1
        self.register_buffer("text", torch.from_numpy(text).float(), persistent=False)
        self.linear = nn.Linear(text.shape[1], d_model)
        nn.init.xavier_normal_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, item_idx: Tensor) -> Tensor:
        """Item vectors, (...) → (..., D); zeros for padding. Each distinct item is mapped once."""
        distinct, place = item_idx.unique(return_inverse=True)
        return embedding(place, self._rows(distinct))

    def matrix(self) -> Tensor:
        """The vectors of all items, (N+1, D); row 0 is zero."""
        return self._rows(torch.arange(self.n_items + 1, device=self.text.device))

    def _rows(self, item_idx: Tensor) -> Tensor:
        return self.linear(self.text[item_idx]) * (item_idx != PAD_IDX)[:, None]
