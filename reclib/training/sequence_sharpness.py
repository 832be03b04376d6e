"""A sequence recommender's objective under a sharpness-aware step."""

from __future__ import annotations

from torch import Tensor

from reclib.models.sequence_model import SequenceModel
from reclib.schema import InputError
from reclib.training.optim import Sharpness
from reclib.training.sequence_batches import Batch
from reclib.training.sequence_objectives import Context, Objective, SequenceObjective


class SharpObjective:
    """An objective that adds the gradient of its step itself: what it returns is detached.

    Raises InputError for an objective whose examples cannot be weighed.
    """

    def __init__(self, objective: Objective, sharpness: Sharpness, *, stage: str) -> None:
        if not isinstance(objective, SequenceObjective):
            raise InputError(
                f"{stage}: sharpness needs an objective whose examples can be weighed, a `SequenceObjective`"
            )
        self.objective, self.sharpness, self.stage = objective, sharpness, stage

    def __call__(
        self, model: SequenceModel, batch: Batch, context: Context
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss at θ, and it by name with the step's numbers; gradients are in the weights' `.grad`."""
        loss, numbers = self.sharpness.backward(
            self.objective.examples(model, batch, context),
            [weight for weight in model.parameters() if weight.requires_grad],
            step=context.step,
            where=f"{self.stage}: epoch {context.epoch}, step {context.step}",
        )
        return loss, {self.objective.config.loss: loss, **numbers}
