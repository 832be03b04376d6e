"""A table of item vectors that starts at random or from the texts, and is trained as usual.

Four methods of one loop, each with or without item normalisation (`norm`); TF-LLMER's own start, Rec-PCA, is
in `tf_llmer`. What each start is taken from:

* "random": normal with a small deviation. A text is not read.
* LLMInit: chosen dimensions of the text embeddings as they are ([LLMInit] = Zhang et al., arXiv 2503.01814):
  random ones, evenly spaced ones, or the most varying ones among popular items. Taken from its public code:
  the three choices, and that nothing is centred or scaled. Not taken: its graph recommenders, and that users
  start from the mean of their items; a sequence encoder has no table of users.
* "pca": principal components of texts of length one, divided by their mean length (`item_projection`).
* "whitened": the same, of equal variance. After Zhang et al., "Are ID Embeddings Necessary? Whitening
  Pre-trained Text Embeddings for Effective Sequential Recommendation" (WhitenRec, arXiv 2402.10602), which
  keeps whitened texts frozen behind a projection; here they start a table, as in the other rows of a
  comparison. `is_trained=False` freezes any table.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from reclib.models.items import IdItems
from reclib.models.items.dimensions import Choice, chosen_dimensions
from reclib.models.items.ids import ID_STD
from reclib.models.sequence_model import SequenceModel
from reclib.models.unit_states import UnitStates
from reclib.schema import PAD_IDX, settle
from reclib.seeding import numpy_generator
from reclib.training.item_projection import ProjectionOptions, TextGeometry
from reclib.training.loop import Fitted
from reclib.training.methods.item_norm import ItemNorm, with_norm
from reclib.training.methods.starting import drawn_weights, encoder, text_matrix

if TYPE_CHECKING:
    from reclib.training.methods import MethodSetup


@dataclass(frozen=True, kw_only=True)
class RandomInitOptions:
    """Options of a table that starts at random.

    std: of each entry at the start; norm: of the vectors in use, None leaves them as they are
    """

    std: float = ID_STD
    norm: ItemNorm | None = None

    def __post_init__(self) -> None:
        settle(self, "random_init", positive=("std",))


@dataclass(frozen=True, kw_only=True)
class DimensionsOptions:
    """Options of LLMInit.

    choice: of the dimensions; scale: what they are multiplied by before training; norm: see `ItemNorm`
    """

    choice: Choice = "variance"
    scale: float = 1.0
    norm: ItemNorm | None = None

    def __post_init__(self) -> None:
        settle(self, "llminit_dimensions", positive=("scale",))


@dataclass(frozen=True, kw_only=True)
class ProjectedInitOptions:
    """Options of a table that starts from the principal components of the texts.

    start: "pca", or "whitened", of equal variance; scale: mean length before training
    norm: see `ItemNorm`; is_trained: whether the table moves
    """

    start: Literal["pca", "whitened"] = "pca"
    scale: float = 1.0
    norm: ItemNorm | None = None
    is_trained: bool = True

    def __post_init__(self) -> None:
        settle(self, "projected_init", positive=("scale",))


RANDOM_GRID = tuple(RandomInitOptions(std=std) for std in (ID_STD, 0.1, 0.05, 0.2, 0.01, 0.5))
DIMENSIONS_GRID = tuple(
    DimensionsOptions(choice=choice, scale=scale)
    for scale in (1.0, 3.0)
    for choice in ("variance", "even", "random")
)
PROJECTED_GRID = tuple(ProjectedInitOptions(scale=scale) for scale in (1.0, 3.0, 0.3, 2.0, 0.5, 0.1))


def train_random(setup: MethodSetup, options: RandomInitOptions, *, seed: int, workdir: Path) -> Fitted:
    """Train the backbone on a table drawn at random. Raises what `fit` raises."""
    shape = (setup.dataset.n_items + 1, setup.backbone.d_model)
    table = options.std * numpy_generator(seed, "random table").standard_normal(shape)
    table[PAD_IDX] = 0
    return train_table(setup, table, norm=options.norm, seed=seed, workdir=workdir)


def train_dimensions(setup: MethodSetup, options: DimensionsOptions, *, seed: int, workdir: Path) -> Fitted:
    """Train the backbone on a table of chosen dimensions of the texts.

    Raises InputError where item texts are missing or too narrow, and what `fit` raises.
    """
    text = text_matrix(setup, "LLMInit")
    table = chosen_dimensions(
        text,
        setup.backbone.d_model,
        choice=options.choice,
        counts=setup.dataset.counts,
        generator=numpy_generator(seed, "chosen dimensions"),
    )
    return train_table(setup, options.scale * table, norm=options.norm, seed=seed, workdir=workdir)


def train_projected(setup: MethodSetup, options: ProjectedInitOptions, *, seed: int, workdir: Path) -> Fitted:
    """Train the backbone on a table of principal components of the texts.

    Raises InputError where item texts are missing or too narrow, and what `fit` raises.
    """
    text = text_matrix(setup, "the start from principal components")
    found = TextGeometry(text, None).fit(setup.backbone.d_model, ProjectionOptions(method=options.start))
    table = options.scale * found.starting_table(numpy_generator(seed, "items without text"))
    return train_table(
        setup, table, norm=options.norm, is_trained=options.is_trained, seed=seed, workdir=workdir
    )


def train_table(
    setup: MethodSetup,
    table: np.ndarray,
    *,
    norm: ItemNorm | None,
    seed: int,
    workdir: Path,
    is_trained: bool = True,
    temperature: float | None = None,
) -> Fitted:
    """Train the backbone on a table that starts from (N+1, D).

    temperature: τ of states of length one (`models.unit_states`), None leaves states as they are. Raises
    InputError for a table with a value that is not finite, and what `fit` raises.
    """
    with drawn_weights(seed):
        items = IdItems.from_matrix(table)
        items.table.weight.requires_grad_(is_trained)
        backbone = encoder(setup)
        if temperature is not None:
            backbone = UnitStates(backbone, temperature=temperature)
        model = SequenceModel(with_norm(items, norm), backbone)
    return setup.fit(model, seed=seed, workdir=workdir)
