"""Traditional recommenders as the MSL paper compares them: tuned on validation, trained on all of train.

Where a data set has no published validation part, `data.load` carves one from the end of training. Its
windows are the latest before the test, and a model that never sees them is behind; so the setting and the
number of epochs are chosen on it, and the model that is tested is trained on both parts for as long.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reclib import artifacts
from reclib.analysis.sequence import drop_checkpoints, try_each
from reclib.analysis.workbench import DATA_SEED, usual_device
from reclib.artifacts import Artifact
from reclib.config import BackboneConfig, DataConfig, SequenceTrainConfig
from reclib.data.dataset import Dataset, Windows, joined
from reclib.data.popularity import count_interactions
from reclib.evaluation.full_ranking import rank_windows, validation_ndcg
from reclib.schema import RANK, TARGET_IDX
from reclib.training.loop import Fitted
from reclib.training.methods import MethodSetup, base
from reclib.training.sequence_batches import ORDER_VERSION

CUTOFF = 10
TRIED = ["learning_rate", "dropout", "weight_decay", "ndcg", "epochs", "seconds"]


@dataclass(frozen=True, kw_only=True)
class TuneTraditionalConfig:
    """What the tuning of one backbone on one data set depends on; all combinations of the lists are tried."""

    data: DataConfig
    backbone: BackboneConfig
    train: SequenceTrainConfig
    learning_rates: tuple[float, ...]
    dropouts: tuple[float, ...]
    weight_decays: tuple[float, ...]

    def settings(self) -> list[tuple[float, float, float]]:
        """Every (learning_rate, dropout, weight_decay)."""
        return list(itertools.product(self.learning_rates, self.dropouts, self.weight_decays))


@dataclass(frozen=True, kw_only=True)
class RefitConfig:
    """A tuned recommender that is trained on training and validation windows and ranks the test windows."""

    data: DataConfig
    backbone: BackboneConfig
    train: SequenceTrainConfig


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
        self.device = device or usual_device()

    @cached_property
    def whole(self) -> Dataset:
        """The data set with its validation windows at the end of the training part."""
        return with_validation(self.dataset)

    def tuned(self, config: TuneTraditionalConfig) -> Artifact:
        """Table "tried" of all settings, and "chosen", the one of the best NDCG@10 on validation."""
        return self._step("tune_traditional", tune_step, config, seed=DATA_SEED)

    def tested(self, config: TuneTraditionalConfig, *, seed: int) -> Artifact:
        """Table "windows": rank of each test target, seen items kept, and without them; and "trace"."""
        chosen = self.tuned(config)["chosen"]
        learning_rate, dropout, weight_decay = (chosen[name] for name in TRIED[:3])
        changed = with_setting(config, (learning_rate, dropout, weight_decay))
        whole = RefitConfig(
            data=config.data,
            backbone=changed.backbone,
            train=replace(changed.train, epochs=int(chosen["epochs"])),
        )
        return self._step("train_traditional", train_step, whole, seed=seed)

    def _step(self, name: str, step: Callable[..., Any], config: Any, *, seed: int) -> Artifact:
        upstream = [self.dataset.fingerprint]
        version = ORDER_VERSION[config.train.positions]
        return self.artifact(
            name, step, config, upstream=upstream, seed=seed, schema_version=version, bench=self
        )

    def fit(
        self,
        config: RefitConfig | TuneTraditionalConfig,
        dataset: Dataset,
        *,
        is_validated: bool,
        seed: int,
        workdir: Path,
    ) -> Fitted:
        """The backbone trained on the training part of a data set, until validation ends it or to the end."""
        setup = MethodSetup(
            dataset=dataset,
            text=None,
            backbone=config.backbone,
            train=config.train,
            validate=validation_ndcg(dataset, k=CUTOFF) if is_validated else None,
            device=self.device,
        )
        return base.train(setup, base.BaseOptions(), seed=seed, workdir=workdir)


def tune_step(
    config: TuneTraditionalConfig, *, seed: int, workdir: Path, bench: TraditionalBench
) -> dict[str, Any]:
    """Train every setting on the training part alone; the test part is never read.

    A setting that an earlier, killed process has finished is not run again.
    """
    rows = try_each(config.settings(), partial(_tried, config, bench, seed), workdir=workdir)
    tried = pd.DataFrame(rows, columns=TRIED)
    chosen = rows[int(tried["ndcg"].argmax())]
    return {"tried": tried, "chosen": dict(zip(TRIED, chosen, strict=True))}


def _tried(
    config: TuneTraditionalConfig,
    bench: TraditionalBench,
    seed: int,
    setting: tuple[float, float, float],
    folder: Path,
) -> tuple[float, ...]:
    """A row of `TRIED`."""
    whole = with_setting(config, setting)
    fitted = bench.fit(whole, bench.dataset, is_validated=True, seed=seed, workdir=folder)
    best = fitted.trace[fitted.trace["name"] == "validation"]["value"].max()
    return (*setting, float(best), fitted.best_epoch + 1, fitted.seconds)


def with_setting(config: TuneTraditionalConfig, setting: tuple[float, float, float]) -> TuneTraditionalConfig:
    """The configuration with one (learning_rate, dropout, weight_decay) of its settings."""
    learning_rate, dropout, weight_decay = setting
    return replace(
        config,
        backbone=replace(config.backbone, dropout=dropout),
        train=replace(config.train, learning_rate=learning_rate, weight_decay=weight_decay),
    )


def train_step(config: RefitConfig, *, seed: int, workdir: Path, bench: TraditionalBench) -> dict[str, Any]:
    """Train on training and validation windows for the chosen number of epochs; rank the test windows."""
    whole = bench.whole
    fitted = bench.fit(config, whole, is_validated=False, seed=seed, workdir=workdir)
    windows = tested_windows(fitted, whole.test, device=bench.device)
    drop_checkpoints(workdir)
    return {"windows": windows, "trace": fitted.trace}


def tested_windows(fitted: Fitted, test: Windows, *, device: str) -> pd.DataFrame:
    """Ranks of test targets: window, target_idx, rank, and rank_without_seen, where seen items are out."""
    rank = partial(rank_windows, fitted.model, test, cutoff=CUTOFF, device=device)
    ranks = {RANK: rank(seen="kept"), "rank_without_seen": rank(seen="removed")}
    return pd.DataFrame({"window": np.arange(len(test)), TARGET_IDX: test.target_idx, **ranks})


def with_validation(dataset: Dataset) -> Dataset:
    """The same data set, its validation windows at the end of the training part."""
    both = joined(dataset.train, dataset.valid)
    return replace(dataset, train=both, counts=count_interactions(both, dataset.n_items))
