"""A small softmax model whose steps can be written out by hand, for tests of sharpness-aware steps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, dropout

from reclib.training.examples import Examples, Weighed, weigh

N_ITEMS, WIDTH = 5, 4
COUNTS = np.array([0, 60, 30, 6, 3, 1])
TARGET = torch.tensor([1, 2, 1, 3, 4, 1, 5, 2])


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Softmax:
    """Logits from two weights; the loss is a mean over the examples given.

    after_pass: called with the number of the pass, from 1, before its losses are returned
    """

    def __init__(self, *, p_dropout: float = 0.0, after_pass: Callable[[int], None] | None = None) -> None:
        self.weight = nn.Parameter(draw(N_ITEMS, WIDTH, seed=0))
        self.scale = nn.Parameter(draw(WIDTH, seed=1))
        self.parameters = [self.weight, self.scale]
        self.inputs = draw(len(TARGET), WIDTH, seed=4)
        self.inputs[[2, 3, 5]] = self.inputs[0].clone()  # so that what raises three losses lowers another
        self.p_dropout = p_dropout
        self.after_pass = after_pass
        self.n_passes = 0

    def losses(self, rows: Tensor | None = None) -> Tensor:
        """Each example's part of the mean."""
        rows = torch.arange(len(TARGET)) if rows is None else rows
        hidden = torch.tanh(self.inputs[rows] * self.scale)
        hidden = dropout(hidden, self.p_dropout) if self.p_dropout else hidden
        return cross_entropy(hidden @ self.weight.T, TARGET[rows] - 1, reduction="none") / len(rows)

    def examples(self, rows: Tensor | None = None) -> Examples:
        rows = torch.arange(len(TARGET)) if rows is None else rows

        def forward(tables: Tensor | None, is_first: bool) -> Weighed:
            self.n_passes += 1
            losses = self.losses(rows)
            if self.after_pass is not None:
                self.after_pass(self.n_passes)
            return weigh(losses, TARGET[rows], tables)

        return Examples(forward, device=torch.device("cpu"))

    def flat(self) -> Tensor:
        return torch.cat([weight.detach().flatten() for weight in self.parameters])

    def gradient(self, coefficients: Tensor, *, at: Tensor | None = None) -> Tensor:
        """∇ Σ_k coefficients_k ℓ_k, flat, at other weights where they are given."""
        model = Softmax()
        if at is not None:
            with torch.no_grad():
                model.weight.copy_(at[: N_ITEMS * WIDTH].view(N_ITEMS, WIDTH))
                model.scale.copy_(at[N_ITEMS * WIDTH :])
        total = (coefficients * model.losses()).sum()
        return torch.cat([part.flatten() for part in torch.autograd.grad(total, model.parameters)])
