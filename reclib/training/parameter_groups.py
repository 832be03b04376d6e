"""Which parameters of a sequence recommender decay and which do not."""

from __future__ import annotations

from typing import Any

from torch import nn

from reclib.models.items import NormalisedItems


def decay_groups(model: nn.Module) -> list[dict[str, Any]]:
    """Groups of the parameters that are trained, for an optimiser; normalised tables never decay.

    Decay would only shorten vectors whose length counts for nothing, and so lengthen their angular steps.
    One group where there are no such tables. Derived by us, §5 of the specification of TF-LLMER.
    """
    normalised = [part for part in model.modules() if isinstance(part, NormalisedItems)]
    spared = {id(table) for part in normalised for table in part.tables()}
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    groups: list[dict[str, Any]] = [{"params": [weight for weight in trained if id(weight) not in spared]}]
    if normalised:
        groups.append({"params": [weight for weight in trained if id(weight) in spared], "weight_decay": 0.0})
    return groups
