"""MELT: two branches enhance tail users and tail items, each with what the other has learned.

[MELT] = Kim et al., "MELT: Mutual Enhancement of Long-Tailed User and Item for Sequential Recommendation",
SIGIR 2023. Its stages, all of them here, each in the one loop:

1. a backbone is trained as usual ("base");
2. both branches, linear maps of D → D, learn from the trained backbone, which stays as it is ("branches");
3. backbone and branches are trained on together ("melt"):
   - user branch W_U: from the state of a head user's few recent items to the state of the whole history;
   - item branch W_I: from the mean state of a few contexts of a head item to its vector;
   - user to item: states of contexts are enhanced, h + W_U h, before they are averaged;
   - item to user: at the start of an epoch tail items take the vectors that W_I gives them, so that
     histories with tail items, and the states of tail users, are read with these;
   - curriculum: both errors are weighted by |sin(π/2 · (epoch / epochs + size above the tail))|: the largest
     users and items first, those next to the tail last (`curriculum_weight`).
   Afterwards the states of tail users are enhanced, h + W_U h.

From the paper and its public code: the above, the squared errors, their weights of 0.2 and 0.3 (its defaults;
0.1 to 0.4 in its tables), a tail of 80 % (50 % on its data sets outside Amazon), contexts of an item forwards
(the history up to it) and backwards (what follows it, latest first).

Changed or simplified: at most 40 epochs of stage 3 (the code: 41 by default, 160 to 200 in its tables); 32
head items a step with every backbone (there with FMLP-Rec; with SASRec an epoch goes once through all); the
head of items is by rank of count, as in the evaluation; head users are those of the batch; a user's length
is that of the history at hand, so that histories cut at the longest that is read are head; of an item's
contexts at most `n_contexts` of `context_length` items are read at a time; the vectors of tail items come
from enhanced states, as W_I was trained on (in the code from plain ones). Stage 2 is ours, and so is that the
tail takes vectors after one epoch of stage 3: otherwise a W_I that has learned little overwrites the tail,
which does not recover in the few steps of an epoch on little data, and no epoch without it stands for choice
on validation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from reclib.data.popularity import is_head
from reclib.models.items import IdItems
from reclib.models.sequence_model import SequenceModel
from reclib.schema import PAD_IDX, settle
from reclib.seeding import numpy_generator
from reclib.training.item_contexts import ItemContexts, item_contexts
from reclib.training.loop import Fitted, fit
from reclib.training.methods.starting import drawn_weights, encoder
from reclib.training.sequence_batches import Batch
from reclib.training.sequence_objectives import Context
from reclib.training.stages import joined

if TYPE_CHECKING:
    from reclib.training.methods import MethodSetup

ITEM_SPAN = 50  # interactions above the tail at which an item counts as large
BLOCK = 512  # tail items whose contexts are read at a time


@dataclass(frozen=True, kw_only=True)
class MeltOptions:
    """Options of MELT.

    tail_share: of users by length, and of items by count, that are tail
    user_weight, item_weight: λ of the branches' errors; epochs: at most of the last stage, the curriculum's
    branch_epochs: of the branches alone; n_items: head items of the item branch at a step
    n_contexts: most contexts of an item at a time
    context_length: most items of a context
    """

    tail_share: float = 0.8
    user_weight: float = 0.2
    item_weight: float = 0.3
    epochs: int = 40
    n_items: int = 32
    branch_epochs: int = 30
    n_contexts: int = 5
    context_length: int = 20

    def __post_init__(self) -> None:
        settle(
            self,
            "melt",
            positive=("epochs", "branch_epochs", "n_items", "n_contexts", "context_length"),
            not_negative=("user_weight", "item_weight"),
            share=("tail_share",),
        )


GRID = tuple(
    MeltOptions(tail_share=tail_share, item_weight=item_weight)
    for item_weight in (0.3, 0.1, 0.5)
    for tail_share in (0.8, 0.5)
)


def curriculum_weight(size: Tensor, progress: float, *, smallest: int, largest: int) -> Tensor:
    """|sin(π/2 · (progress + (size − smallest) / (largest − smallest)))|, sizes cut to the bounds.

    At the start (progress 0) the largest weigh 1 and the smallest 0, at the end (1) the other way.
    Source: [MELT], as in its public code.
    """
    above = (size.clamp(smallest, largest) - smallest) / max(1, largest - smallest)
    return (math.pi / 2 * (progress + above)).sin().abs()


class Melt(SequenceModel):
    """A recommender with both branches; once trained it enhances the states of tail users.

    tail_length: histories of at most so many items are those of tail users
    """

    def __init__(self, items: nn.Module, backbone: nn.Module, *, d_model: int, tail_length: int) -> None:
        super().__init__(items, backbone)
        self.tail_length = tail_length
        self.user_branch, self.item_branch = nn.Linear(d_model, d_model), nn.Linear(d_model, d_model)
        for branch in (self.user_branch, self.item_branch):
            nn.init.xavier_normal_(branch.weight)

    def plain_states(self, history: Tensor) -> Tensor:
        """The backbone's states of users, (B, S) → (B, D)."""
        return super().user_states(history)

    def enhanced(self, states: Tensor) -> Tensor:
        """States with what the user branch adds, h + W_U h."""
        return states + self.user_branch(states)

    def user_states(self, history: Tensor) -> Tensor:
        """The states that score, (B, D): those of tail users enhanced, except while training."""
        states = self.plain_states(history)
        if self.training:
            return states
        is_tail = (history != PAD_IDX).sum(dim=1, keepdim=True) <= self.tail_length
        return torch.where(is_tail, self.enhanced(states), states)

    def context_states(self, sequences: Tensor, is_there: Tensor) -> Tensor:
        """Mean enhanced state of contexts, (M, k, L) and which are there (M, k) → (M, D); 0 without any."""
        read = sequences[is_there]
        if not len(read):
            return self.item_vectors(sequences[:, 0, -1]) * 0
        read = read[:, int((read != PAD_IDX).any(dim=0).long().argmax()) :]
        states = self.enhanced(self.plain_states(read))
        spread = states.new_zeros(*is_there.shape, states.shape[1])
        spread = spread.index_put((is_there,), states)
        return spread.sum(dim=1) / is_there.sum(dim=1, keepdim=True).clamp(min=1)


class Tail(NamedTuple):
    """Where the tail ends, of users and of items.

    user_length: most items of a tail user; longest: most items of a history
    item_count: most interactions of a tail item; head, rest: (…,) item_idx, those never seen left out
    """

    user_length: int
    longest: int
    item_count: int
    head: Tensor
    rest: Tensor


def tail_of(contexts: ItemContexts, *, tail_share: float, longest: int) -> Tail:
    """Tail and head of training: users by length, cut at `longest`, and items by count.

    The longest users are head even where more than their share is cut; where all are alike none is tail.
    """
    length = (np.bincount(contexts.user.cpu().numpy()) - 1).clip(1, longest)  # the last item is a target
    user_length = min(int(np.quantile(length, tail_share)), longest - 1)
    if not (length > user_length).any():
        user_length = 0
    counts = contexts.counts.cpu().numpy()
    head, seen = is_head(counts, 1 - tail_share), counts > 0
    rest = seen & ~head
    item_count = int(counts[rest].max(initial=0))
    device = contexts.counts.device
    head_idx, rest_idx = (torch.from_numpy(np.flatnonzero(which)).to(device) for which in (head & seen, rest))
    return Tail(user_length, longest, item_count, head_idx, rest_idx)


class UserBranch:
    """The term λ_U · mean w (W_U h_few − h)²: states of head users from their 1…tail_length last items."""

    def __init__(self, tail: Tail, options: MeltOptions) -> None:
        self.tail, self.options = tail, options

    def __call__(
        self, model: SequenceModel, batch: Batch, context: Context
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted loss, and {"user_branch": the loss}; 0 where no user of the batch is head."""
        melt, tail = cast(Melt, model), self.tail
        length = (batch.history != PAD_IDX).sum(dim=1)
        is_head_user = length > tail.user_length
        history, length = batch.history[is_head_user], length[is_head_user]
        if not len(history):
            none = torch.zeros((), device=batch.target.device)
            return none, {"user_branch": none}
        few = last_items(history, max(1, tail.user_length), context.generator)
        error = melt.user_branch(melt.plain_states(few)) - melt.plain_states(history)
        weight = curriculum_weight(
            length, context.epoch / context.n_epochs, smallest=tail.user_length + 1, largest=tail.longest
        )
        loss = (weight[:, None] * error.square()).mean()
        return self.options.user_weight * loss, {"user_branch": loss.detach()}


def last_items(history: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Histories (B, S) of which only the last 1…most items are left, how many is drawn for each."""
    drawn = torch.rand((len(history), 1), generator=generator, device=history.device)
    n_left = 1 + (drawn * most).long()
    back = torch.arange(history.shape[1] - 1, -1, -1, device=history.device)
    return history.masked_fill(back >= n_left, PAD_IDX)[:, -min(most, history.shape[1]) :]


class ItemBranch:
    """The term λ_I · mean w (W_I h̄ − e)² over head items, h̄ the mean enhanced state of a few contexts.

    `update_tail` gives tail items their vectors, W_I h̄, when an epoch after the first starts.
    """

    def __init__(self, model: Melt, contexts: ItemContexts, tail: Tail, options: MeltOptions) -> None:
        self.model, self.contexts, self.tail, self.options = model, contexts, tail, options

    def __call__(
        self, model: SequenceModel, batch: Batch, context: Context
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted loss, and {"item_branch": the loss}."""
        melt, tail, generator = cast(Melt, model), self.tail, context.generator
        device = tail.head.device
        drawn = torch.rand(self.options.n_items, generator=generator, device=device)
        item_idx = tail.head[(drawn * len(tail.head)).long()]
        few = torch.rand((len(item_idx), 1), generator=generator, device=device)
        n_few = 1 + (few * min(max(1, tail.item_count), self.options.n_contexts)).long()
        inferred = self._inferred(melt, item_idx, n_few, generator)
        weight = curriculum_weight(
            self.contexts.counts[item_idx],
            context.epoch / context.n_epochs,
            smallest=tail.item_count + 1,
            largest=tail.item_count + 1 + ITEM_SPAN,
        )
        loss = (weight[:, None] * (inferred - melt.items(item_idx)).square()).mean()
        return self.options.item_weight * loss, {"item_branch": loss.detach()}

    def update_tail(self, epoch: int, generator: torch.Generator) -> None:
        """Move the tail items' vectors, but for the first epoch, 0; what `fit` calls at an epoch's start."""
        if epoch > 0:
            self.model.eval()
            self._give_vectors(generator)
            self.model.train()

    @torch.no_grad()
    def _give_vectors(self, generator: torch.Generator) -> None:
        most = torch.tensor(self.options.n_contexts, device=self.tail.rest.device)
        vectors = [
            self._inferred(self.model, block, most, generator) for block in self.tail.rest.split(BLOCK)
        ]
        if len(self.tail.rest):
            cast(Any, self.model.items).table.weight[self.tail.rest] = torch.cat(vectors)

    def _inferred(
        self, model: Melt, item_idx: Tensor, n_contexts: Tensor, generator: torch.Generator
    ) -> Tensor:
        """W_I h̄ of items, (M,) → (M, D), each from up to n_contexts, (M, 1), of its contexts either way."""
        place, is_there = self.contexts.draw(item_idx, self.options.n_contexts, generator)
        is_there = is_there & (torch.arange(place.shape[1], device=place.device) < n_contexts)
        direction = torch.rand(place.shape, generator=generator, device=place.device)
        sequences = self.contexts.up_to(place, self.options.context_length, is_backward=direction < 0.5)
        return model.item_branch(model.context_states(sequences, is_there))


def train(setup: MethodSetup, options: MeltOptions, *, seed: int, workdir: Path) -> Fitted:
    """Train the backbone, then train it on with both branches. Raises what `fit` raises."""
    dataset, windows = setup.dataset, setup.dataset.train
    longest, d_model = windows.history.shape[1], setup.backbone.d_model
    contexts = item_contexts(windows, dataset.n_items, numpy_generator(seed, "melt contexts"))
    contexts = contexts.to(setup.device)
    options = replace(options, context_length=min(options.context_length, longest))
    tail = tail_of(contexts, tail_share=options.tail_share, longest=longest)
    with drawn_weights(seed):
        items, backbone = IdItems(dataset.n_items, d_model), encoder(setup)
        melt = Melt(items, backbone, d_model=d_model, tail_length=tail.user_length).to(setup.device)
    shared: dict[str, Any] = {"validate": setup.validate, "seed": seed, "workdir": workdir}
    shared["counts"] = dataset.counts
    base = fit(SequenceModel(items, backbone), windows, setup.train, stage="base", **shared)
    user_branch, item_branch = UserBranch(tail, options), ItemBranch(melt, contexts, tail, options)
    for part in (items, backbone):
        part.requires_grad_(False)
    config = replace(setup.train, epochs=min(setup.train.epochs, options.branch_epochs))
    alone = shared | {"validate": None, "objective": user_branch, "extra_terms": [item_branch]}
    branches = fit(melt, windows, config, stage="branches", **alone)
    for part in (items, backbone):
        part.requires_grad_(True)
    fitted = fit(
        melt,
        windows,
        replace(setup.train, epochs=min(setup.train.epochs, options.epochs)),
        extra_terms=[user_branch, item_branch],
        epoch_start=item_branch.update_tail,
        stage="melt",
        **shared,
    )
    return joined(melt, {"base": base, "branches": branches, "melt": fitted}, main="melt")
