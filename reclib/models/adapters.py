"""How LoRA branches are computed for a while: in float32 under autocast, or with weights for each sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.nn.functional import linear

from reclib.models.packing import Packing
from reclib.schema import InputError


class _WideLinear(nn.Module):
    """A linear layer in the precision of its weight, whatever the autocast state."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, values: Tensor) -> Tensor:
        with torch.autocast(values.device.type, enabled=False):
            return linear(values.to(self.weight.dtype), self.weight)


class _CopiedLinear(nn.Module):
    """A linear layer on packed tokens with a weight for each sample; weight: (m, out, in)."""

    def __init__(self, weight: Tensor, copy: Tensor, packing: Packing) -> None:
        super().__init__()
        self.weight, self.copy, self.packing = weight, copy, packing

    def forward(self, values: Tensor) -> Tensor:
        with torch.autocast(values.device.type, enabled=False):
            rows = values[0].to(self.weight.dtype)[self.packing.padded]  # (B, L, in)
            out = torch.bmm(rows, self.weight[self.copy].mT)  # (B, L, out)
            return out.flatten(0, 1)[self.packing.packed][None]


def _branches(network: nn.Module) -> Iterator[tuple[nn.ModuleDict, str]]:
    """Where each LoRA matrix A or B is."""
    for layer in network.modules():
        if isinstance(layer, LoraLayer):
            for table in (layer.lora_A, layer.lora_B):
                yield from ((table, name) for name in table)


@contextmanager
def _exchanged(network: nn.Module, make: Callable[[Any], nn.Module]) -> Iterator[None]:
    """Put other layers in the place of the LoRA matrices, and these back at the end."""
    places = [(table, name, table[name]) for table, name in _branches(network)]
    try:
        for table, name, layer in places:
            table[name] = make(layer)
        yield
    finally:
        for table, name, layer in places:
            table[name] = layer


@contextmanager
def wide_adapters(network: nn.Module) -> Iterator[None]:
    """Compute LoRA branches in the precision of their weights even under autocast.

    In bfloat16 a weight of 0.01 moves in steps of 6e-5, so that of a perturbation of 2e-5 most is rounded
    away or up.
    Without autocast nothing changes.
    """
    with _exchanged(network, lambda layer: _WideLinear(layer.weight) if type(layer) is nn.Linear else layer):
        yield


@contextmanager
def adapter_copies(network: nn.Module, copy: Tensor, packing: Packing) -> Iterator[list[Tensor]]:
    """Let each sample run through LoRA weights of its own: copies, in the order of the trainable weights.

    copy: (B,) int64, which of m copies a sample runs through; yields tensors (m, …) that take gradients: one
    backward pass of a sum over samples gives each copy the gradient of its own samples. [spec §3.6]

    Raises InputError where sequences share a head, whose tokens belong to no one sample, and where anything
    but LoRA matrices is trained.
    """
    if packing.n_head:
        raise InputError(
            f"sequences share {packing.n_head} tokens: copies of adapters need prompts `without_head()`"
        )
    n_copies = int(copy.max()) + 1
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    copies = [weight.detach().expand(n_copies, *weight.shape).clone().requires_grad_() for weight in trained]
    of_weight = {id(weight): own for weight, own in zip(trained, copies, strict=True)}
    if set(of_weight) != {id(table[name].weight) for table, name in _branches(network)}:
        raise InputError("copies are made of LoRA matrices only: freeze all other weights of the network")
    with _exchanged(network, lambda layer: _CopiedLinear(of_weight[id(layer.weight)], copy, packing)):
        yield copies
