"""From the contexts of an item to its vector: what CITIES infers tail items with."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from reclib.models.backbones.residual import check_heads


class ContextInference(nn.Module):
    """F(contexts of an item) = its vector.

    Each context, R items before and R after a hidden item, is weighted by place, given place encodings and
    read by a transformer encoder (the interpreter), whose states are averaged; a second encoder without
    places (the aggregator) reads the k contexts as a set; the mean of its states goes through a linear map.
    Encoders normalise after each sub-layer, with ReLU and 2D hidden units. Source: [CITIES],
    with the layout of its public code, less the hidden item's own place and the dropout after encodings.
    Raises InputError where the heads do not divide D.
    """

    encoding: Tensor

    def __init__(self, d_model: int, *, reach: int, n_layers: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        check_heads(d_model, n_heads)
        self.importance = nn.Parameter(torch.ones(2 * reach))
        self.register_buffer("encoding", _place_encoding(2 * reach, d_model), persistent=False)
        self.interpreter = _encoder(d_model, n_layers, n_heads, dropout)
        self.aggregator = _encoder(d_model, n_layers, n_heads, dropout)
        self.output = nn.Linear(d_model, d_model)

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Vectors of the items around, (M, k, 2R, D), and which are there, (M, k, 2R) → (M, D).

        A context without any item is not read; an item without any context gets a finite vector.
        """
        is_context = mask.any(dim=2)
        weighted = vectors * self.importance[:, None] + self.encoding
        states = _read(self.interpreter, weighted.flatten(0, 1), mask.flatten(0, 1))
        contexts = states.unflatten(0, is_context.shape)
        return self.output(_read(self.aggregator, contexts, is_context))


def _encoder(d_model: int, n_layers: int, n_heads: int, dropout: float) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(d_model, n_heads, 2 * d_model, dropout, batch_first=True)
    return nn.TransformerEncoder(layer, n_layers, enable_nested_tensor=False)


def _read(encoder: nn.TransformerEncoder, vectors: Tensor, mask: Tensor) -> Tensor:
    """Mean state of the places that are there, (R, L, D) and (R, L) → (R, D); 0 where none is."""
    hidden = ~mask
    hidden = hidden & ~hidden.all(dim=1, keepdim=True)  # a row that hides all would be not a number
    weight = mask.to(vectors.dtype)[..., None]
    states = encoder(vectors, src_key_padding_mask=hidden) * weight
    return states.sum(dim=1) / weight.sum(dim=1).clamp(min=1)


def _place_encoding(length: int, d_model: int) -> Tensor:
    """Sines and cosines of places over √D, (length, D)."""
    rate = torch.exp(torch.arange(0, d_model, 2) * (-math.log(10000.0) / d_model))
    angle = torch.arange(length)[:, None] * rate
    encoding = torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)[:, :d_model]
    return encoding / math.sqrt(d_model)
