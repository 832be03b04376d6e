"""A micro-batch that passes through the model again and again, with the same draws each time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor


class Weighed(NamedTuple):
    """What a pass returns.

    totals: (J,) with graph, Σ_k table_j[item of k] ℓ_k of each table asked for
    losses: (P,) ℓ_k, with graph where no table was asked for and detached otherwise; Σ_k ℓ_k is the loss L of
    the micro-batch as ERM has it
    item_idx: (P,) int64, the target of each example
    """

    totals: Tensor
    losses: Tensor
    item_idx: Tensor


@dataclass
class Examples:
    """A micro-batch, and how it passes through the model.

    forward: (tables or None, is_first) → `Weighed`; tables: (J, N+1), what each item's losses count
    device, generators: what dropout and the forward draw from; passes after the first draw the same
    copies: lets each item's examples run through weights of their own while it is entered; it yields these
        weights (m, …), in the order of the parameters, and the item of each, (m,)
    """

    forward: Callable[[Tensor | None, bool], Weighed]
    device: torch.device
    generators: Sequence[torch.Generator] = ()
    copies: Callable[[], AbstractContextManager[tuple[list[Tensor], Tensor]]] | None = None
    _states: list[Tensor] = field(default_factory=list)

    def __call__(self, tables: Tensor | None = None) -> Weighed:
        """Pass the micro-batch, under the weights as they are."""
        is_first = not self._states
        if is_first:
            self._states = self._draws()
        else:
            self._draw_again()
        return self.forward(tables, is_first)

    def _draws(self) -> list[Tensor]:
        states = [torch.get_rng_state(), *(generator.get_state() for generator in self.generators)]
        return states + ([torch.cuda.get_rng_state(self.device)] if self.device.type == "cuda" else [])

    def _draw_again(self) -> None:
        torch.set_rng_state(self._states[0])
        for generator, state in zip(self.generators, self._states[1:], strict=False):
            generator.set_state(state)
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(self._states[-1], self.device)


def weigh(losses: Tensor, item_idx: Tensor, tables: Tensor | None) -> Weighed:
    """The pass of losses that are made one by one; losses: (P,) with graph."""
    if tables is None:
        return Weighed(losses.new_zeros(0), losses, item_idx)
    return Weighed(tables[:, item_idx].to(losses.dtype) @ losses, losses.detach(), item_idx)
