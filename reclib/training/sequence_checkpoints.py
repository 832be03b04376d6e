"""The state of a training loop as one safetensors file: written in one step, read without unpickling."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from reclib.files import atomic_write
from reclib.schema import InputError

Weights = dict[str, Tensor]


def trained_weights(model: nn.Module) -> Weights:
    """What training changes, by name and not copied: parameters that are not frozen, and kept buffers."""
    kept = set(model.state_dict())
    weights = {name: weight.detach() for name, weight in model.named_parameters() if weight.requires_grad}
    return weights | {name: buffer for name, buffer in model.named_buffers() if name in kept}


def copy_weights(source: Weights, target: Weights) -> None:
    """Overwrite weights of the same names in place."""
    with torch.no_grad():
        for name, weight in target.items():
            weight.copy_(source[name])


def optimiser_state(model: nn.Module, optimiser: torch.optim.Optimizer) -> Weights:
    """Tensors of an optimiser by "parameter/kind", not copied."""
    return {
        f"{name}/{kind}": value
        for name, weight in model.named_parameters()
        for kind, value in optimiser.state.get(weight, {}).items()
    }


def load_optimiser(model: nn.Module, optimiser: torch.optim.Optimizer, state: Weights) -> None:
    """Go on from tensors of `optimiser_state`."""
    parameters = dict(model.named_parameters())
    for key, value in state.items():
        name, _, kind = key.rpartition("/")
        weight = parameters[name]
        optimiser.state[weight][kind] = value.to(weight.device)  # a fused Adam's step too


def save_checkpoint(path: Path, state: dict[str, Any], tensors: dict[str, Weights]) -> None:
    """Write JSON values and groups of tensors in one step."""
    flat = {
        f"{group}:{name}": tensor.contiguous()
        for group, weights in tensors.items()
        for name, tensor in weights.items()
    }
    metadata = {"state": json.dumps(state)}
    atomic_write(path, lambda partial: save_file(flat, partial, metadata=metadata))


def load_checkpoint(path: Path, *, identity: str) -> tuple[dict[str, Any], dict[str, Weights]]:
    """Read the file of `save_checkpoint`; raises InputError where it is of another training."""
    tensors: dict[str, Weights] = {}
    with safe_open(path, "pt") as file:
        state = json.loads(file.metadata()["state"])
        if state["identity"] != identity:
            raise InputError(
                f"{path.name} in {path.parent} is of a training with other windows, settings, seed or "
                f"shapes: remove it, or give this training a folder or a stage name of its own"
            )
        for key in file.keys():  # noqa: SIM118 -- not a dict
            group, _, name = key.partition(":")
            tensors.setdefault(group, {})[name] = file.get_tensor(key)
    return state, tensors
