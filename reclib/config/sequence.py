"""Settings of a sequence recommender: its backbone, item text and training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from reclib.config.data import DataConfig
from reclib.config.lm import EvaluationConfig
from reclib.schema import settle


@dataclass(frozen=True, kw_only=True)
class BackboneConfig:
    """A sequence encoder.

    name: of `models.backbones.BACKBONES`; d_model: D, width of items and states; n_layers: blocks
    n_heads: attention heads, where there are any; dropout: share of dropped activations
    """

    name: str = "sasrec"
    d_model: int = 64
    n_layers: int = 2
    n_heads: int = 2
    dropout: float = 0.2

    def __post_init__(self) -> None:
        settle(self, "backbone", positive=("d_model", "n_layers", "n_heads"), share=("dropout",))


@dataclass(frozen=True, kw_only=True)
class SequenceTrainConfig:
    """Training of a sequence recommender.

    loss: what a predicted position costs; n_negatives: sampled items a position, for all but cross-entropy
    calibration: t of gBCE, 0 is plain binary cross-entropy
    positions: "all" positions of each user's last training window, the "last" of every training window, or
        "every" position of every training window (windows that slide over a user repeat most of them)
    epochs: at most; evaluate_every: epochs between two validations
    patience: validations without a better NDCG@10 after which training stops
    batch_size: windows a step; learning_rate, weight_decay: of Adam
    """

    loss: Literal["bce", "cross_entropy", "sampled_softmax", "gbce"] = "bce"
    n_negatives: int = 1
    calibration: float = 0.75
    positions: Literal["all", "last", "every"] = "all"
    epochs: int = 200
    evaluate_every: int = 1
    patience: int = 10
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        positive = ("n_negatives", "epochs", "evaluate_every", "patience", "batch_size", "learning_rate")
        settle(self, "train", positive=positive, not_negative=("weight_decay",), share=("calibration",))


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """Text embeddings of items.

    encoder: an asset or a folder: a sentence encoder, or a causal LM whose last hidden states are averaged
    max_tokens: longer texts are cut
    """

    encoder: str = "all-minilm-l6-v2"
    max_tokens: int = 128

    def __post_init__(self) -> None:
        settle(self, "text", positive=("max_tokens",))


@dataclass(frozen=True, kw_only=True)
class SequenceConfig:
    """The settings of sequence recommenders, one group a step, and the size of their comparisons.

    data, text, backbone, train, evaluation: one group a step
    others: sources of further data sets that methods are compared on, all else set like `data`
    backbones: those that all methods are compared on; more_backbones: those of FAERec and nothing else
    ablation_backbones: those that FAERec loses its parts on; () for all of `backbones`
    redundancies, alignments: the λ and the α that FAERec's sensitivity is shown at
    tuning: settings of its grid that each method is tuned over, on validation; 0 takes its defaults
    tuned_on: the backbone whose choice all backbones take; None tunes each method on each backbone
    """

    data: DataConfig = field(default_factory=lambda: DataConfig(split="leave_one_out", history_length=50))
    text: TextConfig = field(default_factory=TextConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    train: SequenceTrainConfig = field(default_factory=SequenceTrainConfig)
    evaluation: EvaluationConfig = field(
        default_factory=lambda: EvaluationConfig(cutoffs=(5, 10, 20), n_windows=1_000_000)
    )
    others: tuple[str, ...] = ("synthetic",)
    backbones: tuple[str, ...] = ("sasrec",)
    more_backbones: tuple[str, ...] = ("fmlp", "lrurec", "narm", "lightsans", "gmlp")
    ablation_backbones: tuple[str, ...] = ()
    redundancies: tuple[float, ...] = (0.001, 0.01, 0.1)
    alignments: tuple[float, ...] = (0.1, 0.3, 0.5)
    tuning: int = 0
    tuned_on: str | None = None

    def __post_init__(self) -> None:
        settle(self, "sequence", positive=("redundancies", "alignments"), not_negative=("tuning",))
