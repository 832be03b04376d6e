"""CITIES: the vectors of tail items are inferred from the contexts they occur in.

[CITIES] = Jang et al., "CITIES: Contextual Inference of Tail-Item Embeddings for Sequential Recommendation",
ICDM 2020. Its stages, all of them here, each in the one loop:

1. a backbone is trained as usual ("base");
2. an embedding-inference function (`models.context_inference`) learns to give the trained vector of a head
   item, one with more than `tail_count` interactions, from a random number of its contexts, by the mean
   squared error; 5 % of the head items are held out and end the training ("inference");
3. it infers the vectors of the other items from all contexts up to `n_contexts`, and these replace the
   trained ones, where items are read and where they are scored. Nothing is trained any more.

From the paper: the stages and the two encoders. From its public code: place weights and encodings, contexts
of all neighbours (head or not), the threshold of five interactions, four heads, 5 % of the head held out.

Changed or simplified: shorter and fewer contexts (the code reads 24 items on each side, in training of up to
ten occurrences, of all for a tail item), one layer instead of two and a higher learning rate without
warm-up, for time; the hidden item is left out of its context, where the code puts the mask of BERT4Rec;
training goes on until the held-out error rises, where the code's stop, of the same kind, never acts in its
one epoch; inferred vectors also score items, where the code's BERT4Rec scores by weights of its own. An item
that never occurs in training has no context and keeps its vector.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from reclib.data.dataset import Windows
from reclib.models.context_inference import ContextInference
from reclib.models.items import IdItems
from reclib.models.sequence_model import SequenceModel
from reclib.schema import PAD_IDX, InputError, settle
from reclib.seeding import numpy_generator
from reclib.training.item_contexts import ItemContexts, item_contexts
from reclib.training.loop import Fitted, fit
from reclib.training.methods.starting import drawn_weights, encoder
from reclib.training.sequence_batches import Batch
from reclib.training.sequence_objectives import Context
from reclib.training.stages import joined

if TYPE_CHECKING:
    from reclib.training.methods import MethodSetup

HELD_OUT = 0.05  # of head items, which end the training of the inference
BLOCK = 1024  # items inferred at a time


@dataclass(frozen=True, kw_only=True)
class CitiesOptions:
    """Options of CITIES.

    tail_count: items with at most so many training interactions are inferred
    reach: items on each side of an occurrence that its context holds; n_contexts: most contexts of an item
    n_layers, n_heads, dropout: of both encoders
    epochs, patience, batch_size, learning_rate: of the inference; a batch is of head items
    """

    tail_count: int = 5
    reach: int = 5
    n_contexts: int = 5
    n_layers: int = 1
    n_heads: int = 4
    dropout: float = 0.2
    epochs: int = 30
    patience: int = 5
    batch_size: int = 128
    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        positive = ("tail_count", "reach", "n_contexts", "n_layers", "n_heads")
        trained = ("epochs", "patience", "batch_size", "learning_rate")
        settle(self, "cities", positive=positive + trained, share=("dropout",))


GRID = tuple(
    CitiesOptions(tail_count=tail_count, reach=reach) for tail_count in (5, 2, 10) for reach in (5, 3)
)


class Inference(SequenceModel):
    """An inference function over frozen vectors of all items; `fit` trains the function alone."""

    def __init__(self, matrix: Tensor, contexts: ItemContexts, options: CitiesOptions) -> None:
        items = IdItems.from_matrix(matrix.detach().cpu().numpy()).requires_grad_(False)
        d_model = matrix.shape[1]
        function = ContextInference(
            d_model,
            reach=options.reach,
            n_layers=options.n_layers,
            n_heads=options.n_heads,
            dropout=options.dropout,
        )
        super().__init__(items, function)
        self.contexts, self.options = contexts, options

    def inferred(self, item_idx: Tensor, n_contexts: int, generator: torch.Generator | None = None) -> Tensor:
        """Vectors of items from up to `n_contexts` of their contexts, (M,) → (M, D)."""
        place, is_there = self.contexts.draw(item_idx, n_contexts, generator)
        around = self.contexts.around(place, self.options.reach)
        around = around.masked_fill(~is_there[..., None], PAD_IDX)
        return self.backbone(self.items(around), around != PAD_IDX)

    @torch.no_grad()
    def all_inferred(self, item_idx: Tensor) -> Tensor:
        """Vectors of any number of items, from the first `n_contexts` contexts of each."""
        blocks = [self.inferred(block, self.options.n_contexts) for block in item_idx.split(BLOCK)]
        return torch.cat(blocks) if blocks else self.item_matrix()[:0]


def inference_loss(model: SequenceModel, batch: Batch, context: Context) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean squared error between inferred and trained vectors, from 1…n_contexts contexts, drawn a step."""
    inference = cast(Inference, model)
    drawn = torch.rand((), generator=context.generator, device=batch.target.device)
    n_contexts = 1 + int(drawn * inference.options.n_contexts)
    predicted = inference.inferred(batch.target, n_contexts, context.generator)
    loss = mse_loss(predicted, inference.items(batch.target))
    return loss, {"error": loss.detach()}


def train_inference(
    matrix: Tensor,
    contexts: ItemContexts,
    setup: MethodSetup,
    options: CitiesOptions,
    *,
    seed: int,
    workdir: Path,
) -> Fitted:
    """Stage 2: learn the vectors of head items, rows of `matrix` (N+1, D), from their contexts.

    Raises InputError where no item is head.
    """
    head = (contexts.counts > options.tail_count).nonzero().flatten().cpu().numpy()
    if not len(head):
        raise InputError(
            f"no item has more than {options.tail_count} training interactions: lower cities.tail_count"
        )
    head = numpy_generator(seed, "cities held out").permutation(head)
    n_held = min(len(head) - 1, max(1, round(HELD_OUT * len(head))))
    held = torch.from_numpy(head[:n_held]).to(setup.device)
    with drawn_weights(seed):
        model = Inference(matrix, contexts, options).to(setup.device)
    config = replace(
        setup.train,
        evaluate_every=1,
        weight_decay=0.0,
        **{name: getattr(options, name) for name in ("epochs", "patience", "batch_size", "learning_rate")},
    )

    def validate(fitted: SequenceModel) -> float:
        inferred = cast(Inference, fitted).all_inferred(held)
        return -float(mse_loss(inferred, fitted.item_vectors(held)))

    return fit(
        model,
        _windows_of(head[n_held:]),
        config,
        objective=inference_loss,
        validate=validate if n_held else None,
        seed=seed,
        workdir=workdir,
        stage="inference",
    )


def _windows_of(item_idx: np.ndarray) -> Windows:
    """A window an item, of nothing but the item, so that the loop goes through items."""
    return Windows(item_idx, item_idx[:, None], item_idx, np.full(len(item_idx), np.nan))


def replaced(matrix: Tensor, inference: Inference, contexts: ItemContexts, tail_count: int) -> Tensor:
    """Stage 3: vectors (N+1, D) with those of tail items inferred; one without a context keeps its own."""
    has_few = (contexts.counts > 0) & (contexts.counts <= tail_count)
    tail = has_few.nonzero().flatten()
    updated = matrix.detach().clone()
    updated[tail] = inference.all_inferred(tail)
    return updated


def train(setup: MethodSetup, options: CitiesOptions, *, seed: int, workdir: Path) -> Fitted:
    """Train the backbone, learn to infer head items from contexts, and replace the vectors of tail items.

    Raises InputError where no item is head, and what `fit` raises.
    """
    dataset = setup.dataset
    with drawn_weights(seed):
        model = SequenceModel(IdItems(dataset.n_items, setup.backbone.d_model), encoder(setup))
    base = setup.fit(model, stage="base", seed=seed, workdir=workdir)
    contexts = item_contexts(dataset.train, dataset.n_items, numpy_generator(seed, "cities contexts"))
    contexts, matrix = contexts.to(setup.device), base.model.item_matrix()
    learned = train_inference(matrix, contexts, setup, options, seed=seed, workdir=workdir)
    matrix = replaced(matrix, cast(Inference, learned.model), contexts, options.tail_count)
    items = IdItems.from_matrix(matrix.cpu().numpy())
    whole = SequenceModel(items, base.model.backbone).to(setup.device).eval()
    return joined(whole, {"base": base, "inference": learned}, main="base")
