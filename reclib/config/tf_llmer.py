"""Settings of the comparison of TF-LLMER: item tables and text adapters under one budget of tuning."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from reclib.config.sequence import BackboneConfig, SequenceTrainConfig, TextConfig
from reclib.schema import InputError, settle


@dataclass(frozen=True, kw_only=True)
class TFLLMERConfig:
    """What TF-LLMER is compared on; data and evaluation but for these are those of sequence recommenders.

    sources: data sets; text: what embeds items, pooling: of a causal LM, over all tokens or the "last_token"
    backbones: those that all methods are compared on; backbone, train: what stays
    learning_rates: tried for every method; weights: λ of Rec-PCA, scales: s of normalised items, best guess
    first; tuning: settings of its own that each method is tried with, at every learning rate
    seeds: tuning is done with the first, the others train what it chose; curve_seeds: more of them for the
    training curves
    """

    sources: tuple[str, ...] = ("ml-100k",)
    text: TextConfig = field(default_factory=TextConfig)
    pooling: Literal["mean", "last_token"] = "mean"
    backbones: tuple[str, ...] = ("gru4rec",)
    backbone: BackboneConfig = field(default_factory=lambda: BackboneConfig(d_model=32, n_layers=1))
    train: SequenceTrainConfig = field(
        default_factory=lambda: SequenceTrainConfig(
            loss="cross_entropy", epochs=16, patience=16, batch_size=128
        )
    )
    learning_rates: tuple[float, ...] = (3e-3, 1e-2, 3e-2)
    weights: tuple[float, ...] = (1.0,)
    scales: tuple[float, ...] = (4.0,)
    tuning: int = 1
    seeds: tuple[int, ...] = (0,)
    curve_seeds: tuple[int, ...] = (1,)

    def __post_init__(self) -> None:
        positive = ("learning_rates", "scales", "tuning")
        settle(self, "tf_llmer", positive=positive, not_negative=("weights",))
        for name in ("sources", "backbones", "learning_rates", "weights", "scales", "seeds"):
            if not getattr(self, name):
                raise InputError(f"tf_llmer.{name} is empty: name at least one")


SMOKE_TF_LLMER = TFLLMERConfig(
    sources=("synthetic",),
    text=TextConfig(encoder="random"),
    backbone=BackboneConfig(name="gru4rec", d_model=8, n_layers=1),
    train=SequenceTrainConfig(loss="cross_entropy", epochs=2, batch_size=64),
    learning_rates=(1e-2,),
    weights=(0.4,),
    curve_seeds=(),
)

# The paper's own settings are not known; those of its baselines are told by our specification.
PAPER_TF_LLMER = TFLLMERConfig(
    sources=("scientific_2018",),  # ours: games_2018, msl_office and msl_toy by override
    text=TextConfig(
        encoder="all-minilm-l6-v2",  # ours: the paper's LM is not known; a causal LM by override
        max_tokens=256,  # ours: the encoder's limit
    ),
    pooling="mean",  # ours: §6 of the specification
    backbones=("gru4rec", "sasrec", "bert4rec", "hstu"),  # ours: §6 of the specification
    backbone=BackboneConfig(
        name="gru4rec",  # ours: a cell names its own
        d_model=64,  # ours: §6 of the specification, 64 or 128
        n_layers=2,  # the baselines' code: LLM2Rec, by §1 of the specification
        n_heads=2,  # ours
        dropout=0.3,  # the baselines' code: LLM2Rec, by §1 of the specification
    ),
    train=SequenceTrainConfig(
        loss="cross_entropy",  # the baselines' code: LLM2Rec, by §1 of the specification
        n_negatives=1,  # ours: not read by cross-entropy
        calibration=0.75,  # ours: not read by cross-entropy
        positions="all",  # ours
        epochs=100,  # ours
        evaluate_every=1,  # ours
        patience=20,  # the baselines' code: LLM2Rec, by §1 of the specification
        batch_size=256,  # the baselines' code: LLM2Rec, by §1 of the specification
        learning_rate=1e-3,  # ours: a cell names its own
        weight_decay=0.0,  # ours: none on tables by §5 of the specification, and one rule for all methods
    ),
    learning_rates=(3e-4, 1e-3, 3e-3),  # ours: §6 of the specification
    weights=(1.0, 1.1, 0.9),  # ours: within what acts and is feasible, §4.3 of the specification
    scales=(8.0, 4.0),  # ours: §5 of the specification
    tuning=3,  # ours: the same for every method
    seeds=(0, 1, 2, 3, 4),  # ours: five, §6 of the specification
    curve_seeds=(),  # ours: five are enough
)
