"""LLM-ESR: a semantic and a collaborative view of users and items, and users who learn from similar ones.

[LLM-ESR] = Liu et al., "LLM-ESR: Large Language Models Enhancement for Long-tailed Sequential
Recommendation", NeurIPS 2024. Its stages, all of them here:

1. item texts are embedded and stay frozen (`setup.text`); a PCA of them starts the collaborative table;
2. similar users are retrieved once, by the cosine of user embeddings (`training.similar_users`);
3. dual-view modelling (`models.dual_view`): an adapter of two linear layers maps texts to the width of the ID
   table, each view attends to the other, one encoder reads both, and a score adds the views' inner products;
4. retrieval-augmented self-distillation, trained together with 3: the state of a user moves towards the mean
   state of similar users, whose states, by the same weights, pass no gradient: α · MSE.

From the paper and the settings of its public code: ten similar users, α = 0.1, two heads, an adapter without
a non-linearity whose middle has half the text's width, no residual path around the cross-attention.

Changed or simplified: the encoder and the cross-attention are causal, except with BERT4Rec; in the public
code the mask of SASRec is commented out and the cross-attention has none. Position embeddings stand in front
of the cross-attention with every backbone, there with all but GRU4Rec, and count from the end, there from
the first item; those of the backbone come after it, where the code adds no more. The code drops before it.
A user is the mean of the texts of their items, not an LLM's embedding of a text about them. Of the ten
similar users `n_teachers` are drawn at each step: the gradient is linear in the teacher, so that its mean
over draws is that of all ten.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from reclib.models.dual_view import DualView
from reclib.models.items import IdItems, pca
from reclib.models.sequence_model import SequenceModel, states_in_like_lengths
from reclib.models.text_adapter import TextAdapter
from reclib.schema import InputError, settle
from reclib.training.loop import Fitted
from reclib.training.methods.item_norm import ItemNorm, with_norm
from reclib.training.methods.starting import drawn_weights, encoder, text_matrix
from reclib.training.sequence_batches import Batch
from reclib.training.sequence_objectives import Context, Objective, SequenceObjective
from reclib.training.similar_users import SimilarUsers, similar_users

if TYPE_CHECKING:
    from reclib.training.methods import MethodSetup


@dataclass(frozen=True, kw_only=True)
class LLMESROptions:
    """Options of LLM-ESR.

    distillation_weight: α; n_similar: users retrieved for each; n_teachers: drawn of them at each step
    n_heads: of the cross-attention
    """

    distillation_weight: float = 0.1
    n_similar: int = 10
    n_teachers: int = 2
    n_heads: int = 2

    def __post_init__(self) -> None:
        settle(
            self,
            "llm_esr",
            positive=("n_similar", "n_teachers", "n_heads"),
            not_negative=("distillation_weight",),
        )


@dataclass(frozen=True, kw_only=True)
class LLMESRItemsOptions(LLMESROptions):
    """Options of LLM-ESR and the normalisation of the item vectors of both views.

    norm: None leaves them as they are; else at lookup and at scoring, for one table serves both here
    """

    norm: ItemNorm | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.norm is not None and self.norm.where != "both":
            raise InputError(
                f"llm_esr: items normalised at {self.norm.where} alone: both views are read and scored with "
                "the same vectors, choose both"
            )


GRID = tuple(
    LLMESROptions(distillation_weight=weight, n_similar=n_similar)
    for weight in (0.1, 0.01, 0.001)
    for n_similar in (10, 4)
)
ITEMS_GRID = tuple(
    LLMESRItemsOptions(distillation_weight=weight, n_similar=n_similar)
    for weight in (0.1, 0.01, 0.001)
    for n_similar in (10, 4)
)


class _Watched:
    """A model as the recommendation loss sees it, which keeps the last states that the loss read."""

    def __init__(self, model: SequenceModel) -> None:
        self.model = model
        self.last: Tensor | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def states(self, history: Tensor, *, last_only: bool = False) -> Tensor:
        states = self.model.states(history, last_only=last_only)
        self.last = states if last_only else states[:, -1]
        return states


class Distillation:
    """The recommendation loss + α · mean (u − mean of teachers)²: u with gradient, similar users without.

    u is the last state that the recommendation loss read; with a cloze, which reads none, it is made anew.
    users: of the windows given to `fit`. Source: [LLM-ESR].
    """

    def __init__(self, recommend: Objective, users: SimilarUsers, options: LLMESROptions) -> None:
        self.recommend, self.users, self.options = recommend, users, options

    def __call__(
        self, model: SequenceModel, batch: Batch, context: Context
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Total, and its parts; the distillation costs 0 where there is no other user."""
        watched = _Watched(model)
        total, parts = self.recommend(cast(SequenceModel, watched), batch, context)
        chosen = self._teachers(batch.row, context.generator)
        if not chosen.shape[1]:
            return total, parts | {"distillation": torch.zeros_like(total)}
        users, place = chosen.unique(return_inverse=True)  # a few users of many items resemble most
        with torch.no_grad():
            taught = states_in_like_lengths(model.user_states, self.users.histories[users])
        teacher = taught[place].mean(dim=1)  # (B, 2D)
        student = model.user_states(batch.history) if watched.last is None else watched.last
        loss = mse_loss(student, teacher)
        return total + self.options.distillation_weight * loss, parts | {"distillation": loss.detach()}

    def _teachers(self, row: Tensor, generator: torch.Generator) -> Tensor:
        """Users drawn among those similar to each window's user, (B, n_teachers or fewer)."""
        similar = self.users.similar[self.users.user_of_row[row]]
        if similar.shape[1] <= self.options.n_teachers:
            return similar
        order = torch.rand(similar.shape, generator=generator, device=similar.device).argsort(dim=1)
        return similar.gather(1, order[:, : self.options.n_teachers])


def train(setup: MethodSetup, options: LLMESROptions, *, seed: int, workdir: Path) -> Fitted:
    """Retrieve similar users, then train both views and the distillation together.

    Raises InputError where item texts are missing, and what `fit` raises.
    """
    return _train(setup, options, None, seed=seed, workdir=workdir)


def train_items(setup: MethodSetup, options: LLMESRItemsOptions, *, seed: int, workdir: Path) -> Fitted:
    """As `train`, with the item vectors of both views normalised."""
    return _train(setup, options, options.norm, seed=seed, workdir=workdir)


def _train(
    setup: MethodSetup, options: LLMESROptions, norm: ItemNorm | None, *, seed: int, workdir: Path
) -> Fitted:
    text, d_model = text_matrix(setup, "LLM-ESR"), setup.backbone.d_model
    dataset, windows = setup.dataset, setup.dataset.train
    with drawn_weights(seed):
        model = DualView(
            with_norm(IdItems.from_matrix(pca(text, d_model)), norm),
            with_norm(TextAdapter(text, d_model, hidden=text.shape[1] // 2), norm),
            encoder(setup),
            d_model=d_model,
            n_heads=options.n_heads,
            max_length=windows.history.shape[1],
        )
    users = similar_users(windows, text, options.n_similar).to(setup.device)
    recommend = SequenceObjective(setup.train, n_items=dataset.n_items, counts=dataset.counts)
    return setup.fit(
        model,
        objective=Distillation(recommend, users, options),
        seed=seed,
        workdir=workdir,
    )
