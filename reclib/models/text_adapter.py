"""Frozen text embeddings of items, mapped to the width of the item vectors by a small trained network."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from reclib.schema import PAD_IDX


class MappedText(nn.Module):
    """layers(e_raw): a trained network over frozen text embeddings. An `ItemModule`.

    text: (N+1, E), row 0 padding; frozen and not written to checkpoints. layers: (M, E) → (M, D); the
    distinct items of a call only are mapped, each once.
    """

    text: Tensor

    def __init__(self, text: np.ndarray, layers: nn.Module) -> None:
        super().__init__()
        self.n_items = len(text) - 1
        self.register_buffer("text", torch.from_numpy(text).float(), persistent=False)
        self.layers = layers

    def forward(self, item_idx: Tensor) -> Tensor:
        """Item vectors, (...) → (..., D); zeros for padding."""
        distinct, place = item_idx.unique(return_inverse=True)
        return embedding(place, self._rows(distinct))

    def matrix(self) -> Tensor:
        """The vectors of all items, (N+1, D); row 0 is zero."""
        return self._rows(torch.arange(self.n_items + 1, device=self.text.device))

    def _rows(self, item_idx: Tensor) -> Tensor:
        """Vectors of distinct items, (M,) → (M, D)."""
        return self.layers(self.text[item_idx]) * (item_idx != PAD_IDX)[:, None]


class TextAdapter(MappedText):
    """adapter(e_raw): two linear layers over frozen text embeddings, optionally with something between them.

    text: (N+1, E), row 0 padding; hidden: width of the first layer. See `MappedText`.
    """

    def __init__(
        self, text: np.ndarray, d_model: int, *, hidden: int, between: nn.Module | None = None
    ) -> None:
        layers = [nn.Linear(text.shape[1], hidden), between, nn.Linear(hidden, d_model)]
        super().__init__(text, nn.Sequential(*(layer for layer in layers if layer is not None)))


class LinearTextItems(MappedText):
    """W x + b of frozen text embeddings x; W starts by Xavier's rule, b at zero. See `MappedText`.

    text: (N+1, E), row 0 padding. Source: LLM2Rec's evaluation.
    """

    def __init__(self, text: np.ndarray, d_model: int) -> None:
        linear = nn.Linear(text.shape[1], d_model)
        nn.init.xavier_normal_(linear.weight)
        nn.init.zeros_(linear.bias)
        super().__init__(text, linear)
