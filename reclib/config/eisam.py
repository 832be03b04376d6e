"""Settings of the study of EISAM against its relatives, on sequence recommenders."""

from __future__ import annotations

from dataclasses import dataclass, field

from reclib.config.data import DataConfig, SyntheticConfig
from reclib.config.lm import EvaluationConfig
from reclib.config.sequence import BackboneConfig, SequenceTrainConfig
from reclib.schema import settle


@dataclass(frozen=True, kw_only=True)
class EisamConfig:
    """What sharpness-aware training is compared on, and how far its settings are varied.

    data, backbone, train, evaluation: one group a step; others: sources of further data sets, all else alike
    n_settings: settings of each method's list that are trained; the best on validation is reported
    n_buckets: groups of items by popularity that the CC-SAM-style step perturbs for, a pass each
    radii, penalties, gammas: ρ, λ and γ, each varied around the default of `SharpnessConfig`
    small, small_train: data and training on which the exact item-wise step can be paid for
    matched_windows: training windows of the comparison at matched training loss, None for all
    matched_epochs: of ERM there; others may take three times as many to come to its loss
    items_per_decile: items whose sharpness is measured, of each tenth by popularity
    """

    data: DataConfig = field(default_factory=DataConfig)
    others: tuple[str, ...] = ()
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    train: SequenceTrainConfig = field(
        default_factory=lambda: SequenceTrainConfig(loss="cross_entropy", positions="last")
    )
    evaluation: EvaluationConfig = field(default_factory=lambda: EvaluationConfig(n_windows=1_000_000))
    n_settings: int = 1
    n_buckets: int = 8
    radii: tuple[float, ...] = (0.02, 0.05, 0.1, 0.2)
    penalties: tuple[float, ...] = (0.4, 0.8, 1.0)
    gammas: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    small: DataConfig = field(default_factory=lambda: DataConfig(source="synthetic", history_length=6))
    small_train: SequenceTrainConfig = field(
        default_factory=lambda: SequenceTrainConfig(loss="cross_entropy", positions="last", batch_size=32)
    )
    matched_windows: int | None = 16_384
    matched_epochs: int = 4
    items_per_decile: int = 20

    def __post_init__(self) -> None:
        counts = ("n_settings", "n_buckets", "matched_windows", "matched_epochs", "items_per_decile")
        settle(self, "eisam", positive=(*counts, "radii"), not_negative=("penalties", "gammas"))


SMOKE_EISAM = EisamConfig(
    data=DataConfig(source="synthetic", history_length=4, synthetic=SyntheticConfig(n_users=100, n_items=60)),
    backbone=BackboneConfig(d_model=8, n_layers=1),
    train=SequenceTrainConfig(
        loss="cross_entropy", positions="last", epochs=2, batch_size=64, learning_rate=1e-2
    ),
    evaluation=EvaluationConfig(n_windows=1_000_000, bootstrap=200),
    n_buckets=2,
    radii=(0.05, 0.2),
    penalties=(0.8,),
    gammas=(0.0, 0.5),
    small=DataConfig(source="synthetic", history_length=4, synthetic=SyntheticConfig(n_users=60, n_items=30)),
    small_train=SequenceTrainConfig(
        loss="cross_entropy", positions="last", epochs=1, batch_size=16, learning_rate=1e-2
    ),
    matched_windows=96,
    matched_epochs=2,
    items_per_decile=2,
)

# Sized so that notebooks 22, 23 and 24 take five minutes together on one core.
DEFAULT_EISAM = EisamConfig(
    data=DataConfig(source="ml-100k", history_length=6),
    backbone=BackboneConfig(d_model=32, n_layers=1),
    train=SequenceTrainConfig(
        loss="cross_entropy", positions="last", epochs=2, batch_size=128, learning_rate=5e-3
    ),
    n_buckets=4,
    radii=(0.05, 0.2),
    penalties=(0.4, 0.8),
    gammas=(0.0, 0.5, 1.0),
    small=DataConfig(source="synthetic", history_length=6, synthetic=SyntheticConfig()),
    small_train=SequenceTrainConfig(
        loss="cross_entropy", positions="last", epochs=2, batch_size=32, learning_rate=1e-2
    ),
)

# No setting is printed in the paper's abstract, which is all of it that is at hand.
PAPER_EISAM = EisamConfig(
    data=DataConfig(
        source="ml_1m",  # ours: a third-party page names MovieLens-1M (specification, K10)
        history_length=10,  # ours: as [MSL] §5.1.1
        min_interactions=5,  # ours: as [MSL] §5.1.1
        min_rating=None,  # ours
        split="leave_one_out",  # ours: our copy of MovieLens-1M has an order and no timestamps
        empty_title="keep",  # ours: titles are not read
        max_title_characters=None,  # ours
    ),
    others=("msl_office", "msl_toy"),  # ours: the abstract has three data sets, two of them unknown
    backbone=BackboneConfig(
        name="sasrec",  # ours: the abstract's recommenders are language models
        d_model=64,  # ours
        n_layers=2,  # ours
        n_heads=2,  # ours
        dropout=0.2,  # ours: a method without a setting of its own is tried at others
    ),
    train=SequenceTrainConfig(
        loss="cross_entropy",  # ours: EISAM is loss-agnostic (specification §2)
        n_negatives=1,  # ours: not read by cross-entropy
        calibration=0.75,  # ours: not read by cross-entropy
        positions="last",  # ours: one target a window, as a language model is trained
        epochs=100,  # ours
        evaluate_every=1,  # ours
        patience=5,  # ours
        batch_size=256,  # ours: the specification has 64 to 128
        learning_rate=1e-3,  # ours
        weight_decay=0.0,  # ours
    ),
    evaluation=EvaluationConfig(
        cutoffs=(5, 10),  # ours: specification §8
        n_windows=1_000_000,  # ours: all
        bootstrap=10_000,  # ours
    ),
    n_settings=4,  # ours: the same for every method
    n_buckets=8,  # ours: specification §8
    radii=(0.01, 0.02, 0.05, 0.1, 0.2),  # ours: specification §8
    penalties=(0.1, 0.3, 0.5, 0.8, 1.0),  # ours: specification §8
    gammas=(0.0, 0.25, 0.5, 0.75, 1.0),  # ours: specification §4.2 and §8
    small=DataConfig(
        source="synthetic",  # ours
        history_length=6,  # ours
        min_interactions=5,  # ours
        min_rating=None,  # ours
        split="windows",  # ours
        empty_title="drop",  # ours
        max_title_characters=300,  # ours
        synthetic=SyntheticConfig(n_users=1000, n_items=200),  # ours
    ),
    small_train=SequenceTrainConfig(
        loss="cross_entropy",  # ours
        n_negatives=1,  # ours: not read by cross-entropy
        calibration=0.75,  # ours: not read by cross-entropy
        positions="last",  # ours
        epochs=10,  # ours
        evaluate_every=1,  # ours
        patience=5,  # ours
        batch_size=64,  # ours
        learning_rate=3e-3,  # ours
        weight_decay=0.0,  # ours
    ),
    matched_windows=None,  # ours: all
    matched_epochs=20,  # ours
    items_per_decile=100,  # ours
)
