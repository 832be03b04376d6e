"""The backbone itself: a table of item vectors, and the recommendation loss alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from reclib.models.backbones import build_backbone
from reclib.models.items import IdItems
from reclib.models.sequence_model import SequenceModel
from reclib.schema import settle
from reclib.training.loop import Fitted, fit
from reclib.training.methods.starting import drawn_weights

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
    backbone = setup.backbone
    if options.dropout is not None:
        backbone = replace(backbone, dropout=options.dropout)
    with drawn_weights(seed):
        items = IdItems(setup.dataset.n_items, backbone.d_model)
        encoder = build_backbone(backbone, max_length=setup.dataset.train.history.shape[1])
        model = SequenceModel(items, encoder)
    return fit(
        model.to(setup.device),
        setup.dataset.train,
        setup.train,
        validate=setup.validate,
        seed=seed,
        workdir=workdir,
        counts=setup.dataset.counts,
    )
