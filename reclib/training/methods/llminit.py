"""LLMInit: the table of item vectors starts from the text embeddings, and is trained as usual.

The name is [FAERec] §5.1.3's for a kind of method: LLM2BERT4Rec (Harte et al., RecSys 2023), SAID, Elephant.
Taken from LLM2BERT4Rec: embeddings come to width D by PCA and start the item table, nothing is frozen. Not
taken: SAID's item embeddings, which are learned so that a language model writes the item's text from them;
ours are those of a frozen encoder. Two reductions instead of PCA are options: the most varying dimensions,
one choice of Zhang et al., "LLMInit: A Free Lunch from Large Language Models for Selective Initialization of
Recommendation", arXiv 2503.01814, and the first dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from reclib.models.items import TextStartedItems, largest_variance, pca, truncated
from reclib.models.sequence_model import SequenceModel
from reclib.schema import settle
from reclib.training.loop import Fitted
from reclib.training.methods.starting import drawn_weights, encoder, text_matrix

if TYPE_CHECKING:
    from reclib.training.methods import MethodSetup

REDUCTIONS = {"pca": pca, "truncated": truncated, "largest_variance": largest_variance}


@dataclass(frozen=True, kw_only=True)
class LLMInitOptions:
    """Options of LLMInit.

    reduction: how embeddings come to width D; scale: what they are multiplied by before training
    """

    reduction: Literal["pca", "truncated", "largest_variance"] = "pca"
    scale: float = 1.0

    def __post_init__(self) -> None:
        settle(self, "llminit", positive=("scale",))


GRID = tuple(
    LLMInitOptions(reduction=reduction, scale=scale)
    for reduction in ("pca", "largest_variance")
    for scale in (1.0, 0.3, 3.0)
)


def train(setup: MethodSetup, options: LLMInitOptions, *, seed: int, workdir: Path) -> Fitted:
    """Train the backbone on a table that starts from the texts.

    Raises InputError where item texts are missing, and what `fit` raises.
    """
    text = text_matrix(setup, "LLMInit")
    start = REDUCTIONS[options.reduction](text, setup.backbone.d_model)
    with drawn_weights(seed):
        model = SequenceModel(TextStartedItems.from_matrix(options.scale * start), encoder(setup))
    return setup.fit(model, seed=seed, workdir=workdir)
