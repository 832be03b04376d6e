"""Traditional recommenders as the MSL paper compares them: tuned on validation, trained on all of train.

Where a data set has no published validation part, `data.load` carves one from the end of training. Its
windows are the latest before the test, and a model that never sees them is behind; so the setting and the
number of epochs are chosen on it, and the model that is tested is trained on both parts for as long.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from reclib import artifacts
from reclib.analysis.sequence import drop_checkpoints
from reclib.analysis.workbench import DATA_SEED
from reclib.artifacts import Artifact
from reclib.config import BackboneConfig, DataConfig, SequenceTrainConfig
from reclib.data.dataset import Dataset, Windows
from reclib.data.popularity import count_interactions
from reclib.evaluation.full_ranking import rank_windows, validation_ndcg
from reclib.schema import RANK, TARGET_IDX
from reclib.training.loop import Fitted
from reclib.training.methods import METHODS, MethodSetup

CUTOFF = 10
TRIED = ["learning_rate", "dropout", "weight_decay", "ndcg", "epochs", "seconds"]


@dataclass(frozen=True, kw_only=True)
class TraditionalConfig:
    """A method on a backbone, and the settings it is tuned over: all combinations of the three lists.

    data, backbone, train: what stays; method: of `training.methods.METHODS`, with its defaults
    """

    data: DataConfig
    backbone: BackboneConfig
    train: SequenceTrainConfig
    method: str = "base"
    learning_rates: tuple[float, ...] = (1e-3, 3e-4)
    dropouts: tuple[float, ...] = (0.2, 0.5)
    weight_decays: tuple[float, ...] = (0.0,)

    def settings(self) -> list[tuple[float, float, float]]:
        """Every (learning_rate, dropout, weight_decay)."""
        return list(itertools.product(self.learning_rates, self.dropouts, self.weight_decays))


@dataclass(frozen=True, kw_only=True)
class RefitConfig:
    """A tuned recommender that is trained on training and validation windows and ranks the test windows."""

    data: DataConfig
    backbone: BackboneConfig
    train: SequenceTrainConfig
    method: str


class TraditionalBench:
    """One data set whose traditional recommenders are tuned, trained and ranked as cached steps."""

    def __init__(
        self,
        dataset: Dataset,
        artifact: Callable[..., Artifact] = artifacts.get_or_compute,
        *,
        device: str | None = None,
    ) -> None:
        self.dataset = dataset
        self.artifact = artifact
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")

    def tuned(self, config: TraditionalConfig) -> Artifact:
        """Table "tried" of all settings, and "chosen", the one of the best NDCG@10 on validation."""
        return self._step("tune_traditional", tune_step, config, seed=DATA_SEED)

    def tested(self, config: TraditionalConfig, *, seed: int) -> Artifact:
        """Table "windows": rank of each test target, seen items kept, and without them; and "trace"."""
        chosen = self.tuned(config)["chosen"]
        whole = RefitConfig(
            data=config.data,
            backbone=replace(config.backbone, dropout=chosen["dropout"]),
            train=replace(
                config.train,
                learning_rate=chosen["learning_rate"],
                weight_decay=chosen["weight_decay"],
                epochs=int(chosen["epochs"]),
            ),
            method=config.method,
        )
        return self._step("train_traditional", train_step, whole, seed=seed)

    def _step(self, name: str, step: Callable[..., Any], config: Any, *, seed: int) -> Artifact:
        upstream = [self.dataset.fingerprint]
        return self.artifact(name, step, config, upstream=upstream, seed=seed, bench=self)

    def fit(
        self,
        config: RefitConfig | TraditionalConfig,
        dataset: Dataset,
        *,
        is_validated: bool,
        seed: int,
        workdir: Path,
    ) -> Fitted:
        """The method trained on the training part of a data set, until validation ends it or to the end."""
        method = METHODS[config.method]
        setup = MethodSetup(
            dataset=dataset,
            text=None,
            backbone=config.backbone,
            train=config.train,
            validate=validation_ndcg(dataset, k=CUTOFF) if is_validated else None,
            device=self.device,
        )
        return method.train(setup, method.options(), seed=seed, workdir=workdir)


def tune_step(
    config: TraditionalConfig, *, seed: int, workdir: Path, bench: TraditionalBench
) -> dict[str, Any]:
    """Train every setting on the training part alone; the test part is never read.

    A setting that an earlier, killed process has finished is not run again.
    """
    rows = []
    for place, setting in enumerate(config.settings()):
        done = workdir / f"tried_{place}.json"
        if not done.is_file():
            row = _tried(config, setting, bench, seed=seed, workdir=workdir / f"setting_{place}")
            artifacts.atomic_write(done, partial(Path.write_text, data=json.dumps(row), encoding="utf-8"))
        rows.append(json.loads(done.read_text("utf-8")))
    tried = pd.DataFrame(rows, columns=TRIED)
    chosen = rows[int(tried["ndcg"].argmax())]
    return {"tried": tried, "chosen": dict(zip(TRIED, chosen, strict=True))}


def _tried(
    config: TraditionalConfig,
    setting: tuple[float, float, float],
    bench: TraditionalBench,
    *,
    seed: int,
    workdir: Path,
) -> tuple[float, ...]:
    """A row of `TRIED`."""
    learning_rate, dropout, weight_decay = setting
    workdir.mkdir(exist_ok=True)
    whole = replace(
        config,
        backbone=replace(config.backbone, dropout=dropout),
        train=replace(config.train, learning_rate=learning_rate, weight_decay=weight_decay),
    )
    fitted = bench.fit(whole, bench.dataset, is_validated=True, seed=seed, workdir=workdir)
    drop_checkpoints(workdir)
    best = fitted.trace[fitted.trace["name"] == "validation"]["value"].max()
    return (*setting, float(best), fitted.best_epoch + 1, fitted.seconds)


def train_step(config: RefitConfig, *, seed: int, workdir: Path, bench: TraditionalBench) -> dict[str, Any]:
    """Train on training and validation windows for the chosen number of epochs; rank the test windows."""
    whole = with_validation(bench.dataset)
    fitted = bench.fit(config, whole, is_validated=False, seed=seed, workdir=workdir)
    rank = partial(rank_windows, fitted.model, whole.test, cutoff=CUTOFF, device=bench.device)
    ranks = {RANK: rank(seen="kept"), "rank_without_seen": rank(seen="removed")}
    drop_checkpoints(workdir)
    windows = pd.DataFrame({"window": np.arange(len(whole.test)), TARGET_IDX: whole.test.target_idx, **ranks})
    return {"windows": windows, "trace": fitted.trace}


def with_validation(dataset: Dataset) -> Dataset:
    """The same data set, its validation windows at the end of the training part."""
    first, second = dataset.train, dataset.valid
    both = Windows(
        np.concatenate([first.user_id, second.user_id]),
        np.concatenate([first.history, second.history]),
        np.concatenate([first.target_idx, second.target_idx]),
        np.concatenate([first.timestamp, second.timestamp]),
    )
    return replace(dataset, train=both, counts=count_interactions(both, dataset.n_items))
