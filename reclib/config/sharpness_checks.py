"""Settings of the checks of sharpness-aware steps on small models: the gap by item, and what a step costs."""

from __future__ import annotations

from dataclasses import dataclass

from reclib.schema import InputError, settle


@dataclass(frozen=True, kw_only=True)
class SharpnessChecksConfig:
    """Small models in which what EISAM claims can be measured in a minute.

    n_train, n_fresh: windows that a sequence recommender is trained on, and others of the same distribution
    epochs: of it; its setting is that of traditional recommenders; radius: ρ of all methods
    n_sharp: items whose sharpness is measured, a tenth in each decile of popularity
    catalogues: numbers of items at which a step is timed; batches: numbers of windows; rounds: least, of each
    """

    n_train: int = 12_000
    n_fresh: int = 24_000
    epochs: int = 8
    radius: float = 0.1
    n_sharp: int = 400
    catalogues: tuple[int, ...] = (100, 1_000, 10_000, 100_000)
    batches: tuple[int, ...] = (4, 8, 16, 32)
    rounds: int = 3

    def __post_init__(self) -> None:
        positive = ("n_train", "n_fresh", "epochs", "radius", "n_sharp", "catalogues", "batches", "rounds")
        settle(self, "checks", positive=positive)
        if len(self.catalogues) < 2 or len(self.batches) < 2:
            raise InputError("checks.catalogues and checks.batches need two sizes each, or nothing can grow")


SMOKE_CHECKS = SharpnessChecksConfig(
    n_train=400, n_fresh=400, epochs=2, n_sharp=40, catalogues=(50, 200), batches=(4, 8), rounds=1
)

PAPER_CHECKS = SharpnessChecksConfig(
    n_train=200_000,  # ours
    n_fresh=200_000,  # ours
    epochs=20,  # ours
    radius=0.1,  # ours
    n_sharp=2_000,  # ours
    catalogues=(100, 1_000, 10_000, 100_000),  # ours: the range of the specification's cost claim
    batches=(4, 8, 16, 32, 64),  # ours
    rounds=5,  # ours
)
