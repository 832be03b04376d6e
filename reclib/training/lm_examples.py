"""A micro-batch of an LM as `Examples`: its samples, weighed by their target items."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor

from reclib.models.adapters import adapter_copies, wide_adapters
from reclib.models.causal_lm import CausalLM
from reclib.training.examples import Examples, Weighed, weigh
from reclib.training.objectives import Objective


def lm_examples(
    lm: CausalLM,
    objective: Objective,
    inputs: Mapping[str, Any],
    *,
    normaliser: float | None = None,
    autocast: Callable[[], AbstractContextManager[Any]] | None = None,
    on_first: Callable[[dict[str, Tensor]], None] | None = None,
) -> Examples:
    """A batch of `WindowCollator` as examples, one a sample, whose losses add up to the objective's total.

    normaliser: that of the optimisation step; autocast: entered for each pass, in which the LoRA branches
    stay in float32; on_first: told the parts that a monitoring objective reports of the first pass. Where the
    sequences share no head, items can run through adapters of their own.
    """
    targets, item_idx = inputs["targets"], inputs["target_idx"]
    packing = inputs["model_inputs"]["packing"]

    def forward(tables: Tensor | None, is_first: bool) -> Weighed:
        with autocast() if autocast else torch.autocast(lm.device.type, enabled=False):
            with wide_adapters(lm.network):
                hidden = lm(**inputs["model_inputs"])
            losses = objective.by_sample(
                hidden, lm.output_embedding, targets, normaliser=normaliser, gather=is_first
            )
            if is_first and on_first is not None:
                on_first(parts(hidden))
        return weigh(losses, item_idx, tables)

    @torch.no_grad()
    def parts(hidden: Tensor) -> dict[str, Tensor]:
        return objective(hidden, lm.output_embedding, targets).parts if objective.monitor else {}

    @contextmanager
    def copies() -> Iterator[tuple[list[Tensor], Tensor]]:
        items, copy = item_idx.unique(return_inverse=True)
        with adapter_copies(lm.network, copy, packing) as weights:
            yield weights, items

    return Examples(forward, device=lm.device, copies=None if packing.n_head else copies)
