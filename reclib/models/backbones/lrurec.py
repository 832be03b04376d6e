"""LRURec: linear recurrent units, run over a whole history at once.

[LRURec] Yue, Wang, He, Zeng, McAuley, Wang: Linear Recurrent Units for Sequential Recommendation, WSDM 2024.
[LRU] Orvieto et al.: Resurrecting Recurrent Neural Networks for Long Sequences, ICML 2023.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from reclib.models.backbones.residual import INITIAL_STD, NORM_EPS, ResidualFeedForward, at_least_single
from reclib.models.dropout import Dropout

RADII = (0.8, 0.99)  # of the eigenvalues at the start
EXPANSION = 2  # width of the recurrent state over D


def doubling(inputs: Tensor, eigenvalue: Tensor) -> Tensor:
    """h_i = λ ⊙ h_{i−1} + u_i, h_{−1} = 0, in ⌈log₂ S⌉ steps; u: (B, S, H), λ: (H,).

    After the step of width s, place i holds Σ_{j<2s} λʲ u_{i−j}; the next adds λ^{2s} times what stands 2s
    earlier.
    """
    states, width, power = inputs.clone(), 1, eigenvalue
    while width < inputs.shape[1]:
        states[:, width:] += power * states[:, :-width]  # the product is made before anything is added
        width, power = 2 * width, power * power
    return states


class _Scan(torch.autograd.Function):
    """`doubling`, whose gradients are one scan backwards.

    ∂L/∂u_i = g_i = ∂L/∂h_i + λ̄ g_{i+1} and ∂L/∂λ = Σ_i h̄_{i−1} g_i, where h̄ and λ̄ are conjugates.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, eigenvalue: Tensor) -> Tensor:
        states = doubling(inputs, eigenvalue)
        ctx.save_for_backward(states, eigenvalue)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        states, eigenvalue = ctx.saved_tensors
        to_inputs = doubling(gradient.flip(1), eigenvalue.conj()).flip(1)
        return to_inputs, (states[:, :-1].conj() * to_inputs[:, 1:]).sum(dim=(0, 1))


def linear_scan(inputs: Tensor, eigenvalue: Tensor) -> Tensor:
    """All states of h_i = λ ⊙ h_{i−1} + u_i; u (B, S, H), λ (H,), complex → (B, S, H)."""
    return cast(Tensor, _Scan.apply(inputs, eigenvalue))


def last_of_scan(inputs: Tensor, eigenvalue: Tensor) -> Tensor:
    """The last state of `linear_scan`, Σ_j λ^{S−1−j} u_j, (B, 1, H)."""
    ages = torch.arange(inputs.shape[1] - 1, -1, -1, device=inputs.device)[:, None]
    return (torch.exp(ages * torch.log(eigenvalue)) * inputs).sum(dim=1, keepdim=True)


class LinearRecurrence(nn.Module):
    """LN(x + Dropout(Re(C h) + b)), h_i = λ ⊙ h_{i−1} + γ ⊙ (B x_i + a), λ = exp(−e^ν + 𝒾e^θ) ∈ C^H, H = 2D.

    |λ| < 1 whatever ν, so that the recurrence is stable; γ starts at √(1 − |λ|²) and is learned as its
    logarithm ([LRU] §3.4). Complex maps are real ones: B x as 2H real rows, Re(C h) as a real map of
    (Re h, Im h). γ is real, one a state.
    """

    def __init__(self, d_model: int, dropout: float) -> None:
        super().__init__()
        d_state = EXPANSION * d_model
        low, high = (radius**2 for radius in RADII)
        log_decay = torch.log(
            -0.5 * torch.log(low + (high - low) * torch.empty(d_state).uniform_())
        )  # |λ|² uniform
        self.log_decay = nn.Parameter(log_decay)  # ν
        self.log_phase = nn.Parameter(torch.log(2 * math.pi * (1 - torch.empty(d_state).uniform_())))  # θ
        self.log_gain = nn.Parameter(0.5 * torch.log1p(-torch.exp(-2 * torch.exp(log_decay))))  # log γ
        self.inward = nn.Linear(d_model, 2 * d_state)
        self.outward = nn.Linear(2 * d_state, d_model)
        self.norm = nn.LayerNorm(d_model, NORM_EPS)
        self.dropout = Dropout(dropout)

    def forward(self, values: Tensor, mask: Tensor, *, last_only: bool = False) -> Tensor:
        """(B, S, D), mask (B, S) → (B, S, D), or (B, 1, D); padding adds nothing to the recurrent state."""
        inputs = at_least_single(self.inward(values)).unflatten(-1, (2, -1))  # (B, S, 2, H)
        inputs = inputs * torch.exp(self.log_gain) * mask[..., None, None]
        scan = last_of_scan if last_only else linear_scan
        eigenvalue = torch.polar(torch.exp(-torch.exp(self.log_decay)), torch.exp(self.log_phase))
        states = scan(torch.complex(*inputs.unbind(-2)), eigenvalue)
        read = self.outward(torch.cat([states.real, states.imag], dim=-1).to(values.dtype))
        return self.norm((values[:, -1:] if last_only else values) + self.dropout(read))


class LRURec(nn.Module):
    """LRURec: LN(items), then `n_layers` blocks of linear recurrence and feed-forward with GELU.

    Shapes: vectors (B, S, D), mask (B, S) bool, True at items, padding on the left; S of any length, for
    there are no position embeddings. `n_heads` and `max_length` are taken for one signature of all.
    Source: [LRURec]; H, the start of λ and of the weights (normal of deviation 0.02, cut at two deviations)
    as in its public code, which drops before the first layer norm and adds a bias of each item to scores.
    """

    is_causal = True

    def __init__(self, *, d_model: int, n_layers: int, n_heads: int, dropout: float, max_length: int) -> None:
        super().__init__()
        self.max_length = max_length
        self.norm = nn.LayerNorm(d_model, NORM_EPS)
        self.dropout = Dropout(dropout)
        self.recurrences = nn.ModuleList(LinearRecurrence(d_model, dropout) for _ in range(n_layers))
        self.feed_forwards = nn.ModuleList(
            ResidualFeedForward(d_model, F.gelu, dropout) for _ in range(n_layers)
        )
        self.apply(_initialise)

    def forward(self, vectors: Tensor, mask: Tensor, *, last_only: bool = False) -> Tensor:
        """States (B, S, D), zero at padding; of the last position, (B, D), when `last_only`."""
        values = self.dropout(self.norm(vectors))
        for layer, (recurrence, feed_forward) in enumerate(
            zip(self.recurrences, self.feed_forwards, strict=True), start=1
        ):
            only = last_only and layer == len(self.recurrences)
            values = feed_forward(recurrence(values, mask, last_only=only))
        return values[:, -1] * mask[:, -1:] if last_only else values * mask[..., None]


def _initialise(module: nn.Module) -> None:
    """Weights and biases of linear maps from a normal cut at two deviations."""
    if isinstance(module, nn.Linear):
        for values in (module.weight, module.bias):
            nn.init.trunc_normal_(values, std=INITIAL_STD, a=-2 * INITIAL_STD, b=2 * INITIAL_STD)
