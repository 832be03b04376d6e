"""Training objectives of sequence recommenders: which positions predict what, and what each costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from reclib.config import SequenceTrainConfig
from reclib.kernels.sequence_losses import (
    bce_loss,
    catalogue_cross_entropy,
    gbce_loss,
    sampled_softmax_loss,
    weighted_catalogue_cross_entropy,
)
from reclib.models.sequence_model import SequenceModel
from reclib.schema import PAD_IDX
from reclib.training.examples import Examples, Weighed, weigh
from reclib.training.negatives import shared_items, unseen_items
from reclib.training.sequence_batches import Batch

MASK_SHARE = 0.2  # of a window's items that a cloze hides
LAST_SHARE = 0.1  # of windows whose last item alone is hidden, as it is when items are recommended


class Context(NamedTuple):
    """Where training stands: epoch and step from 0, the most epochs there may be, and what to draw from.

    weight: of the batch, see `WindowBatches.epoch`; the factor of a mean over its positions
    """

    epoch: int
    step: int
    n_epochs: int
    generator: torch.Generator
    weight: float = 1.0


Term = Callable[[SequenceModel, Batch, Context], tuple[Tensor, dict[str, Tensor]]]
Objective = Term  # total, and its parts by name, detached


class Predicted(NamedTuple):
    """P positions that predict an item.

    states: (P, D); target: (P,) the items; at: (B, C) bool, the P places among the columns of the batch
    """

    states: Tensor
    target: Tensor
    at: Tensor


def predicted_positions(
    model: SequenceModel, batch: Batch, positions: str, generator: torch.Generator
) -> Predicted:
    """The states that are trained and the items they should predict.

    Causal: the last position predicts the target ("last"), or each the next item ("all" and "every").
    Otherwise a cloze over history and target: the target hidden ("last"), or a share of the items.
    """
    if not model.is_causal:
        return _cloze(model, batch, positions, generator)
    if positions == "last":
        states = model.states(batch.history, last_only=True)
        return Predicted(states, batch.target, torch.ones_like(batch.target, dtype=torch.bool)[:, None])
    following = torch.cat([batch.history[:, 1:], batch.target[:, None]], dim=1)
    at = batch.history != PAD_IDX
    states = model.states(batch.history)
    if bool(at.all()):
        return Predicted(states.flatten(0, 1), following.flatten(), at)
    return Predicted(states[at], following[at], at)


def _cloze(model: SequenceModel, batch: Batch, positions: str, generator: torch.Generator) -> Predicted:
    sequence = torch.cat([batch.history, batch.target[:, None]], dim=1)
    sequence = sequence[:, -cast(Any, model.backbone).max_length :]
    if positions == "last":
        states = model.user_states(batch.history)
        return Predicted(states, batch.target, torch.ones_like(batch.target, dtype=torch.bool)[:, None])
    share = torch.rand(sequence.shape, generator=generator, device=sequence.device)
    only_last = torch.rand(len(sequence), generator=generator, device=sequence.device) < LAST_SHARE
    at = (share < MASK_SHARE) & (sequence != PAD_IDX) & ~only_last[:, None]
    at[:, -1] |= ~at.any(dim=1)
    return Predicted(model.masked_states(sequence, at)[at], sequence[at], at)


class SequenceObjective:
    """The mean loss of the predicted positions of a batch, times the batch's weight.

    It is 0, with a gradient, where there are no such positions.

    "bce" and "gbce": `n_negatives` for each position, drawn evenly among items the window does not hold.
    "sampled_softmax": `n_negatives` drawn once a step for all positions, by training `counts` (and
    corrected for it) where they are given, else evenly; a draw that is a position's target does not count.
    """

    def __init__(
        self, config: SequenceTrainConfig, *, n_items: int, counts: np.ndarray | None = None
    ) -> None:
        self.config = config
        self.n_items = n_items
        self._chances: Tensor | None = None
        if counts is not None:
            weight = torch.from_numpy(np.maximum(np.asarray(counts, dtype=np.float64)[1:], 1))
            self._chances = weight / weight.sum()

    def __call__(
        self, model: SequenceModel, batch: Batch, context: Context
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Total and {loss name: total}."""
        predicted = predicted_positions(model, batch, self.config.positions, context.generator)
        return self.of_predicted(model, batch, predicted, context)

    def of_predicted(
        self, model: SequenceModel, batch: Batch, predicted: Predicted, context: Context
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The same for positions whose states are at hand, as where a further loss reads them too."""
        if not len(predicted.target):
            total = predicted.states.sum() * 0
        else:
            total = self._losses(model, batch, predicted, context.generator).mean()
        total = total * context.weight
        return total, {self.config.loss: total.detach()}

    def examples(self, model: SequenceModel, batch: Batch, context: Context) -> Examples:
        """The predicted positions as examples, whose losses add up to the total of a call."""
        return Examples(
            lambda tables, _: self._weighed(model, batch, context, tables),
            device=model.device,
            generators=(context.generator,),
        )

    def _weighed(
        self, model: SequenceModel, batch: Batch, context: Context, tables: Tensor | None
    ) -> Weighed:
        predicted = predicted_positions(model, batch, self.config.positions, context.generator)
        states, target, _ = predicted
        share = context.weight / max(1, len(target))
        if tables is not None and self.config.loss == "cross_entropy":
            weights = share * tables[:, target]
            totals, losses = weighted_catalogue_cross_entropy(states, model.item_matrix(), target, weights)
            return Weighed(totals, share * losses, target)
        return weigh(share * self._losses(model, batch, predicted, context.generator), target, tables)

    def _losses(
        self, model: SequenceModel, batch: Batch, predicted: Predicted, generator: torch.Generator
    ) -> Tensor:
        """Losses of the predicted positions, (P,)."""
        if self.config.loss == "cross_entropy":
            return catalogue_cross_entropy(predicted.states, model.item_matrix(), predicted.target)
        if self.config.loss == "sampled_softmax":
            return self._sampled_softmax(model, predicted, generator)
        return self._binary(model, batch, predicted, generator)

    def _binary(
        self, model: SequenceModel, batch: Batch, predicted: Predicted, generator: torch.Generator
    ) -> Tensor:
        n_negatives, columns = self.config.n_negatives, predicted.at.shape[1]
        seen = torch.cat([batch.history, batch.target[:, None]], dim=1)
        drawn = unseen_items(seen, columns * n_negatives, n_items=self.n_items, generator=generator)
        negative = drawn.view(-1, columns, n_negatives)[predicted.at]  # (P, L)
        candidates = torch.cat([predicted.target[:, None], negative], dim=1)
        scores = torch.einsum("pd,pld->pl", predicted.states, model.item_vectors(candidates))
        if self.config.loss == "bce":
            return bce_loss(scores[:, 0], scores[:, 1:])
        return gbce_loss(
            scores[:, 0], scores[:, 1:], n_items=self.n_items, calibration=self.config.calibration
        )

    def _sampled_softmax(
        self, model: SequenceModel, predicted: Predicted, generator: torch.Generator
    ) -> Tensor:
        states, target, _ = predicted
        chances = None if self._chances is None else self._chances.to(states.device)
        drawn = shared_items(
            self.config.n_negatives,
            n_items=self.n_items,
            generator=generator,
            chances=None if chances is None else chances.cumsum(0),
        )
        vectors = model.item_vectors(torch.cat([target, drawn]))
        own, others = vectors[: len(target)], vectors[len(target) :]
        negative = (states @ others.T).masked_fill(drawn == target[:, None], -torch.inf)
        positive = (states * own).sum(dim=1)
        if chances is None:
            return sampled_softmax_loss(positive, negative)
        log_q = chances.log().to(states.dtype)
        return sampled_softmax_loss(
            positive, negative, positive_log_q=log_q[target - 1], negative_log_q=log_q[drawn - 1]
        )
