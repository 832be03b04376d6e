"""DLLM2Rec: the backbone learns from the lists of a tuned language model, and from its item vectors.

[DLLM2Rec] = Cui et al., "Distillation Matters: Empowering Sequential Recommenders to Match the Performance of
Large Language Models", RecSys 2024. Both of its parts, trained at once with the recommendation loss:

- importance-aware ranking distillation: L = L_recommend + λ · mean over windows of Σ_r w_r l(item r), where l
  is what the recommendation loss would be with the r-th item of the teacher's list as the target, and w
  weighs the list by place, by the teacher's confidence and by the student's consent
  (`kernels.distillation`), which moves as the student learns;
- collaborative embedding distillation: an item's vector is one that the data train plus the projection of
  the teacher's (`models.items.distilled`).

The teacher is a `training.teacher.Teacher` of the training windows, in the setup; both weights 0 are the
backbone.

From the paper and the settings of its public code: the three weights, their shares and their sum, the list
of ten, λ, the weight of the projection, a single linear layer.

Changed or simplified: the public code's teacher generates freely and its confidence is the distance from
what it generated to an item; the lists here are decoded among the items, and the distance is −log P of the
item, so that exp(−d) is its probability. Items are scored by the vectors that are read, as in every model
here; the public code has an output layer of its own. l follows the recommendation loss: with cross-entropy it
is that of the catalogue, else binary with sampled items, whose part is −log(1 − σ(s)) (public code:
−log σ(1 − s)). Teacher vectors are centred and brought to one scale first. The public code adds the robust
term of DROS to every part by default; here the student is a backbone, as in [MSL] §5.1.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from reclib.kernels.distillation import importance_weights, listed_cross_entropy, paired_distillation
from reclib.kernels.full_ranking import top_items
from reclib.kernels.sequence_losses import catalogue_cross_entropy
from reclib.models.items import DistilledItems, IdItems, even_scale
from reclib.models.sequence_model import SequenceModel
from reclib.schema import PAD_IDX, InputError, settle
from reclib.training.loop import Fitted
from reclib.training.methods.starting import drawn_weights, encoder
from reclib.training.negatives import unseen_items
from reclib.training.sequence_batches import Batch
from reclib.training.sequence_objectives import (
    Context,
    Predicted,
    SequenceObjective,
    predicted_positions,
)
from reclib.training.teacher import Teacher

if TYPE_CHECKING:
    from reclib.training.methods import MethodSetup


@dataclass(frozen=True, kw_only=True)
class DLLM2RecOptions:
    """Options of DLLM2Rec.

    ranking_weight: λ of the ranking distillation; embedding_weight: of the projected teacher vectors
    list_length: items of the teacher's list that are taught
    position_share, confidence_share, consistency_share: γ of each weight before they are added
    position_decay: places after which a place counts 1/e as much
    """

    ranking_weight: float = 0.8  # public code: lam; its example run has 0.7
    embedding_weight: float = 0.2  # public code: ed_weight; its example run has 0.3
    list_length: int = 10  # public code: candidate_topk
    position_share: float = 0.3  # public code: gamma_position
    confidence_share: float = 0.5  # public code: gamma_confidence
    consistency_share: float = 0.1  # public code: gamma_consistency
    position_decay: float = 1.0  # public code

    def __post_init__(self) -> None:
        shares = ("position_share", "confidence_share", "consistency_share")
        settle(
            self,
            "dllm2rec",
            positive=("list_length", "position_decay"),
            not_negative=("ranking_weight", "embedding_weight", *shares),
        )
        if self.ranking_weight and not any(getattr(self, name) for name in shares):
            raise InputError(f"dllm2rec: {', '.join(shares)} are all 0, so that no item counts: raise one")


GRID = tuple(
    DLLM2RecOptions(ranking_weight=ranking, embedding_weight=embedding)
    for ranking in (0.8, 0.4, 0.1)
    for embedding in (0.2, 0.5)
)


class RankingDistillation:
    """The recommendation loss + λ · mean over a batch's windows of the loss of its teacher's lists.

    Windows without a list add 0. recommend: also says which positions are trained beside it
    teacher: of the windows given to `fit`, as is `Batch.row`
    """

    def __init__(
        self, recommend: SequenceObjective, teacher: Teacher, options: DLLM2RecOptions, device: str
    ) -> None:
        self.recommend, self.options = recommend, options
        kept = slice(None, options.list_length)
        self.items = torch.from_numpy(teacher.items[:, kept]).to(device)
        self.distance = torch.from_numpy(teacher.distance[:, kept]).to(device)

    def __call__(
        self, model: SequenceModel, batch: Batch, context: Context
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Total, and its parts: "distillation", and "agreement", the student's share of the taught items."""
        positions = self.recommend.config.positions
        predicted = predicted_positions(model, batch, positions, context.generator)
        total, parts = self.recommend.of_predicted(model, batch, predicted, context)
        if not self.options.ranking_weight:
            return total, parts
        # A teacher may have answered few of the windows: nothing is scored for the others.
        listed = self.items[batch.row].long()
        taught = (listed != PAD_IDX).any(dim=1).nonzero()[:, 0]
        if not len(taught):
            return total, parts | {name: total.new_zeros(()) for name in ("distillation", "agreement")}
        states, matrix = self._last_states(model, batch, predicted)[taught], model.item_matrix()
        n_windows, listed, batch = len(listed), listed[taught], Batch(*(values[taught] for values in batch))
        is_listed = listed != PAD_IDX
        agrees = self._agrees(states, matrix, listed) & is_listed
        weight = self._weights(batch, is_listed, agrees).to(states)
        loss = self._losses(states, matrix, batch, listed, weight, context).sum() / n_windows
        agreement = agrees.sum() / is_listed.sum()
        return total + self.options.ranking_weight * loss, parts | {
            "distillation": loss.detach(),
            "agreement": agreement,
        }

    def _last_states(self, model: SequenceModel, batch: Batch, predicted: Predicted) -> Tensor:
        """The states that predict the targets, (B, D): of what is trained already where they are among it."""
        if self.recommend.config.positions == "last":
            return predicted.states
        if not model.is_causal:
            return model.user_states(batch.history)
        return predicted.states[predicted.at.sum(dim=1).cumsum(dim=0) - 1]

    def _agrees(self, states: Tensor, matrix: Tensor, listed: Tensor) -> Tensor:
        """Whether each listed item is among the student's own best, as many as the list is long; (B, K)."""
        k = min(listed.shape[1], len(matrix) - 1)
        own = top_items(states.detach(), matrix.detach(), k)
        return (listed[:, :, None] == own[:, None, :]).any(dim=2)

    def _weights(self, batch: Batch, is_listed: Tensor, agrees: Tensor) -> Tensor:
        return importance_weights(
            self.distance[batch.row],
            is_listed,
            agrees,
            position_share=self.options.position_share,
            confidence_share=self.options.confidence_share,
            consistency_share=self.options.consistency_share,
            decay=self.options.position_decay,
        )

    def _losses(
        self,
        states: Tensor,
        matrix: Tensor,
        batch: Batch,
        listed: Tensor,
        weight: Tensor,
        context: Context,
    ) -> Tensor:
        """The loss of each window's list, (B,), of the kind that the recommendation loss is."""
        config = self.recommend.config
        positive = torch.einsum("bd,bkd->bk", states, matrix[listed])
        if config.loss == "cross_entropy":
            first = catalogue_cross_entropy(states, matrix, listed[:, 0].clamp_min(1))
            return listed_cross_entropy(positive, first, weight)
        known = torch.cat([batch.history, batch.target[:, None], listed], dim=1)
        drawn = unseen_items(known, config.n_negatives, n_items=len(matrix) - 1, generator=context.generator)
        negative = torch.einsum("bd,bld->bl", states, matrix[drawn])
        return paired_distillation(positive, negative, weight)


def train(setup: MethodSetup, options: DLLM2RecOptions, *, seed: int, workdir: Path) -> Fitted:
    """Train the backbone with a teacher's lists and vectors.

    Raises InputError where the setup has no teacher, or one of other windows, and what `fit` raises.
    """
    dataset, teacher = setup.dataset, _teacher(setup)
    with drawn_weights(seed):
        offsets = IdItems(dataset.n_items, setup.backbone.d_model)
        reading = encoder(setup)
        items: nn.Module = offsets
        if options.embedding_weight:
            items = DistilledItems(offsets, even_scale(teacher.embedding), weight=options.embedding_weight)
        model = SequenceModel(items, reading)
    recommend = SequenceObjective(setup.train, n_items=dataset.n_items, counts=dataset.counts)
    return setup.fit(
        model,
        objective=RankingDistillation(recommend, teacher, options, setup.device),
        seed=seed,
        workdir=workdir,
    )


def _teacher(setup: MethodSetup) -> Teacher:
    if setup.teacher is None:
        raise InputError(
            "DLLM2Rec learns from a language model: give its setup a teacher of the training windows"
        )
    setup.teacher.check(setup.dataset.train, n_items=setup.dataset.n_items)
    return setup.teacher
