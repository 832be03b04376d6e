"""FAERec: ID and LLM embeddings of items fused by a gate, and aligned by items and by dimensions.

[FAERec] = "Fusion and Alignment Enhancement with Large Language Models for Tail-item Sequential
Recommendation", arXiv 2604.03688. Loss (14): L_rec + α (w(t) L_ILA + (1 − w(t)) L_FLA), over the distinct
items of a batch. In training the fused vectors are read by the backbone and score items; afterwards both
embeddings count one half.

What the paper leaves open is an option: τ, the bounds and the period of the curriculum, the width of the
projection. Its ablations are options too: each of `gate`, `item_alignment`, `feature_alignment`,
`curriculum` and `popularity_groups` may be switched off.

The authors' code (github.com/ZhifuWei/FAERec) settles some of it and departs from the paper elsewhere:
τ = 0.05, α = 0.2, λ = 0.005, bounds and period by data set; items score by their ID vectors in training and
by LN(e_id + e_llm) afterwards; the gate has a GELU inside and fuses histories at inference too. Our defaults
are the paper's, with values of our own; `RELEASED` and `RELEASED_SCORES` have the code's, and are tuned over.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reclib.kernels.alignment import feature_alignment, item_alignment, popular_half
from reclib.models.backbones.residual import NORM_EPS
from reclib.models.items import FusedItems, IdItems, pca
from reclib.models.items.fused import distinct_items
from reclib.models.sequence_model import SequenceModel
from reclib.models.text_adapter import TextAdapter
from reclib.schema import settle
from reclib.training.loop import Fitted
from reclib.training.methods.starting import drawn_weights, encoder, text_matrix
from reclib.training.schedules import cosine_weight
from reclib.training.sequence_batches import Batch
from reclib.training.sequence_objectives import Context

if TYPE_CHECKING:
    from reclib.training.methods import MethodSetup


@dataclass(frozen=True, kw_only=True)
class FAERecOptions:
    """Options of FAERec.

    alignment_weight: α; redundancy_weight: λ of the feature-level alignment; temperature: τ of the item-level
    lowest, highest, period: w_min, w_max and T (in epochs) of the curriculum; without it w is their mean
    scores: the vectors that score items in training; normalised_scores: afterwards their length does not
    count
    gate, item_alignment, feature_alignment, curriculum, popularity_groups: the parts that are switched on
    """

    alignment_weight: float = 0.3
    redundancy_weight: float = 0.01
    temperature: float = 0.2
    lowest: float = 0.1
    highest: float = 0.9
    period: float = 40.0
    scores: Literal["id", "fused"] = "fused"
    normalised_scores: bool = False
    gate: bool = True
    item_alignment: bool = True
    feature_alignment: bool = True
    curriculum: bool = True
    popularity_groups: bool = True

    def __post_init__(self) -> None:
        settle(
            self,
            "faerec",
            positive=("temperature", "period"),
            not_negative=("alignment_weight", "redundancy_weight"),
            share=("lowest", "highest"),
        )

    def item_weight(self, epoch: int) -> float:
        """w(t), of the item-level alignment; 1 − w(t) is that of the feature-level one."""
        if not self.curriculum:
            return (self.lowest + self.highest) / 2
        return cosine_weight(epoch, period=self.period, lowest=self.lowest, highest=self.highest)


# What the paper does not give, as the authors' code has it for Beauty.
RELEASED = FAERecOptions(
    temperature=0.05, alignment_weight=0.2, redundancy_weight=0.005, lowest=0.9, highest=1.0, period=30.0
)
RELEASED_SCORES = replace(RELEASED, scores="id", normalised_scores=True)

GRID = (
    FAERecOptions(),
    FAERecOptions(alignment_weight=0.1),
    FAERecOptions(alignment_weight=0.4),
    RELEASED,
    RELEASED_SCORES,
    replace(RELEASED_SCORES, lowest=0.3, period=25.0),  # as for Yelp
)


class FAERecModel(SequenceModel):
    """Histories are read as fused vectors; what scores items is an option, in training and afterwards.

    scores: "id" or "fused" vectors in training; afterwards the fused ones, (e_id + e_llm) / 2, and with
    `is_normalised` LN(e_id + e_llm) without learned factors, so that a vector's length no longer counts.
    """

    def __init__(self, items: FusedItems, backbone: nn.Module, *, scores: str, is_normalised: bool) -> None:
        super().__init__(items, backbone)
        self.scores, self.is_normalised = scores, is_normalised

    def item_vectors(self, item_idx: Tensor) -> Tensor:
        """What scores some items, (...) → (..., D)."""
        items = cast(FusedItems, self.items)
        if self.training and self.scores == "id":
            return items.id_items(item_idx)
        return self._afterwards(items(item_idx))

    def item_matrix(self) -> Tensor:
        """What scores all items, (N+1, D); row 0 is zero."""
        items = cast(FusedItems, self.items)
        if self.training and self.scores == "id":
            return items.id_items.matrix()
        return self._afterwards(items.matrix())

    def _afterwards(self, fused: Tensor) -> Tensor:
        if self.training or not self.is_normalised:
            return fused
        return F.layer_norm(fused, fused.shape[-1:], eps=NORM_EPS)


class Alignment:
    """The term α (w(t) L_ILA + (1 − w(t)) L_FLA) over the distinct items of a batch.

    L_ILA is the mean over items, L_FLA the sum over the popular and the other half. counts: (N+1,)
    """

    def __init__(self, options: FAERecOptions, counts: Tensor) -> None:
        self.options, self.counts = options, counts

    def __call__(
        self, model: SequenceModel, batch: Batch, context: Context
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted loss, and the two parts before their weights."""
        options, items = self.options, cast(FusedItems, model.items)
        item_idx = distinct_items(batch.history, batch.target)
        views = items.id_items(item_idx), items.llm_items(item_idx)
        weight = options.item_weight(context.epoch)
        total, parts = views[0].sum() * 0, {}
        if options.item_alignment:
            by_item = item_alignment(*views, temperature=options.temperature).mean()
            total, parts["item_alignment"] = total + weight * by_item, by_item.detach()
        if options.feature_alignment:
            by_feature = self._by_feature(*views, item_idx)
            total, parts["feature_alignment"] = total + (1 - weight) * by_feature, by_feature.detach()
        return options.alignment_weight * total, parts

    def _by_feature(self, id_embedding: Tensor, llm_embedding: Tensor, item_idx: Tensor) -> Tensor:
        """L_FLA: of each half by popularity, summed; of all items together without the groups."""
        weight = self.options.redundancy_weight
        if not self.options.popularity_groups:
            return feature_alignment(id_embedding, llm_embedding, redundancy_weight=weight)
        is_popular = popular_half(self.counts[item_idx])
        halves = [
            feature_alignment(id_embedding[half], llm_embedding[half], redundancy_weight=weight)
            for half in (is_popular, ~is_popular)
            if half.any()
        ]
        return torch.stack(halves).sum() if halves else id_embedding.sum() * 0


def train(setup: MethodSetup, options: FAERecOptions, *, seed: int, workdir: Path) -> Fitted:
    """Train fusion, alignment and backbone together.

    The ID table starts from the PCA of the text embeddings; a hidden width between E and D lies in the
    projection of the texts. Raises InputError where item texts are missing, and what `fit` raises.
    """
    text, d_model = text_matrix(setup, "FAERec"), setup.backbone.d_model
    dataset = setup.dataset
    with drawn_weights(seed):
        projection = TextAdapter(text, d_model, hidden=(text.shape[1] + d_model) // 2, between=nn.GELU())
        ids = IdItems.from_matrix(pca(text, d_model))
        items = FusedItems(ids, projection, d_model=d_model, is_gated=options.gate)
        model = FAERecModel(
            items, encoder(setup), scores=options.scores, is_normalised=options.normalised_scores
        )
    counts = torch.from_numpy(dataset.counts).to(setup.device)
    return setup.fit(model, extra_terms=[Alignment(options, counts)], seed=seed, workdir=workdir)
