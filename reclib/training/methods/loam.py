"""LOAM: sessions made by walks towards niche items, and sessions with a tail target mixed with similar ones.

[LOAM] = Yang et al., "LOAM: Improving Long-tail Session-based Recommendation via Niche Walk Augmentation and
Tail Session Mixup", SIGIR 2023. Both parts act in one training:

- Niche walk augmentation: from targets of a batch, walks go backwards through the graph of training
  transitions, among the items of the batch; at each step to the predecessor with the fewest interactions,
  or, with some chance, to any. A walk read forwards is a session that leads from niche items to its target,
  and is trained on as the others are, if at least two items precede the target.
- Tail session mixup: the state of a session whose target is a tail item is interpolated with that of the
  session of the batch most similar to it, and should predict the tail target still; this loss is added.

From the public code: backward walks of ten steps, the limit on the predecessors of an item, the fixed
coefficient of the mixup (0.8), similarity by inner products, the sum of both losses.

Changed or simplified: the backbone, its loss and the positions it trains are the setting's; a step strays
with a chance of 0.3, which the code's function has by default, where its runs have 0.5; walks are a fifth of
the windows, there a tenth; an item keeps at most `n_predecessors` drawn predecessors, where the code limits
head items only; one walk starts at each drawn target, where the code takes five and keeps a sample; a session
is never mixed with itself; the tail is what is outside the top 20 % by interactions, there by targets. The
weight of the mixed sessions' loss is the code's, one; there each session has one target, here the targets of
all positions share the other loss, so that one favours the tail's last positions, and the grid has a smaller
weight too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from reclib.data.cooccurrence import item_graph
from reclib.data.dataset import Windows
from reclib.data.popularity import is_head
from reclib.models.items import IdItems
from reclib.models.sequence_model import SequenceModel
from reclib.schema import PAD_IDX, settle
from reclib.seeding import numpy_generator
from reclib.training.loop import Fitted
from reclib.training.methods.starting import drawn_weights, encoder
from reclib.training.sequence_batches import Batch
from reclib.training.sequence_objectives import Context, Predicted, SequenceObjective, predicted_positions

if TYPE_CHECKING:
    from reclib.training.methods import MethodSetup

MADE_ROW = -1  # `Batch.row` of a session that no training window stands behind
SHORTEST = 2  # items before the target of a walk that is trained on


@dataclass(frozen=True, kw_only=True)
class LoamOptions:
    """Options of LOAM.

    walk_share: walks for each window of a batch; walk_length: steps of a walk
    random_share: chance of a step to any predecessor; n_predecessors: most of an item that walks may go to
    mixup_share: what a tail session keeps of its own state; mixup_weight: of the loss of mixed sessions
    """

    walk_share: float = 0.2
    walk_length: int = 10
    random_share: float = 0.3
    n_predecessors: int = 12
    mixup_share: float = 0.8
    mixup_weight: float = 1.0

    def __post_init__(self) -> None:
        settle(
            self,
            "loam",
            positive=("walk_length", "n_predecessors"),
            not_negative=("walk_share", "mixup_weight"),
            share=("random_share", "mixup_share"),
        )


GRID = (
    LoamOptions(),
    LoamOptions(walk_share=0.1, random_share=0.5),  # the public code's runs
    LoamOptions(mixup_weight=0.3),
    LoamOptions(walk_share=0.05),
    LoamOptions(walk_share=0.5),
    LoamOptions(walk_share=0.5, mixup_weight=0.3),
)


def predecessor_table(
    windows: Windows, n_items: int, n_predecessors: int, generator: np.random.Generator
) -> np.ndarray:
    """Items that came directly before each item in training, (N+1, C) int64, 0 after the last.

    C is at most `n_predecessors`; where an item has more, which ones is drawn.
    """
    edges = item_graph(windows, n_items).tocoo()
    order = generator.permutation(len(edges.row))
    before, after = edges.row[order], edges.col[order]
    order = np.argsort(after, kind="stable")
    before, after = before[order], after[order]
    column = np.arange(len(after)) - np.searchsorted(after, after)
    kept = column < n_predecessors
    width = int(column[kept].max(initial=0)) + 1
    table = np.full((n_items + 1, width), PAD_IDX, dtype=np.int64)
    table[after[kept], column[kept]] = before[kept]
    return table


class NicheWalks:
    """Walks of a batch, as sessions with `row` MADE_ROW.

    predecessors: (N+1, C), see `predecessor_table`; counts: (N+1,) interactions
    longest: most items of a history that the backbone reads
    """

    def __init__(self, predecessors: Tensor, counts: Tensor, options: LoamOptions, *, longest: int) -> None:
        self.predecessors, self.counts, self.options = predecessors, counts, options
        self.n_steps = min(options.walk_length, longest)

    def __call__(self, batch: Batch, context: Context) -> Batch:
        """The walks from some of the batch's targets, among its items; none may be left."""
        n_walks, device = round(self.options.walk_share * len(batch.target)), batch.target.device
        drawn = torch.rand(n_walks, generator=context.generator, device=device)
        start = batch.target[(drawn * len(batch.target)).long()]
        is_open = torch.zeros(len(self.counts), dtype=torch.bool, device=device)
        is_open[batch.history] = is_open[batch.target] = True
        is_open[PAD_IDX] = False
        path = self.walk(start, is_open, context.generator)
        path = path[(path != PAD_IDX).sum(dim=1) > SHORTEST]
        longest = int((path[:, 1:] != PAD_IDX).any(dim=0).sum())
        history, target = path[:, 1 : longest + 1].flip(1), path[:, 0]
        return Batch(history, target, torch.full_like(target, MADE_ROW))

    def walk(self, start: Tensor, is_open: Tensor, generator: torch.Generator) -> Tensor:
        """Walks backwards, (A,) → (A, steps + 1): the start, its predecessor, and so on; 0 after the end.

        is_open: (N+1,) bool, the items that may be entered; a walk ends where no predecessor is open.
        """
        path = [start]
        for _ in range(self.n_steps):
            near = self.predecessors[path[-1]]  # (A, C)
            closed = ~(is_open[near] & (near != PAD_IDX))
            rarity = -self.counts[near].float()
            chance = torch.rand(near.shape, generator=generator, device=near.device)
            strays = torch.rand((len(near), 1), generator=generator, device=near.device)
            merit = torch.where(strays < self.options.random_share, chance, rarity)
            best = merit.masked_fill(closed, -torch.inf).argmax(dim=1, keepdim=True)
            path.append(near.masked_fill(closed, PAD_IDX).gather(1, best)[:, 0])
        return torch.stack(path, dim=1)


def mixed_states(states: Tensor, is_chosen: Tensor, share: float) -> Tensor:
    """Chosen rows as share · h + (1 − share) · h′, (T, D): h′ is the other row with the largest ⟨h, h′⟩.

    states: (B, D), B ≥ 2; is_chosen: (B,) bool
    """
    similarity = (states[is_chosen] @ states.T).detach()
    similarity = similarity.masked_fill(torch.diag(is_chosen)[is_chosen], -torch.inf)
    return share * states[is_chosen] + (1 - share) * states[similarity.argmax(dim=1)]


class LoamObjective:
    """The loss of windows and walks, a mean over the positions of both, and that of mixed sessions.

    recommend: the loss of the setting; recommend_last: the same with positions "last"
    is_tail: (N+1,) bool

    Walks are longer than most windows, so each has a pass of its own through the encoder: together they
    would be padded. The mixed states are those that the windows' loss reads.
    """

    def __init__(
        self,
        recommend: SequenceObjective,
        recommend_last: SequenceObjective,
        walks: NicheWalks,
        is_tail: Tensor,
        options: LoamOptions,
    ) -> None:
        self.recommend, self.recommend_last, self.walks = recommend, recommend_last, walks
        self.is_tail, self.options = is_tail, options

    def __call__(
        self, model: SequenceModel, batch: Batch, context: Context
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The total, the loss of the setting by its name, and {"mixup": the loss of mixed sessions}."""
        positions = self.recommend.config.positions
        windows = predicted_positions(model, batch, positions, context.generator)
        loss, parts = self.recommend.of_predicted(model, batch, windows, context)
        walks = self.walks(batch, context)
        if len(walks.target):
            made = predicted_positions(model, walks, positions, context.generator)
            of_walks, _ = self.recommend.of_predicted(model, walks, made, context)
            share = len(made.target) / (len(made.target) + len(windows.target))
            loss = (1 - share) * loss + share * of_walks
            parts = {self.recommend.config.loss: loss.detach()}
        mixup = self.mixup(model, batch, windows, context)
        return loss + self.options.mixup_weight * mixup, {**parts, "mixup": mixup.detach()}

    def mixup(self, model: SequenceModel, batch: Batch, windows: Predicted, context: Context) -> Tensor:
        """The mean loss of windows with a tail target, mixed; 0 where there is none, or a window is alone."""
        is_tail = self.is_tail[batch.target]
        if len(is_tail) < 2 or not bool(is_tail.any()) or not self.options.mixup_weight:
            return torch.zeros((), device=batch.target.device)
        if model.is_causal:  # the last position of each window is among the predicted
            last = windows.states[windows.at.sum(dim=1).cumsum(dim=0) - 1]
        else:
            last = model.user_states(batch.history)
        mixed = mixed_states(last, is_tail, self.options.mixup_share)
        tail = Batch(*(values[is_tail] for values in batch))
        predicted = Predicted(mixed, tail.target, torch.ones_like(tail.target, dtype=torch.bool)[:, None])
        # the weight of the context speaks of all positions of the batch, and here each window has one
        loss, _ = self.recommend_last.of_predicted(model, tail, predicted, context._replace(weight=1.0))
        return loss


def train(setup: MethodSetup, options: LoamOptions, *, seed: int, workdir: Path) -> Fitted:
    """Train the backbone on windows and walks, and on mixed tail sessions. Raises what `fit` raises."""
    dataset, device = setup.dataset, setup.device
    windows, n_items = dataset.train, dataset.n_items
    with drawn_weights(seed):
        model = SequenceModel(IdItems(n_items, setup.backbone.d_model), encoder(setup))
    table = predecessor_table(
        windows, n_items, options.n_predecessors, numpy_generator(seed, "loam predecessors")
    )
    counts = torch.from_numpy(dataset.counts).to(device)
    walks = NicheWalks(torch.from_numpy(table).to(device), counts, options, longest=windows.history.shape[1])
    is_tail = torch.from_numpy(~is_head(dataset.counts)).to(device)
    recommend, recommend_last = (
        SequenceObjective(config, n_items=n_items, counts=dataset.counts)
        for config in (setup.train, replace(setup.train, positions="last"))
    )
    objective = LoamObjective(recommend, recommend_last, walks, is_tail, options)
    return setup.fit(model, objective=objective, seed=seed, workdir=workdir)
