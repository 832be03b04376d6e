"""A-LLMRec's first stage: items' collaborative vectors and text embeddings in one space."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Aligned(NamedTuple):
    """An item encoded by its vector and by its text, (B, width) each, and both decoded again."""

    item_code: Tensor
    text_code: Tensor
    item: Tensor
    text: Tensor


class AlignedItems(nn.Module):
    """Encoders of vectors (d) and of text embeddings (E) into one space, and a decoder back for each.

    code = σ(W x + b), decoded = W′ code + b′, for vectors and for texts. Source: [A-LLMRec], released code.
    """

    def __init__(self, item_width: int, text_width: int, width: int) -> None:
        super().__init__()
        self.item_encoder = nn.Sequential(nn.Linear(item_width, width), nn.Sigmoid())
        self.item_decoder = nn.Linear(width, item_width)
        self.text_encoder = nn.Sequential(nn.Linear(text_width, width), nn.Sigmoid())
        self.text_decoder = nn.Linear(width, text_width)

    def forward(self, item: Tensor, text: Tensor) -> Aligned:
        """Encode and decode B items; item: (B, d) vectors, text: (B, E) embeddings of the same items."""
        item_code, text_code = self.item_encoder(item), self.text_encoder(text)
        return Aligned(item_code, text_code, self.item_decoder(item_code), self.text_decoder(text_code))

    @torch.no_grad()
    def joint(self, item: Tensor, text: Tensor, is_cold: Tensor) -> Tensor:
        """Joint embeddings (M, width): the code of an item's vector, of its text where it is cold, (M,)."""
        return torch.where(is_cold[:, None], self.text_encoder(text), self.item_encoder(item))
