"""What the methods that read item texts start from: the texts, an encoder, and weights drawn from a seed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from reclib.models.backbones import build_backbone
from reclib.schema import InputError
from reclib.seeding import derived_seed

if TYPE_CHECKING:
    from reclib.training.methods import MethodSetup


@contextlib.contextmanager
def drawn_weights(seed: int) -> Iterator[None]:
    """Modules made here draw their weights from the seed; global state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, "weights"))
        yield


def text_matrix(setup: MethodSetup, method: str) -> np.ndarray:
    """Text embeddings (N+1, E) of the setup; InputError where there are none, or of another catalogue."""
    if setup.text is None:
        raise InputError(f"{method} reads item texts: give its setup the text embeddings of the catalogue")
    matrix, n_items = setup.text.matrix, setup.dataset.n_items
    if len(matrix) != n_items + 1:
        raise InputError(
            f"{method}: text embeddings of {len(matrix) - 1} items for a catalogue of {n_items}: embed the"
            " texts of this one"
        )
    return matrix


def encoder(setup: MethodSetup) -> nn.Module:
    """The backbone of the setup, for histories as long as those of training."""
    return build_backbone(setup.backbone, max_length=setup.dataset.train.history.shape[1])
