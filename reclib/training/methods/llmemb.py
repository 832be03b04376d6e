"""LLMEmb: frozen text embeddings behind an adapter that is kept near the vectors of a trained recommender.

[LLMEmb] = Liu et al., "LLMEmb: Large Language Model Can Be a Good Embedding Generator for Sequential
Recommendation", AAAI 2025 (arXiv 2409.19925). Its stages:

1. supervised contrastive fine-tuning of the language model on item attributes. Not here: text embeddings are
   those of the comparison, the same for every method;
2. recommendation adaptation training: a recommender with a table of IDs is trained first and its item vectors
   are kept; then an adapter of two linear layers over the frozen texts is trained with a fresh backbone, by
   the recommendation loss + α · the alignment of adapted and kept vectors.

From the public code: the adapter's two layers without a non-linearity, its middle of half the text's width,
the alignment by similarities (`kernels.alignment.similarity_alignment`), α = 0.01, τ = 2. Changed: the kept
vectors are those of the same backbone, there of SASRec for all; the alignment is over the distinct items of a
batch, there over its predicted positions; texts are as wide as the encoder makes them, there reduced by PCA.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from reclib.kernels.alignment import similarity_alignment
from reclib.models.items import IdItems
from reclib.models.items.fused import distinct_items
from reclib.models.sequence_model import SequenceModel
from reclib.models.text_adapter import TextAdapter
from reclib.schema import settle
from reclib.training.loop import Fitted
from reclib.training.methods.item_norm import ItemNorm, with_norm
from reclib.training.methods.starting import drawn_weights, encoder, text_matrix
from reclib.training.methods.text_adapters import even_length
from reclib.training.sequence_batches import Batch
from reclib.training.sequence_objectives import Context
from reclib.training.stages import joined

if TYPE_CHECKING:
    from reclib.training.methods import MethodSetup

MAIN, BEFORE = "main", "collaborative"


@dataclass(frozen=True, kw_only=True)
class LLMEmbOptions:
    """Options of LLMEmb.

    alignment_weight: α; temperature: τ of the alignment; norm: see `ItemNorm`
    """

    alignment_weight: float = 0.01
    temperature: float = 2.0
    norm: ItemNorm | None = None

    def __post_init__(self) -> None:
        settle(self, "llmemb", positive=("temperature",), not_negative=("alignment_weight",))


GRID = tuple(
    LLMEmbOptions(alignment_weight=weight, temperature=temperature)
    for temperature in (2.0, 0.5)
    for weight in (0.01, 0.1, 0.001)
)


class Adaptation:
    """The term α · mean over the distinct items of a batch of the alignment with kept vectors.

    kept: (N+1, D), without gradient. Source: [LLMEmb], public code.
    """

    def __init__(self, kept: Tensor, options: LLMEmbOptions) -> None:
        self.kept, self.options = kept, options

    def __call__(
        self, model: SequenceModel, batch: Batch, context: Context
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted loss, and the loss itself."""
        item_idx = distinct_items(batch.history, batch.target)
        adapted, kept = model.items(item_idx), self.kept[item_idx]
        loss = similarity_alignment(kept, adapted, temperature=self.options.temperature).mean()
        return self.options.alignment_weight * loss, {"alignment": loss.detach()}


def train(setup: MethodSetup, options: LLMEmbOptions, *, seed: int, workdir: Path) -> Fitted:
    """Train a recommender by IDs, then adapter and backbone with its vectors in view.

    The trace holds both stages; the names of the first begin with "collaborative". Raises InputError where
    item texts are missing, and what `fit` raises.
    """
    text, d_model = even_length(text_matrix(setup, "LLMEmb")), setup.backbone.d_model
    with drawn_weights(seed):
        by_id = SequenceModel(IdItems(setup.dataset.n_items, d_model), encoder(setup))
        adapter = TextAdapter(text, d_model, hidden=text.shape[1] // 2)
        model = SequenceModel(with_norm(adapter, options.norm), encoder(setup))
    before = setup.fit(by_id, stage=BEFORE, seed=seed, workdir=workdir)
    kept = before.model.item_matrix().detach().clone()
    terms = [Adaptation(kept, options)]
    main = setup.fit(model, stage=MAIN, extra_terms=terms, seed=seed, workdir=workdir)
    return joined(model, {BEFORE: before, MAIN: main}, main=MAIN)
