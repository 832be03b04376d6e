"""The backbone itself: a table of item vectors, and the recommendation loss alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from reclib.models.items import IdItems
from reclib.models.sequence_model import SequenceModel
from reclib.schema import settle
from reclib.training.loop import Fitted
from reclib.training.methods.starting import drawn_weights, encoder

if TYPE_CHECKING:
    from reclib.training.methods import MethodSetup


@dataclass(frozen=True, kw_only=True)
class BaseOptions:
    """Options of the backbone.

    dropout: of the backbone, instead of the setting's; None leaves it
    """

    dropout: float | None = None

    def __post_init__(self) -> None:
        if self.dropout is not None:
            settle(self, "base", share=("dropout",))


# It has no hyperparameter of its own, so its budget goes to the one that it is known to depend on.
GRID = tuple(BaseOptions(dropout=dropout) for dropout in (0.2, 0.1, 0.3, 0.4, 0.5, 0.0))


def train(setup: MethodSetup, options: BaseOptions, *, seed: int, workdir: Path) -> Fitted:
    """Train the backbone on its table of item vectors. Raises what `fit` raises."""
    model = untrained(setup, dropout=options.dropout, seed=seed)
    return setup.fit(model, seed=seed, workdir=workdir)


def untrained(setup: MethodSetup, *, dropout: float | None, seed: int) -> SequenceModel:
    """The backbone on a table of item vectors; dropout: instead of the setting's, None leaves it."""
    if dropout is not None:
        setup = replace(setup, backbone=replace(setup.backbone, dropout=dropout))
    with drawn_weights(seed):
        return SequenceModel(IdItems(setup.dataset.n_items, setup.backbone.d_model), encoder(setup))
