"""Settings of the study of TF-LLMER's geometry: text tables, their angles, curvature, and Rec-PCA."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from reclib.config.sequence import BackboneConfig, SequenceTrainConfig
from reclib.schema import InputError, settle


@dataclass(frozen=True, kw_only=True)
class GeometryConfig:
    """What the geometry of item tables is studied on, beside the data of sequence recommenders.

    encoder: a sentence encoder; lm: a causal LM, pooled over the mean and at the last token
    wording: an item's "titles" alone, or the prompt of all its "attributes"; max_tokens: longer are cut
    n_neighbours: K of the co-occurrence graph and of an item's neighbourhood
    weights: the λ of Rec-PCA that are swept, 0 first; widths: the d; weight: the λ of trained tables
    backbone, train: what tables are trained with; scale: s of normalised items
    n_contexts: training windows whose curvature and loss are measured; epochs_kept: when, epochs done
    cone_items, cone_width: of the made tables of formulas (4) and (5); n_draws: of the bounds (2) and (3)
    bootstrap: resamples of an interval
    """

    encoder: str = "all-minilm-l6-v2"
    lm: str = "smollm2-135m-instruct"
    wording: Literal["titles", "attributes"] = "titles"
    max_tokens: int = 64
    n_neighbours: int = 10
    weights: tuple[float, ...] = (0.0, 0.5, 0.8, 0.9, 1.0, 1.1, 1.2)
    widths: tuple[int, ...] = (16, 32, 64, 128)
    weight: float = 1.0
    backbone: BackboneConfig = field(
        default_factory=lambda: BackboneConfig(name="gru4rec", d_model=32, n_layers=1, dropout=0.1)
    )
    train: SequenceTrainConfig = field(
        default_factory=lambda: SequenceTrainConfig(loss="cross_entropy", epochs=40, learning_rate=3e-3)
    )
    scale: float = 4.0
    n_contexts: int = 128
    epochs_kept: tuple[int, ...] = (0, 1, 2, 3, 4, 6, 8, 10, 13, 16, 20, 25, 32, 40)
    cone_items: int = 20_000
    cone_width: int = 64
    n_draws: int = 10_000
    bootstrap: int = 1000

    def __post_init__(self) -> None:
        sizes = ("max_tokens", "n_neighbours", "widths", "n_contexts", "cone_items", "cone_width")
        positive = (*sizes, "n_draws", "bootstrap", "scale")
        settle(self, "geometry", positive=positive, not_negative=("weights", "weight", "epochs_kept"))
        if not self.weights or self.weights[0] != 0 or list(self.weights) != sorted(set(self.weights)):
            raise InputError(f"geometry.weights is {self.weights}: begin with 0 and let λ rise")
        if not self.widths or not self.epochs_kept:
            raise InputError("geometry.widths and geometry.epochs_kept: name at least one each")
        if max(self.epochs_kept) > self.train.epochs:
            raise InputError(
                f"geometry.epochs_kept goes to {max(self.epochs_kept)}, training to {self.train.epochs} "
                "epochs: keep none after the last"
            )


SMOKE_GEOMETRY = GeometryConfig(
    encoder="random",
    lm="random",
    weights=(0.0, 0.4, 0.8),
    widths=(4, 8),
    weight=0.4,
    backbone=BackboneConfig(name="gru4rec", d_model=8, n_layers=1, dropout=0.1),
    train=SequenceTrainConfig(loss="cross_entropy", epochs=3, batch_size=64, learning_rate=1e-2),
    n_contexts=24,
    epochs_kept=(0, 1, 3),
    cone_items=4000,
    cone_width=16,
    n_draws=200,
    bootstrap=100,
)

# The paper's own settings are not known; its baselines' and its authors' are told by our specification.
PAPER_GEOMETRY = GeometryConfig(
    encoder="all-minilm-l6-v2",  # ours
    lm="smollm2-135m-instruct",  # ours: the paper's LM is not known
    wording="attributes",  # ours: title and attributes, §6 of the specification
    max_tokens=256,  # ours
    n_neighbours=10,  # the authors' earlier public code by our specification, §1
    weights=(0.0, 0.5, 0.8, 0.9, 1.0, 1.1, 1.2),  # ours: §4.3 of the specification
    widths=(32, 64, 128, 256),  # ours: §4.3 of the specification
    weight=1.0,  # ours: §4.3 of the specification
    backbone=BackboneConfig(
        name="gru4rec",  # third parties: the paper's Figure 1, K7 of the specification
        d_model=64,  # ours: §6 of the specification, 64 or 128
        n_layers=1,  # ours
        n_heads=1,  # ours: not read by GRU4Rec
        dropout=0.1,  # ours: the first of §6
    ),
    train=SequenceTrainConfig(
        loss="cross_entropy",  # ours: full cross-entropy, §6 of the specification
        n_negatives=1,  # ours: not read by cross-entropy
        calibration=0.75,  # ours: not read by cross-entropy
        positions="all",  # ours
        epochs=60,  # ours
        evaluate_every=1,  # ours: nothing is validated
        patience=10,  # ours: nothing is validated
        batch_size=256,  # ours: §6 of the specification
        learning_rate=1e-3,  # ours: the middle one of §6
        weight_decay=0.0,  # ours: nothing but the loss moves what is measured
    ),
    scale=8.0,  # ours: §5 of the specification, 4 to 8
    n_contexts=512,  # ours
    epochs_kept=(0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 18, 22, 26, 32, 40, 50, 60),  # ours
    cone_items=20_000,  # ours: §3.3 of the specification
    cone_width=64,  # ours: §3.3 of the specification
    n_draws=10_000,  # ours
    bootstrap=10_000,  # ours
)
