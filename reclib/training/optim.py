"""One step that contains the family of sharpness-aware methods, from ERM to item-wise SAM.

A step takes one micro-batch on one process, perturbs for it alone, and adds its gradient g to what the
weights have gathered (m-SAM): under accumulation, and over several processes, only g is summed. Weight decay
and the optimiser act on θ. The equations are in `kernels.sharpness`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from reclib.config import SharpnessConfig
from reclib.kernels.sharpness import (
    Coefficients,
    alignment_factor,
    eisam2_coefficients,
    eisam_coefficients,
    hinge_coefficients,
)
from reclib.training.examples import Examples
from reclib.training.item_weights import bucket_radii, item_weights, popularity_buckets
from reclib.training.perturbing import (
    Gradients,
    Rise,
    check_finite,
    check_precision,
    climbed,
    gradient_norm,
    gradients,
    plus,
)

ALIGNMENT_EXAMPLES = 16  # that A is estimated on: each costs a backward pass


class Outcome(NamedTuple):
    """A step's gradient, one tensor a parameter; its loss L at θ; and numbers for the log, all detached.

    numbers: "sharpness_rise", dL, by which the losses rose that ε ascends; "sharpness_ratio", dL / (ρ‖g‖),
    near one where the perturbation arrives and the loss is straight at this radius; at times "alignment", A
    """

    gradients: list[Tensor]
    loss: Tensor
    numbers: dict[str, Tensor]


class Sharpness:
    """The step that `config` names, where item i is the target of `counts[i]` training examples.

    counts: (N+1,); prior: (N+1,) prior popularity, for weight "prior". Raises what `item_weights` raises.
    """

    def __init__(
        self,
        config: SharpnessConfig,
        counts: np.ndarray,
        *,
        prior: np.ndarray | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.config = config
        self.weights = item_weights(config, counts, prior=prior).to(device, torch.float32)
        none = torch.zeros_like(self.weights)
        self._plain = Coefficients(none + 1, none, none)
        self._groups = [(torch.ones_like(self.weights), config.radius)]
        if config.step == "buckets":
            buckets = popularity_buckets(counts, config.n_buckets)
            self._groups = [
                (torch.from_numpy(buckets == group).to(self.weights), radius)
                for group, radius in enumerate(bucket_radii(config, counts, buckets))
            ]

    def backward(
        self, examples: Examples, parameters: Sequence[Tensor], *, step: int, where: str
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Add the step's gradient to that of the parameters; returns the loss and numbers for the log.

        Raises what `outcome` raises; nothing is added then.
        """
        outcome = self.outcome(examples, parameters, step=step, where=where)
        for parameter, gradient in zip(parameters, outcome.gradients, strict=True):
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
        return outcome.loss, outcome.numbers

    def outcome(
        self, examples: Examples, parameters: Sequence[Tensor], *, step: int = 0, where: str = "the step"
    ) -> Outcome:
        """The step's gradient. The parameters are left as they were, bit by bit, whatever happens.

        step: number of the optimisation step, for `erm_steps` and the alignment; where: begins an error.
        A radius of 0 is ERM. Raises InputError for a loss or a gradient that is not finite, at θ or at θ+ε,
        and for parameters in half precision, whose perturbation would round away.
        """
        check_precision(parameters)
        config = self.config
        is_plain = step < config.erm_steps or config.step == "erm"
        if is_plain or (config.radius == 0 and config.step != "reweight"):
            outcome = self._shared(examples, parameters, self._plain, where)
        elif config.step == "hinge":
            outcome = self._hinge(examples, parameters, where)
        elif config.step == "exact":
            outcome = self._exact(examples, parameters, where)
        else:
            outcome = self._shared(examples, parameters, self._coefficients(), where)
        if outcome.numbers and config.alignment_every and step % config.alignment_every == 0:
            outcome.numbers["alignment"] = self.alignment(examples, parameters)
        return outcome

    def _coefficients(self) -> Coefficients:
        if self.config.step == "reweight":
            return self._plain._replace(base=self.weights)
        combine = eisam2_coefficients if self.config.step == "eisam2" else eisam_coefficients
        return combine(self.weights, penalty=self.config.penalty)

    def _shared(
        self, examples: Examples, parameters: Sequence[Tensor], scheme: Coefficients, where: str
    ) -> Outcome:
        """Steps whose items share one ascent, or one for each group of items; groups not met cost nothing."""
        groups = self._groups if bool(scheme.perturbed.any()) else []
        ascents = [scheme.ascent * members for members, _ in groups]
        bases = [scheme.base] if bool(scheme.base.any()) else []  # none in SAM and EISAM-2
        totals, losses, item = examples(torch.stack([*ascents, *bases]))
        check_finite(losses.sum(), f"{where}: the loss is")
        met = [bool((scheme.perturbed * members)[item].any()) for members, _ in groups]
        slopes = [
            gradients(total, parameters, keep=True) if is_met else []
            for total, is_met in zip(totals[: len(met)], met, strict=True)
        ]
        gathered: Gradients = []
        if bases and bool(scheme.base[item].any()):
            gathered = plus([], gradients(totals[-1], parameters))
        del totals  # and with it what the first pass kept
        rise = Rise()
        for slope, ascent, (members, radius) in zip(slopes, ascents, groups, strict=True):
            if not slope:
                continue
            if scheme.slope:
                gathered = plus(gathered, slope, scale=scheme.slope)
            with climbed(parameters, slope, radius=radius, where=where) as norm:
                again = examples((scheme.perturbed * members)[None])
                check_finite(again.losses.sum(), f"{where}: the loss at the perturbed weights is")
                gathered = plus(gathered, gradients(again.totals[0], parameters))
            rise.add((ascent[item] * (again.losses - losses)).sum(), reach=radius * norm)
        return Outcome(gathered or _zeros(parameters), losses.sum(), rise.numbers())

    def _hinge(self, examples: Examples, parameters: Sequence[Tensor], where: str) -> Outcome:
        """P3: the ascent is that of the unweighted loss, and examples whose loss does not rise are let be."""
        first = examples()
        check_finite(first.losses.sum(), f"{where}: the loss is")
        slope = gradients(first.losses.sum(), parameters, keep=True)
        with climbed(parameters, slope, radius=self.config.radius, where=where) as norm:
            again = examples()
            check_finite(again.losses.sum(), f"{where}: the loss at the perturbed weights is")
            rises = (again.losses - first.losses).detach()
            base, perturbed = hinge_coefficients(
                self.weights[first.item_idx], rises, penalty=self.config.penalty
            )
            gathered = plus([], gradients((perturbed * again.losses).sum(), parameters))
        gathered = plus(gathered, gradients((base * first.losses).sum(), parameters))
        rise = Rise()
        rise.add(rises.sum(), reach=self.config.radius * norm)
        return Outcome(gathered or _zeros(parameters), first.losses.sum().detach(), rise.numbers())

    def _item_by_item(self, examples: Examples, parameters: Sequence[Tensor], where: str) -> Outcome:
        """Equation (1), one item after the other: a pass of the whole micro-batch for each item in it."""
        first = examples()
        check_finite(first.losses.sum(), f"{where}: the loss is")
        gathered: Gradients = []
        rise = Rise()
        for item in first.item_idx.unique():
            weight, own = float(self.weights[item]), first.item_idx == item
            counted = self.config.penalty * weight
            slope = gradients(first.losses[own].sum(), parameters, keep=True)
            with climbed(parameters, slope, radius=self.config.radius, where=where) as norm:
                again = examples().losses[own]
                check_finite(again.sum(), f"{where}: the loss at the perturbed weights is")
                gathered = plus(gathered, gradients(again.sum(), parameters), scale=counted)
            gathered = plus(gathered, slope, scale=1 - counted)
            rises = (again - first.losses[own]).detach().sum()
            rise.add(weight * rises, reach=weight * self.config.radius * norm)
        return Outcome(gathered or _zeros(parameters), first.losses.sum().detach(), rise.numbers())

    def _exact(self, examples: Examples, parameters: Sequence[Tensor], where: str) -> Outcome:
        """Equation (1) with weights of its own for each item, so that two passes serve all items."""
        if examples.copies is None:
            return self._item_by_item(examples, parameters, where)
        every = torch.ones_like(self.weights)[None]
        with examples.copies() as (copies, item):
            first = examples(every)
            check_finite(first.losses.sum(), f"{where}: the loss is")
            slopes = gradients(first.totals[0], copies)  # (m, …) each
            norms = torch.stack([slope.flatten(1).norm(dim=1) for slope in slopes]).norm(dim=0)  # (m,)
            check_finite(norms.sum(), f"{where}: the norm of the gradient is")
            scale = torch.where(norms > 0, self.config.radius / norms, 0.0)
            for copy, slope in zip(copies, slopes, strict=True):
                copy.data.add_(slope * scale.view(-1, *[1] * (slope.dim() - 1)))
            again = examples(every)
            check_finite(again.losses.sum(), f"{where}: the loss at the perturbed weights is")
            ascended = gradients(again.totals[0], copies)
        weights = self.weights[item].to(norms.dtype)
        counted = self.config.penalty * weights
        gathered = [
            torch.tensordot(1 - counted, slope, dims=1) + torch.tensordot(counted, own, dims=1)
            for slope, own in zip(slopes, ascended, strict=True)
        ]
        rise = Rise()
        rises = self.weights[first.item_idx] * (again.losses - first.losses)
        rise.add(rises.sum(), reach=self.config.radius * (weights * norms).sum())
        return Outcome(gathered, first.losses.sum(), rise.numbers())

    def alignment(self, examples: Examples, parameters: Sequence[Tensor]) -> Tensor:
        """The alignment factor A of a micro-batch, its denominator from `ALIGNMENT_EXAMPLES` of it."""
        _, losses, item = examples()
        weights = self.weights[item].to(losses.dtype)
        whole = gradient_norm(gradients((weights * losses).sum(), parameters, keep=True))
        places = torch.linspace(0, len(losses) - 1, ALIGNMENT_EXAMPLES).long().unique().to(losses.device)
        norms = torch.stack([gradient_norm(gradients(losses[k], parameters, keep=True)) for k in places])
        return alignment_factor(whole, weights[places], norms, n_examples=len(losses))


def _zeros(parameters: Sequence[Tensor]) -> Gradients:
    return [torch.zeros_like(parameter) for parameter in parameters]
