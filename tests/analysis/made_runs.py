"""Runs of sequence recommenders whose ranks are made, so that every table of them has a known answer."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from reclib import config
from reclib.analysis.sequence_cells import Cell
from reclib.config import DataConfig, Profile
from reclib.data.dataset import Dataset
from reclib.data.load import load
from reclib.data.popularity import is_head

PROFILE = config.override(
    config.SMOKE,
    **{
        "sequence.data.synthetic.n_users": 400,
        "sequence.data.synthetic.zipf_exponent": 1.2,
        "sequence.evaluation.bootstrap": 200,
    },
)


class MadeBench:
    """The part of a bench that tables read."""

    profile: Profile = PROFILE

    def dataset(self, data: DataConfig) -> Dataset:
        return made_dataset(data)


@lru_cache
def made_dataset(data: DataConfig) -> Dataset:
    return load(data, seed=0)


def made_run(ranks: np.ndarray, items: np.ndarray | None = None) -> dict[str, Any]:
    """An artifact with some ranks (0 is missing) and lists."""
    rank = pd.Series(ranks, dtype="Int64").mask(ranks == 0)
    lists = np.tile(np.arange(1, 21), (len(ranks), 1)) if items is None else items
    windows = pd.DataFrame({"window": np.arange(len(ranks)), "rank": rank})
    summary = {"parameters": 100, "backbone_parameters": 10, "train_windows": 5, "train_cpu_seconds": 2.0}
    return {"windows": windows, "lists": {"items": lists}, "summary": summary}


def cell(label: str, *, backbone: str = "sasrec", seed: int = 0) -> Cell:
    method = "faerec" if label.startswith(("without_", "redundancy_", "alignment_")) else label
    return Cell(data=PROFILE.sequence.data, backbone=backbone, method=method, label=label, seed=seed)


def is_tail() -> np.ndarray:
    dataset = MadeBench().dataset(PROFILE.sequence.data)
    return ~is_head(dataset.counts)[dataset.test.target_idx]


def grid(hits: Mapping[str, tuple[float, float]], *, seed: int = 0) -> dict[Cell, Any]:
    """Runs by label: shares of head and of tail targets that stand at rank 1, the others are missing.

    The better of two runs hits whatever the worse one hits.
    """
    tail = is_tail()
    order = np.zeros(len(tail))
    for member in (tail, ~tail):
        order[member] = np.linspace(0, 1, member.sum(), endpoint=False)
    return {
        cell(label, seed=seed): made_run(np.where(order < np.where(tail, of_tail, of_head), 1, 0))
        for label, (of_head, of_tail) in hits.items()
    }
