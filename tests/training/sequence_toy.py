"""A made data set and the smallest sequence models that learn it, for tests of the loop and the ranking."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn

from reclib.config import DataConfig, SequenceTrainConfig, SyntheticConfig
from reclib.data.dataset import Dataset
from reclib.data.load import load
from reclib.models.dropout import Dropout
from reclib.models.sequence_model import SequenceModel

WIDTH = 16


@lru_cache
def dataset() -> Dataset:
    """Users whose next item is a function of the last."""
    synthetic = SyntheticConfig(n_users=120, n_items=40, mean_length=9, learnability=1.0)
    config = DataConfig(
        source="synthetic", history_length=8, split="leave_one_out", min_interactions=3, synthetic=synthetic
    )
    return load(config, seed=0)


class Table(nn.Module):
    """An ID table."""

    def __init__(self, n_items: int, width: int) -> None:
        super().__init__()
        self.n_items = n_items
        self.table = nn.Embedding(n_items + 1, width, padding_idx=0)

    def forward(self, item_idx: Tensor) -> Tensor:
        return self.table(item_idx)

    def matrix(self) -> Tensor:
        return self.table.weight


class LastItem(nn.Module):
    """A state knows its own item only."""

    is_causal = True

    def __init__(self, width: int, *, dropout: float) -> None:
        super().__init__()
        self.linear, self.dropout = nn.Linear(width, width), Dropout(dropout)

    def forward(self, vectors: Tensor, mask: Tensor, *, last_only: bool = False) -> Tensor:
        states = self.dropout(vectors + self.linear(vectors)) * mask[..., None]
        return states[:, -1] if last_only else states


class LeftNeighbour(nn.Module):
    """Not causal: a state is its own vector and its left neighbour's, transformed."""

    is_causal = False

    def __init__(self, width: int, *, max_length: int) -> None:
        super().__init__()
        self.max_length = max_length
        self.mask_vector = nn.Parameter(torch.zeros(width))
        self.linear = nn.Linear(width, width)

    def forward(self, vectors: Tensor, mask: Tensor, *, last_only: bool = False) -> Tensor:
        left = torch.cat([torch.zeros_like(vectors[:, :1]), vectors[:, :-1]], dim=1)
        states = (vectors + left + self.linear(left)) * mask[..., None]
        return states[:, -1] if last_only else states


def make_model(*, seed: int = 0, is_causal: bool = True, dropout: float = 0.1) -> SequenceModel:
    data = dataset()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        length = data.train.history.shape[1]
        causal, cloze = LastItem(WIDTH, dropout=dropout), LeftNeighbour(WIDTH, max_length=length)
        return SequenceModel(Table(data.n_items, WIDTH), causal if is_causal else cloze)


def train_config(**fields: object) -> SequenceTrainConfig:
    values: dict[str, object] = {"epochs": 4, "batch_size": 32, "learning_rate": 1e-2}
    return SequenceTrainConfig(**(values | fields))  # type: ignore[arg-type]
