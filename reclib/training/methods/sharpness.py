"""Sharpness-aware training of the backbone: the family of `training.optim`, and logit adjustment beside it.

The weights of items and the radius are settings of `SharpnessConfig`; the loss is the setting's own. Logit
adjustment [Menon et al. 2021] has no perturbation: training scores carry τ log n of each item, so that what
is left for the model to learn is what popularity does not say, and items are ranked by the scores alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from reclib.config import SHARPNESS_FAMILY, SharpnessConfig
from reclib.kernels.sequence_losses import logit_adjusted_cross_entropy
from reclib.models.sequence_model import SequenceModel
from reclib.schema import InputError, settle
from reclib.training.loop import Fitted
from reclib.training.methods.base import untrained
from reclib.training.sequence_batches import Batch, predicted_counts
from reclib.training.sequence_objectives import Context, predicted_positions

if TYPE_CHECKING:
    from reclib.training.methods import MethodSetup


@dataclass(frozen=True, kw_only=True)
class SharpnessOptions:
    """Options of a sharpness-aware training.

    sharpness: the step; adjustment: τ of logit adjustment, under the step "erm" and cross-entropy alone
    dropout: of the backbone, instead of the setting's; None leaves it
    """

    sharpness: SharpnessConfig = field(default_factory=lambda: SHARPNESS_FAMILY["eisam"])
    adjustment: float = 0.0
    dropout: float | None = None

    def __post_init__(self) -> None:
        settle(self, "sharpness", not_negative=("adjustment",), share=("dropout",))
        if self.adjustment and self.sharpness.step != "erm":
            raise InputError(
                f"sharpness.adjustment is {self.adjustment} under step {self.sharpness.step!r}: logits are"
                ' adjusted under step "erm" only'
            )


GRID = tuple(
    SharpnessOptions(sharpness=replace(SHARPNESS_FAMILY["eisam"], radius=radius))
    for radius in (0.05, 0.2, 0.1, 0.02, 0.5, 0.01)
)


class AdjustedObjective:
    """The mean cross-entropy of the predicted positions, their scores shifted by τ log max(n, 1) of an item.

    counts: (N+1,), how often training predicts an item; positions: see `predicted_positions`
    """

    def __init__(self, counts: np.ndarray, *, adjustment: float, positions: str) -> None:
        self.offset = adjustment * torch.from_numpy(np.maximum(counts, 1)).double().log()
        self.positions = positions

    def __call__(
        self, model: SequenceModel, batch: Batch, context: Context
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Total, and it by name."""
        states, target, _ = predicted_positions(model, batch, self.positions, context.generator)
        if not len(target):
            total = states.sum() * 0
        else:
            offset = self.offset.to(states.device)
            total = logit_adjusted_cross_entropy(states, model.item_matrix(), target, offset).mean()
        total = total * context.weight
        return total, {"logit_adjusted": total.detach()}


def train(setup: MethodSetup, options: SharpnessOptions, *, seed: int, workdir: Path) -> Fitted:
    """Train the backbone on its table of item vectors by the step of the options. Raises what `fit` raises.

    InputError also where logits are to be adjusted under another loss than cross-entropy.
    """
    dataset, config = setup.dataset, setup.train
    objective = None
    if options.adjustment:
        if config.loss != "cross_entropy":
            raise InputError(f"logit adjustment needs loss cross_entropy, not {config.loss}")
        counts = predicted_counts(dataset.train, dataset.n_items, config.positions)
        objective = AdjustedObjective(counts, adjustment=options.adjustment, positions=config.positions)
    return setup.fit(
        untrained(setup, dropout=options.dropout, seed=seed),
        objective=objective,
        sharpness=None if options.sharpness.step == "erm" else options.sharpness,
        seed=seed,
        workdir=workdir,
    )
