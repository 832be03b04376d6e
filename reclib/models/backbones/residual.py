"""Parts that most encoders share: positions counted from the end, and a feed-forward with a residual."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from reclib.models.dropout import Dropout
from reclib.schema import InputError

INITIAL_STD = 0.02  # of weights: in most of the encoders' public code, for all of them here
NORM_EPS = 1e-12


def check_length(n_positions: int, max_length: int) -> None:
    """Raise InputError for a history longer than the encoder has places."""
    if n_positions > max_length:
        raise InputError(
            f"a history of {n_positions} positions, but the backbone was built with max_length {max_length}: "
            "cut histories to their last items or build it longer"
        )


def check_heads(d_model: int, n_heads: int) -> None:
    """Raise InputError for a width that the heads cannot share evenly."""
    if d_model % n_heads:
        raise InputError(
            f"d_model {d_model} does not divide into {n_heads} heads: choose a multiple of n_heads"
        )


def split_heads(rows: Tensor, n_heads: int) -> Tensor:
    """(..., S, D) → (..., H, S, D/H)."""
    return rows.unflatten(-1, (n_heads, -1)).transpose(-3, -2)


class EndPositions(nn.Module):
    """Learned vectors of positions counted from the end, (max_length, D): row −1 is the newest item's."""

    def __init__(self, max_length: int, d_model: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(max_length, d_model).normal_(std=INITIAL_STD))

    def forward(self, n_positions: int) -> Tensor:
        """Rows of the last `n_positions` places, (S, D); InputError when there are not so many."""
        check_length(n_positions, len(self.weight))
        return self.weight[len(self.weight) - n_positions :]


class ResidualFeedForward(nn.Module):
    """LN(x + Dropout(W₂ act(W₁x + b₁) + b₂)) at each position; (..., D) → (..., D), inner width 4D."""

    def __init__(self, d_model: int, activation: Callable[[Tensor], Tensor], dropout: float) -> None:
        super().__init__()
        self.inner = nn.Linear(d_model, 4 * d_model)
        self.outer = nn.Linear(4 * d_model, d_model)
        self.norm = nn.LayerNorm(d_model, NORM_EPS)
        self.activation = activation
        self.dropout = Dropout(dropout)

    def forward(self, values: Tensor) -> Tensor:
        """(..., D) → (..., D)."""
        return self.norm(values + self.dropout(self.outer(self.activation(self.inner(values)))))


def at_least_single(values: Tensor) -> Tensor:
    """Half precision as single, for transforms and sums over a history; all else as it is."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def initialise_linear(module: nn.Module) -> None:
    """Weights of linear maps from N(0, 0.02²), biases 0; for `Module.apply`."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=INITIAL_STD)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
