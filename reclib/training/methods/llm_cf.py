"""LLM-CF: the backbone reads windows like its own, with what a language model reasoned about them.

[LLM-CF] = Sun et al., "Large Language Models Enhanced Collaborative Filtering", CIKM 2024. A language model
has written a chain of thought on some training windows: why the user chose the target, or did not choose
another item. For each history the K windows of the most similar text are retrieved, half of them chosen; a
causal transformer reads data, reasoning and outcome of each and then the history (`models.in_context`), and
its last state is added to the backbone's:

u = SASRec(history) + w · feature,    L = L_recommend + α · (1 − mean cos(rebuilt reasoning, reasoning))

where the reasoning is rebuilt from the state of the data in front of it, so that the module learns to reason
from data alone. No language model runs when items are recommended. Both weights 0 are the backbone.

A window never reads itself, nor a later window of its own user; all examples are training windows.

From the public code (the equations were not at hand): inner products of mean text embeddings, K = 4, half of
each outcome, two layers and heads, w = 0.1 with SASRec, one linear layer for texts, and the loss.

Changed or simplified: users have no vector of their own, as no model here has. The language model is the one
at hand and not tuned to reason; so small a one shows the mechanism and no more. Examples stand with the most
similar last (public code: shuffled once), the histories of examples are means of item vectors (public code
with SASRec: its states), the transformer is that of SASRec (public code: rotary positions, gated layers).
α is 0 in the public code's settings for SASRec, 1 in those of its ranking models.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor, nn

from reclib.data.dataset import Windows
from reclib.kernels.retrieval import nearest_of_both, rebuilding_loss
from reclib.models.in_context import InContext
from reclib.models.items import IdItems
from reclib.models.sequence_model import SequenceModel
from reclib.schema import InputError, settle
from reclib.training.loop import Fitted
from reclib.training.methods.starting import drawn_weights, encoder
from reclib.training.reasoned import ReasonedWindows, usable
from reclib.training.sequence_batches import Batch
from reclib.training.sequence_objectives import Context, Predicted, SequenceObjective

if TYPE_CHECKING:
    from reclib.training.methods import MethodSetup

WINDOWS_AT_ONCE = 4096  # whose examples are looked up at once


@dataclass(frozen=True, kw_only=True)
class LLMCFOptions:
    """Options of LLM-CF.

    n_examples: K; feature_weight: w of the in-context feature; rebuilding_weight: α
    n_layers, n_heads: of the module's transformer
    """

    n_examples: int = 4  # public code
    feature_weight: float = 0.1  # public code, with SASRec
    rebuilding_weight: float = 1.0  # public code, of its ranking models
    n_layers: int = 2  # public code
    n_heads: int = 2  # public code

    def __post_init__(self) -> None:
        positive = ("n_examples", "n_layers", "n_heads")
        settle(self, "llm_cf", positive=positive, not_negative=("feature_weight", "rebuilding_weight"))

    @property
    def reads(self) -> bool:
        """Whether examples play a part at all."""
        return bool(self.feature_weight or self.rebuilding_weight)


GRID = tuple(
    LLMCFOptions(feature_weight=feature, rebuilding_weight=rebuilding)
    for feature in (0.1, 0.3, 1.0)
    for rebuilding in (1.0, 0.1)
)


class InContextModel(SequenceModel):
    """A backbone whose last state has the in-context feature added; it retrieves examples by the history.

    All examples may be read: where a window has some that it may not, its own are given to `joint_states`.
    """

    def __init__(
        self, items: nn.Module, backbone: nn.Module, in_context: InContext, options: LLMCFOptions
    ) -> None:
        super().__init__(items, backbone)
        self.in_context, self.options = in_context, options

    def retrieve(self, history: Tensor, *, allowed: Tensor | None = None) -> Tensor:
        """The examples each history reads, (B, K); see `kernels.retrieval.nearest_of_both`."""
        module = self.in_context
        query, keys = module.text_of(history), module.text_of(module.histories)
        return nearest_of_both(query, keys, module.is_chosen, self.options.n_examples, allowed=allowed)

    def user_states(self, history: Tensor) -> Tensor:
        """The backbone's state + w · the feature of the retrieved examples, (B, D)."""
        own = super().user_states(history)
        if not self.options.feature_weight:
            return own
        feature = self.in_context.feature(self.items, history, self.retrieve(history))
        return own + self.options.feature_weight * feature

    def joint_states(self, history: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """The same with given examples (B, K), and the rebuilt reasoning (B, K, E)."""
        feature, rebuilt = self.in_context(self.items, history, chosen)
        return super().user_states(history) + self.options.feature_weight * feature, rebuilt


class InContextObjective:
    """The recommendation loss of the last position + α · the loss of the rebuilt reasoning.

    chosen: (W, K) examples of each training window
    """

    def __init__(self, recommend: SequenceObjective, chosen: Tensor, options: LLMCFOptions) -> None:
        self.recommend, self.chosen, self.options = recommend, chosen, options

    def __call__(
        self, model: SequenceModel, batch: Batch, context: Context
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Total, and its parts: "rebuilding" beside the recommendation loss."""
        reader, chosen = cast(InContextModel, model), self.chosen[batch.row]
        states, rebuilt = reader.joint_states(batch.history, chosen)
        at = torch.ones_like(batch.target, dtype=torch.bool)[:, None]
        total, parts = self.recommend.of_predicted(model, batch, Predicted(states, batch.target, at), context)
        said = reader.in_context.reasoning[chosen.clamp_min(0)]
        loss = rebuilding_loss(rebuilt, said, chosen >= 0)
        weighted = self.options.rebuilding_weight * context.weight * loss
        return total + weighted, parts | {"rebuilding": loss.detach()}


def train(setup: MethodSetup, options: LLMCFOptions, *, seed: int, workdir: Path) -> Fitted:
    """Train the backbone and the in-context module together.

    Raises InputError where the setup has no reasoned windows, or those of other windows, and where other
    positions than the last are trained, whose examples would be retrieved by items yet to come; and what
    `fit` raises.
    """
    dataset, examples = setup.dataset, _examples(setup)
    with drawn_weights(seed):
        items: nn.Module = IdItems(dataset.n_items, setup.backbone.d_model)
        reading = encoder(setup)
        model = SequenceModel(items, reading)
        if options.reads:
            model = InContextModel(items, reading, _module(setup, examples, options), options)
    recommend = SequenceObjective(setup.train, n_items=dataset.n_items, counts=dataset.counts)
    if not isinstance(model, InContextModel):
        return setup.fit(model, objective=recommend, seed=seed, workdir=workdir)
    chosen = retrieved(model.to(setup.device), examples, dataset.train)
    objective = InContextObjective(recommend, chosen, options)
    return setup.fit(model, objective=objective, seed=seed, workdir=workdir)


@torch.no_grad()
def retrieved(model: InContextModel, examples: ReasonedWindows, windows: Windows) -> Tensor:
    """The examples that each training window reads, (W, K), none that is its own or comes later."""
    parts = []
    for first in range(0, len(windows), WINDOWS_AT_ONCE):
        rows = np.arange(first, min(first + WINDOWS_AT_ONCE, len(windows)))
        allowed = torch.from_numpy(usable(examples, windows, rows)).to(model.device)
        history = torch.from_numpy(windows.history[rows]).long().to(model.device)
        parts.append(model.retrieve(history, allowed=allowed))
    return torch.cat(parts)


def _module(setup: MethodSetup, examples: ReasonedWindows, options: LLMCFOptions) -> InContext:
    return InContext(
        histories=torch.from_numpy(examples.histories).long(),
        items=torch.from_numpy(examples.items).long(),
        is_chosen=torch.from_numpy(examples.is_chosen),
        reasoning=torch.from_numpy(examples.reasoning),
        text=torch.from_numpy(examples.text),
        d_model=setup.backbone.d_model,
        k=options.n_examples,
        n_layers=options.n_layers,
        n_heads=options.n_heads,
        dropout=setup.backbone.dropout,
    )


def _examples(setup: MethodSetup) -> ReasonedWindows:
    if setup.examples is None:
        raise InputError("LLM-CF reads what a language model reasoned: give its setup reasoned windows")
    if setup.train.positions != "last":
        raise InputError(
            f'LLM-CF retrieves by the whole history: train positions "last", not {setup.train.positions!r}'
        )
    setup.examples.check(setup.dataset.train, n_items=setup.dataset.n_items)
    return setup.examples
