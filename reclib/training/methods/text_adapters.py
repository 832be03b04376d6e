"""Frozen text embeddings behind a small trained network, which reads histories and scores items.

Two methods, each with or without item normalisation (`norm`):

* frozen + adapter, the protocol that LLM2Rec's embeddings are evaluated in (arXiv 2506.21579; the settings
  by our specification of TF-LLMER, §1): text embeddings stay frozen, one linear layer with Xavier's start
  brings them to the width of the backbone, and the full catalogue is the softmax. LLM2Rec's own subject,
  training the language model, is not part of it.
* AlphaRec's item network (Sheng et al., "Language Representations Can Be What Recommenders Need", arXiv
  2407.05441): frozen text, a linear layer, LeakyReLU, a linear layer. Taken from its public code: that shape.
  Not taken: its graph convolution and its loss of cosines over τ, for the encoder of histories and the
  cross-entropy here are those of every other row.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from reclib.models.sequence_model import SequenceModel
from reclib.models.text_adapter import LinearTextItems, TextAdapter
from reclib.schema import settle
from reclib.training.loop import Fitted
from reclib.training.methods.item_norm import ItemNorm, with_norm
from reclib.training.methods.starting import drawn_weights, encoder, text_matrix

if TYPE_CHECKING:
    from reclib.training.methods import MethodSetup


@dataclass(frozen=True, kw_only=True)
class FrozenAdapterOptions:
    """Options of frozen + adapter.

    scale: what text embeddings, of mean length one, are multiplied by; norm: see `ItemNorm`
    """

    scale: float = 1.0
    norm: ItemNorm | None = None

    def __post_init__(self) -> None:
        settle(self, "frozen_adapter", positive=("scale",))


@dataclass(frozen=True, kw_only=True)
class AlphaRecOptions:
    """Options of AlphaRec's item network.

    hidden: its inner width over the text's; scale, norm: as in `FrozenAdapterOptions`
    """

    hidden: float = 0.5
    scale: float = 1.0
    norm: ItemNorm | None = None

    def __post_init__(self) -> None:
        settle(self, "alpharec", positive=("hidden", "scale"))


FROZEN_GRID = tuple(FrozenAdapterOptions(scale=scale) for scale in (1.0, 3.0, 10.0, 0.3, 2.0, 5.0))
ALPHAREC_GRID = tuple(
    AlphaRecOptions(hidden=hidden, scale=scale) for hidden in (0.5, 1.0) for scale in (1.0, 3.0, 10.0)
)


def train_frozen(setup: MethodSetup, options: FrozenAdapterOptions, *, seed: int, workdir: Path) -> Fitted:
    """Train the backbone and a linear map of the frozen texts.

    Raises InputError where item texts are missing, and what `fit` raises.
    """
    text = options.scale * even_length(text_matrix(setup, "the frozen adapter"))
    with drawn_weights(seed):
        items = LinearTextItems(text, setup.backbone.d_model)
        model = SequenceModel(with_norm(items, options.norm), encoder(setup))
    return setup.fit(model, seed=seed, workdir=workdir)


def train_alpharec(setup: MethodSetup, options: AlphaRecOptions, *, seed: int, workdir: Path) -> Fitted:
    """Train the backbone and AlphaRec's network over the frozen texts.

    Raises InputError where item texts are missing, and what `fit` raises.
    """
    text = options.scale * even_length(text_matrix(setup, "AlphaRec"))
    hidden = max(1, round(options.hidden * text.shape[1]))
    with drawn_weights(seed):
        items = TextAdapter(text, setup.backbone.d_model, hidden=hidden, between=nn.LeakyReLU())
        model = SequenceModel(with_norm(items, options.norm), encoder(setup))
    return setup.fit(model, seed=seed, workdir=workdir)


def even_length(text: np.ndarray) -> np.ndarray:
    """Text embeddings (N+1, E) over the mean length of those that have any, so that encoders start alike."""
    length = np.linalg.norm(text, axis=1)
    return text / length[length > 0].mean() if length.any() else text
