"""FMLP-Rec: histories mixed by learnable filters in the frequency domain, and no attention.

[FMLP] Zhou, Yu, Zhao, Wen: Filter-enhanced MLP is All You Need for Sequential Recommendation, WWW 2022.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reclib.models.backbones.residual import (
    INITIAL_STD,
    NORM_EPS,
    EndPositions,
    ResidualFeedForward,
    at_least_single,
    check_length,
    initialise_linear,
)
from reclib.models.dropout import Dropout


class CausalFilter(nn.Module):
    """A filter W ∈ C^{C×D}, C = ⌊n/2⌋ + 1 frequencies of n = max_length, as a linear causal convolution.

    y_i = Σ_{k=0}^{i} h_k ⊙ x_{i−k} with h = irfft(W) ∈ R^{n×D}, by transforms of sequences padded to 2S.
    The published filter irfft(W ⊙ rfft(x)) is the circular convolution Σ_{k=0}^{n−1} h_k ⊙ x_{(i−k) mod n}
    ([FMLP] §4.2), which wraps around: it adds Σ_{j>i} h_{n+i−j} ⊙ x_j, all later positions. Hence
    the two are equal at the last position, for any x, and at position i for an x that is zero after i.
    """

    def __init__(self, max_length: int, d_model: int) -> None:
        super().__init__()
        self.max_length = max_length
        self.spectrum = nn.Parameter(torch.empty(max_length // 2 + 1, d_model, 2).normal_(std=INITIAL_STD))

    def taps(self, n_positions: int) -> Tensor:
        """h_0 … h_{S−1}, (S, D)."""
        check_length(n_positions, self.max_length)
        spectrum = torch.view_as_complex(at_least_single(self.spectrum))
        return torch.fft.irfft(spectrum, n=self.max_length, dim=0)[:n_positions]

    def forward(self, values: Tensor, *, last_only: bool = False) -> Tensor:
        """(B, S, D) → (B, S, D), or (B, 1, D) of the last position."""
        n_positions = values.shape[1]
        taps = self.taps(n_positions)
        if last_only:
            return torch.einsum("bsd,sd->bd", values, taps.flip(0).to(values.dtype))[:, None]
        if not len(values):  # which the Fourier transform refuses
            return values
        n_padded = 2 * n_positions
        spectrum = torch.fft.rfft(at_least_single(values), n=n_padded, dim=1) * torch.fft.rfft(
            taps, n=n_padded, dim=0
        )
        return torch.fft.irfft(spectrum, n=n_padded, dim=1)[:, :n_positions].to(values.dtype)


class FilterBlock(nn.Module):
    """x̃ = LN(x + Dropout(filter(x))), then x̃ ↦ LN(x̃ + Dropout(FFN(x̃))) with ReLU; [FMLP] §4.1.2."""

    def __init__(self, d_model: int, dropout: float, max_length: int) -> None:
        super().__init__()
        self.filter = CausalFilter(max_length, d_model)
        self.norm = nn.LayerNorm(d_model, NORM_EPS)
        self.dropout = Dropout(dropout)
        self.feed_forward = ResidualFeedForward(d_model, F.relu, dropout)

    def forward(self, values: Tensor, mask: Tensor, *, last_only: bool = False) -> Tensor:
        """(B, S, D), mask (B, S) → (B, S, D), or (B, 1, D); padding enters the filter as zeros."""
        kept = values * mask[..., None]
        residual = values[:, -1:] if last_only else values
        return self.feed_forward(self.norm(residual + self.dropout(self.filter(kept, last_only=last_only))))


class FMLPRec(nn.Module):
    """FMLP-Rec with causal filters: LN(items + positions), then `n_layers` blocks of filter and feed-forward.

    Shapes: vectors (B, S, D), mask (B, S) bool, True at items, padding on the left; S ≤ max_length, else
    InputError. A state depends on its item and earlier ones, so that all positions can be trained at once;
    the published one sees the whole history. `n_heads` is taken for one signature of all and not used.
    Source: [FMLP] §4.1; widths and initialisation as in its public code, ReLU as in the paper.
    """

    is_causal = True

    def __init__(self, *, d_model: int, n_layers: int, n_heads: int, dropout: float, max_length: int) -> None:
        super().__init__()
        self.max_length = max_length
        self.positions = EndPositions(max_length, d_model)
        self.norm = nn.LayerNorm(d_model, NORM_EPS)
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(FilterBlock(d_model, dropout, max_length) for _ in range(n_layers))
        self.apply(initialise_linear)

    def forward(self, vectors: Tensor, mask: Tensor, *, last_only: bool = False) -> Tensor:
        """States (B, S, D), zero at padding; of the last position, (B, D), when `last_only`."""
        values = self.dropout(self.norm(vectors + self.positions(vectors.shape[1])))
        for layer, block in enumerate(self.blocks, start=1):
            values = block(values, mask, last_only=last_only and layer == len(self.blocks))
        return values[:, -1] * mask[:, -1:] if last_only else values * mask[..., None]
