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
