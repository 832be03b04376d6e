"""The least a method needs: a made data set, texts that differ by item, and a backbone that reads back."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reclib.config import BackboneConfig
from reclib.evaluation.full_ranking import validation_ndcg
from reclib.training.loop import Batch
from reclib.training.methods import MethodSetup
from reclib.training.sequence_objectives import Context
from tests.training.sequence_toy import WIDTH, Table, dataset, train_config

TEXT_WIDTH = 24


def text_matrix() -> np.ndarray:
    """Texts of the toy data set's items, (N+1, E)."""
    text = np.random.default_rng(5).normal(size=(dataset().n_items + 1, TEXT_WIDTH)).astype(np.float32)
    text[0] = 0
    return text


class Recurrent(nn.Module):
    """Causal: a gated recurrence over the items so far, to which padding adds nothing."""

    is_causal = True

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRU(WIDTH, WIDTH, bias=False, batch_first=True)

    def forward(self, vectors: Tensor, mask: Tensor, *, last_only: bool = False) -> Tensor:
        states = self.cell(vectors * mask[..., None])[0] * mask[..., None]
        return states[:, -1] if last_only else states


def built(make: Callable[[], Any], seed: int = 0) -> Any:
    """A model whose weights are drawn from a seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make()


def table() -> Table:
    return Table(dataset().n_items, WIDTH)


def some_batch(n_windows: int = 32) -> Batch:
    windows = dataset().train
    rows = np.arange(0, len(windows), max(1, len(windows) // n_windows))[:n_windows]
    return Batch(
        torch.from_numpy(windows.history[rows]).long(),
        torch.from_numpy(windows.target_idx[rows]).long(),
        torch.from_numpy(rows),
    )


def context(seed: int = 0) -> Context:
    return Context(0, 0, 1, torch.Generator().manual_seed(seed))


def setup(*, backbone: str = "gru4rec", **train: object) -> MethodSetup:
    """What a method's `train` is given."""
    data = dataset()
    text: Any = SimpleNamespace(matrix=text_matrix())
    return MethodSetup(
        dataset=data,
        text=text,
        backbone=BackboneConfig(name=backbone, d_model=WIDTH, n_layers=1, dropout=0.1),
        train=train_config(**train),
        validate=validation_ndcg(data, k=10),
    )
