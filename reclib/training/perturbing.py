"""Gradients, and weights that are moved for a while: the pieces of a sharpness-aware step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from reclib.schema import InputError

Gradients = list[Tensor]  # one a parameter


@contextmanager
def perturbed(
    parameters: Sequence[Tensor], direction: Sequence[Tensor], *, length: float = 1.0
) -> Iterator[None]:
    """Add `length` times `direction` to the parameters for a while; they come back from copies, bit by bit.

    Through `.data`: a graph made before stays valid, as the weights it saved will be the same again.
    """
    saved = [parameter.detach().clone() for parameter in parameters]
    try:
        for parameter, step in zip(parameters, direction, strict=True):
            parameter.data.add_(step, alpha=length)
        yield
    finally:
        for parameter, before in zip(parameters, saved, strict=True):
            parameter.data.copy_(before)


@contextmanager
def climbed(
    parameters: Sequence[Tensor], slope: Sequence[Tensor], *, radius: float, where: str
) -> Iterator[Tensor]:
    """Move the parameters by ε of `kernels.sharpness.perturbation` for a while; yields ‖g‖.

    Raises InputError where it is not finite.
    """
    norm = gradient_norm(slope)
    length = check_finite(norm, f"{where}: the norm of the gradient is")
    with perturbed(parameters, slope, length=radius / length if length else 0.0):
        yield norm


def gradients(total: Tensor, parameters: Sequence[Tensor], *, keep: bool = False) -> Gradients:
    """Gradients of a scalar, zeros for parameters it does not depend on; `keep` lets another one follow."""
    if not total.requires_grad:
        return [torch.zeros_like(parameter) for parameter in parameters]
    found = torch.autograd.grad(total, parameters, retain_graph=keep, allow_unused=True)
    return [
        torch.zeros_like(parameter) if gradient is None else gradient
        for gradient, parameter in zip(found, parameters, strict=True)
    ]


def plus(gathered: Gradients, more: Gradients, *, scale: float = 1.0) -> Gradients:
    """The sum, in the place of `gathered`; an empty list is zero, and becomes a new one.

    New, as autograd may give two parameters one tensor, or one that is a view.
    """
    if not gathered:
        return [gradient * scale for gradient in more]
    for total, gradient in zip(gathered, more, strict=True):
        total.add_(gradient, alpha=scale)
    return gathered


def gradient_norm(of: Sequence[Tensor]) -> Tensor:
    """‖g‖ over all tensors together."""
    return torch.stack([gradient.norm() for gradient in of]).norm()


class Rise:
    """By how much losses rose under perturbations, and by how much their slopes said they would."""

    def __init__(self) -> None:
        self._rises: list[Tensor] = []
        self._reaches: list[Tensor] = []

    def add(self, rise: Tensor, *, reach: Tensor) -> None:
        """Take up a perturbation; reach: ρ‖g‖."""
        self._rises.append(rise)
        self._reaches.append(reach)

    def numbers(self) -> dict[str, Tensor]:
        """Nothing where nothing was perturbed, or nothing had a slope."""
        if not self._rises:
            return {}
        rise, reach = torch.stack(self._rises).sum(), torch.stack(self._reaches).sum()
        return {"sharpness_rise": rise, "sharpness_ratio": rise / reach} if bool(reach > 0) else {}


def check_finite(value: Tensor, what: str) -> float:
    """The value, refused where it would spoil the weights; on a GPU this waits for it."""
    number = float(value.detach())
    if not math.isfinite(number):
        raise InputError(f"{what} {number}: lower `radius` or the learning rate; the weights are as before")
    return number


def check_precision(parameters: Sequence[Tensor]) -> None:
    """Refuse weights that are too coarse to be perturbed."""
    half = {str(each.dtype) for each in parameters if each.dtype in (torch.float16, torch.bfloat16)}
    if half:
        raise InputError(
            f"trained weights are {', '.join(half)}, in which a perturbation is lost: keep them in float32"
        )
