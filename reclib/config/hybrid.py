"""Settings of language models that read vectors of a sequence recommender, and of grounding."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from reclib.config.sequence import TextConfig
from reclib.schema import settle


@dataclass(frozen=True, kw_only=True)
class AlignConfig:
    """How items' collaborative vectors and the embeddings of their texts are brought together.

    text: what embeds the texts; width: of the space both are encoded in
    item_weight, text_weight: of the losses that vectors and embeddings are reconstructed by
    epochs, batch_size, learning_rate: of Adam, over all training windows
    """

    text: TextConfig = field(default_factory=TextConfig)
    width: int = 128  # released code
    item_weight: float = 0.5  # released code
    text_weight: float = 0.2  # released code
    epochs: int = 10
    batch_size: int = 256
    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        positive = ("width", "epochs", "batch_size", "learning_rate")
        settle(self, "align", positive=positive, not_negative=("item_weight", "text_weight"))


@dataclass(frozen=True, kw_only=True)
class GroundingConfig:
    """How a free generation becomes a list of items.

    num_beams: of the generation, whose best beam is taken; spare_tokens: beyond those of the longest title
    pooling: of a text's last hidden states: that of its "last" token, or the "mean"
    gammas: γ that are tried on validation windows where distances are re-weighted
    users_per_batch: generated and ranked at once
    """

    num_beams: int = 4  # released code
    spare_tokens: int = 4
    pooling: Literal["last", "mean"] = "last"  # released code
    gammas: tuple[float, ...] = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
    users_per_batch: int = 16

    def __post_init__(self) -> None:
        positive = ("num_beams", "users_per_batch")
        settle(self, "grounding", positive=positive, not_negative=("spare_tokens", "gammas"))


@dataclass(frozen=True, kw_only=True)
class HybridConfig:
    """LLaRA, A-LLMRec, and BIGRec's grounding.

    curriculum: of LLaRA's prompts: "rising" from text alone to text with vectors, or one of both throughout
    align: of A-LLMRec's first stage; grounding: of answers that are generated freely
    """

    curriculum: Literal["rising", "hybrid", "text"] = "rising"
    align: AlignConfig = field(default_factory=AlignConfig)
    grounding: GroundingConfig = field(default_factory=GroundingConfig)

    def __post_init__(self) -> None:
        settle(self, "hybrid")


SMOKE_HYBRID = HybridConfig(
    align=AlignConfig(text=TextConfig(encoder="random"), width=16, epochs=2, learning_rate=1e-2),
    grounding=GroundingConfig(num_beams=2),
)

PAPER_HYBRID = HybridConfig(
    curriculum="rising",  # released code of LLaRA: linear over training
    align=AlignConfig(
        text=TextConfig(
            encoder="all-minilm-l6-v2",  # ours: A-LLMRec tunes a distilbert of sentence-transformers
            max_tokens=256,  # ours: the encoder's limit
        ),
        width=128,  # released code of A-LLMRec
        item_weight=0.5,  # released code of A-LLMRec
        text_weight=0.2,  # released code of A-LLMRec
        epochs=10,  # released code of A-LLMRec: what its second stage takes up
        batch_size=256,  # ours
        learning_rate=1e-3,  # ours: the released code has 1e-4 with batches of 60
    ),
    grounding=GroundingConfig(
        num_beams=4,  # released code of BIGRec
        spare_tokens=4,  # ours
        pooling="last",  # released code of BIGRec
        gammas=(0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0),  # ours: 0 to 99 in steps there
        users_per_batch=16,  # ours
    ),
)
