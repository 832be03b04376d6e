"""Settings of traditional recommenders beside the language models: what they are tuned over."""

from __future__ import annotations

from dataclasses import dataclass, field

from reclib.config.sequence import BackboneConfig, SequenceTrainConfig
from reclib.schema import InputError, settle


@dataclass(frozen=True, kw_only=True)
class TraditionalConfig:
    """Sequence encoders without a language model, on the windows that language models are compared on.

    sources: data sets, all else of the data as the profile has it; backbones: of `models.backbones`
    backbone, train: what stays; learning_rates, dropouts, weight_decays: all combinations are tried
    """

    sources: tuple[str, ...] = ("ml-100k",)
    backbones: tuple[str, ...] = ("sasrec", "bert4rec")
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    train: SequenceTrainConfig = field(
        default_factory=lambda: SequenceTrainConfig(
            loss="cross_entropy", positions="last", epochs=60, patience=6
        )
    )
    learning_rates: tuple[float, ...] = (1e-3,)
    dropouts: tuple[float, ...] = (0.2, 0.5)
    weight_decays: tuple[float, ...] = (0.0,)

    def __post_init__(self) -> None:
        settle(self, "traditional")
        for name in ("sources", "backbones", "learning_rates", "dropouts", "weight_decays"):
            if not getattr(self, name):
                raise InputError(f"traditional.{name} is empty: name at least one")
