"""RLMRec on sequence recommenders: item vectors agree with texts, by contrast or by reconstruction.

[RLMRec] = Ren et al., "Representation Learning with Large Language Models for Recommendation", WWW 2024. Its
two ways to raise the mutual information of collaborative and text representations, each beside the
recommendation loss, trained at once:

- Con maps text to the collaborative space: InfoNCE between e_id and MLP(e_raw), ID → text, as in the paper's
  contrastive alignment; the others are the distinct items of the batch.
- Gen maps the other way: a share of the items is hidden behind a trained vector, the encoder's state in such
  a place is mapped to the text space, and told from the texts of the other hidden items. The loss of
  recommendation reads the same histories with the same gaps, as in the paper; BERT4Rec's cloze hides items
  anyway, and these are the ones reconstructed.

From the paper and the settings of its public code: the range of temperatures and of shares hidden, LeakyReLU
between two layers with (E + D) / 2 in the middle, hidden nodes that start from a vector of zeros. Con has a
weight of 0.1 by default, there with LightGCN 0.01 or 0.001. From [FAERec] §5.1.3: that it is adapted to
sequences.

Simplified: Con contrasts what the graph encoder makes of users and items there, the ID vectors of items
here. The paper aligns users too, with profiles that an LLM writes of each user and item; here nobody
writes profiles, so that users are not aligned and an item's text is its attributes. Its graph encoder is the
sequence encoder; what is hidden are places of histories, not nodes of a graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from reclib.kernels.alignment import item_alignment
from reclib.kernels.contrast import info_nce
from reclib.models.items import IdItems
from reclib.models.items.fused import distinct_items
from reclib.models.sequence_model import SequenceModel
from reclib.models.text_adapter import TextAdapter
from reclib.schema import PAD_IDX, settle
from reclib.training.loop import Fitted
from reclib.training.methods.starting import drawn_weights, encoder, text_matrix
from reclib.training.sequence_batches import Batch
from reclib.training.sequence_objectives import Context, Objective, SequenceObjective

if TYPE_CHECKING:
    from reclib.training.methods import MethodSetup


@dataclass(frozen=True, kw_only=True)
class RLMRecConOptions:
    """Options of RLMRec-Con.

    alignment_weight: of the contrast beside the recommendation loss; temperature: τ of the contrast
    """

    alignment_weight: float = 0.1
    temperature: float = 0.2

    def __post_init__(self) -> None:
        settle(self, "rlmrec_con", positive=("temperature",), not_negative=("alignment_weight",))


@dataclass(frozen=True, kw_only=True)
class RLMRecGenOptions:
    """Options of RLMRec-Gen.

    reconstruction_weight: beside the recommendation loss; temperature: τ of the reconstruction
    mask_share: of the items of histories that are hidden at each step
    """

    reconstruction_weight: float = 0.1
    temperature: float = 0.2
    mask_share: float = 0.1

    def __post_init__(self) -> None:
        settle(
            self,
            "rlmrec_gen",
            positive=("temperature",),
            not_negative=("reconstruction_weight",),
            share=("mask_share",),
        )


CON_GRID = tuple(
    RLMRecConOptions(alignment_weight=weight, temperature=temperature)
    for weight in (0.1, 0.01, 0.5)
    for temperature in (0.2, 0.5)
)
GEN_GRID = tuple(
    RLMRecGenOptions(reconstruction_weight=weight, mask_share=share)
    for weight in (0.1, 0.01, 0.5)
    for share in (0.1, 0.2)
)


class ContrastedModel(SequenceModel):
    """A recommender and the map of item texts to its space, which is trained and never scores."""

    def __init__(self, items: nn.Module, backbone: nn.Module, text: np.ndarray, *, d_model: int) -> None:
        super().__init__(items, backbone)
        hidden = (text.shape[1] + d_model) // 2
        self.projection = TextAdapter(text, d_model, hidden=hidden, between=nn.LeakyReLU())

    def embedding_views(self) -> tuple[Tensor, Tensor]:
        """The ID table and the mapped texts of all items, (N+1, D) each."""
        return self.item_matrix(), self.projection.matrix()


class Contrast:
    """The term of Con: w · mean InfoNCE from the ID vector to the mapped text, over a batch's items."""

    def __init__(self, options: RLMRecConOptions) -> None:
        self.options = options

    def __call__(
        self, model: SequenceModel, batch: Batch, context: Context
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted loss, and {"contrast": the loss}."""
        item_idx = distinct_items(batch.history, batch.target)
        views = model.items(item_idx), cast(ContrastedModel, model).projection(item_idx)
        loss = item_alignment(*views, temperature=self.options.temperature).mean()
        return self.options.alignment_weight * loss, {"contrast": loss.detach()}


class ReconstructingModel(SequenceModel):
    """A recommender, what stands in place of hidden items, and the map of its states to the text space."""

    text: Tensor

    def __init__(self, items: nn.Module, backbone: nn.Module, text: np.ndarray, *, d_model: int) -> None:
        super().__init__(items, backbone)
        width = text.shape[1]
        hidden = (width + d_model) // 2
        self.register_buffer("text", torch.from_numpy(text).float(), persistent=False)
        self.hidden_vector = nn.Parameter(torch.zeros(d_model))
        self.reconstruct = nn.Sequential(nn.Linear(d_model, hidden), nn.LeakyReLU(), nn.Linear(hidden, width))

    def states_behind(self, history: Tensor, hidden: Tensor) -> Tensor:
        """States (B, S, D) of histories with some items hidden; both (B, S). For a causal backbone."""
        vectors = torch.where(hidden[..., None], self.hidden_vector, self.items(history))
        return self.backbone(vectors, history != PAD_IDX, last_only=False)


class _Gaps:
    """A model as the recommendation loss sees it: histories have gaps, and what stands in them is kept.

    states: (P, D) in the gaps; hidden: (P,) the items that are hidden there
    """

    def __init__(
        self, model: ReconstructingModel, batch: Batch, share: float, generator: torch.Generator
    ) -> None:
        self.model, self.batch, self.share, self.generator = model, batch, share, generator
        self.gap_states = torch.zeros(0)
        self.hidden = torch.zeros(0, dtype=torch.int64)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def states(self, history: Tensor, *, last_only: bool = False) -> Tensor:
        drawn = torch.rand(history.shape, generator=self.generator, device=history.device)
        gaps = (drawn < self.share) & (history != PAD_IDX)
        states = self.model.states_behind(history, gaps)
        self.gap_states, self.hidden = states[gaps], history[gaps]
        return states[:, -1] if last_only else states

    def masked_states(self, sequence: Tensor, masked: Tensor, *, last_only: bool = False) -> Tensor:
        states = self.model.masked_states(sequence, masked)
        self.gap_states, self.hidden = states[masked], sequence[masked]
        return states[:, -1] if last_only else states

    def user_states(self, history: Tensor) -> Tensor:
        self.gap_states = self.model.user_states(history)
        self.hidden = self.batch.target
        return self.gap_states


class Reconstruction:
    """The objective of Gen: the recommendation loss with gaps + w · mean InfoNCE of state and hidden text."""

    def __init__(self, recommend: Objective, options: RLMRecGenOptions) -> None:
        self.recommend, self.options = recommend, options

    def __call__(
        self, model: SequenceModel, batch: Batch, context: Context
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Total, and its parts; without a hidden item the reconstruction costs 0."""
        whole = cast(ReconstructingModel, model)
        seen = _Gaps(whole, batch, self.options.mask_share, context.generator)
        total, parts = self.recommend(cast(SequenceModel, seen), batch, context)
        item_idx, place = seen.hidden.unique(return_inverse=True)
        if not len(item_idx):
            return total, parts | {"reconstruction": torch.zeros_like(total)}
        loss = info_nce(
            whole.reconstruct(seen.gap_states),
            whole.text[item_idx],
            place,
            temperature=self.options.temperature,
        ).mean()
        return total + self.options.reconstruction_weight * loss, parts | {"reconstruction": loss.detach()}


def train_con(setup: MethodSetup, options: RLMRecConOptions, *, seed: int, workdir: Path) -> Fitted:
    """Train with RLMRec's contrastive alignment, in one stage.

    Raises InputError where item texts are missing, and what `fit` raises.
    """
    text, d_model = text_matrix(setup, "RLMRec-Con"), setup.backbone.d_model
    with drawn_weights(seed):
        items = IdItems(setup.dataset.n_items, d_model)
        model = ContrastedModel(items, encoder(setup), text, d_model=d_model)
    return setup.fit(model, extra_terms=[Contrast(options)], seed=seed, workdir=workdir)


def train_gen(setup: MethodSetup, options: RLMRecGenOptions, *, seed: int, workdir: Path) -> Fitted:
    """Train with RLMRec's generative alignment, in one stage.

    Raises InputError where item texts are missing, and what `fit` raises.
    """
    text, d_model = text_matrix(setup, "RLMRec-Gen"), setup.backbone.d_model
    dataset = setup.dataset
    with drawn_weights(seed):
        items = IdItems(dataset.n_items, d_model)
        model = ReconstructingModel(items, encoder(setup), text, d_model=d_model)
    recommend = SequenceObjective(setup.train, n_items=dataset.n_items, counts=dataset.counts)
    return setup.fit(
        model,
        objective=Reconstruction(recommend, options),
        seed=seed,
        workdir=workdir,
    )
