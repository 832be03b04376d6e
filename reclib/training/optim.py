"""Optimisers of sequence recommenders."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from reclib.models.items import NormalisedItems


def adam(model: nn.Module, *, learning_rate: float, weight_decay: float) -> torch.optim.Adam:
    """Adam over the parameters that are trained; tables below a `NormalisedItems` do not decay.

    Decay would only shorten vectors whose length counts for nothing, and so lengthen their angular steps.
    Derived by us, §5 of the specification of TF-LLMER.
    """
    normalised = [part for part in model.modules() if isinstance(part, NormalisedItems)]
    spared = {id(table) for part in normalised for table in part.tables()}
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    groups: list[dict[str, Any]] = [{"params": [weight for weight in trained if id(weight) not in spared]}]
    if normalised:
        groups.append({"params": [weight for weight in trained if id(weight) in spared], "weight_decay": 0.0})
    return torch.optim.Adam(groups, lr=learning_rate, weight_decay=weight_decay, fused=True)
