"""Methods on a tuned backbone as the MSL paper compares them: DROS, and DLLM2Rec with its teacher.

The backbone's learning rate, dropout and weight decay are those that were chosen for it alone
(`analysis.msl.traditional`), so that a method differs by itself; the method's own options are tuned on
validation in the same way, and the model that is tested is trained on training and validation windows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reclib.analysis.msl.traditional import (
    CUTOFF,
    TRIED,
    TraditionalBench,
    TuneTraditionalConfig,
    tested_windows,
    with_setting,
)
from reclib.analysis.sequence import drop_checkpoints, try_each
from reclib.analysis.workbench import DATA_SEED
from reclib.artifacts import Artifact
from reclib.config import BackboneConfig, DataConfig, SequenceTrainConfig, canonical_json
from reclib.data.dataset import Dataset
from reclib.evaluation.full_ranking import validation_ndcg
from reclib.training.loop import Fitted
from reclib.training.methods import METHODS, MethodSetup, schema_version
from reclib.training.reasoned import ReasonedWindows
from reclib.training.teacher import Teacher

_TRIED = ["options", "ndcg", "epochs", "seconds"]


@dataclass(frozen=True, kw_only=True)
class TuneMethodConfig:
    """What the tuning of a method depends on; tried: settings of its grid."""

    data: DataConfig
    backbone: BackboneConfig
    train: SequenceTrainConfig
    method: str
    tried: tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class RefitMethodConfig:
    """A tuned method that is trained on training and validation windows and ranks the test windows."""

    data: DataConfig
    backbone: BackboneConfig
    train: SequenceTrainConfig
    method: str
    options: Any


class MethodBench:
    """Methods on the backbones of one data set, tuned, trained and ranked as cached steps.

    backbones: where each backbone's own setting comes from
    teacher: of the training windows followed by the validation windows, for methods that read one
    examples: of the training windows, for methods that read some
    """

    def __init__(
        self,
        backbones: TraditionalBench,
        *,
        teacher: Teacher | None = None,
        examples: ReasonedWindows | None = None,
    ) -> None:
        self.backbones = backbones
        self.teacher, self.examples = teacher, examples

    def tuned(self, config: TuneTraditionalConfig, method: str, *, budget: int) -> Artifact:
        """Table "tried" of the method's settings, and "chosen": the place of the best, and its epochs."""
        settled = self._settled(config)
        tuning = TuneMethodConfig(
            data=config.data,
            backbone=settled.backbone,
            train=settled.train,
            method=method,
            tried=METHODS[method].grid[:budget],
        )
        return self._step("tune_method", tune_method_step, tuning, seed=DATA_SEED)

    def tested(self, config: TuneTraditionalConfig, method: str, *, budget: int, seed: int) -> Artifact:
        """Tables "windows", as of `TraditionalBench.tested`, and "trace".

        A budget of 0 takes the first of the method's settings, and the epochs of the backbone alone.
        """
        settled = self._settled(config)
        chosen = {"place": 0, "epochs": self.backbones.tuned(config)["chosen"]["epochs"]}
        if budget:
            chosen = self.tuned(config, method, budget=budget)["chosen"]
        whole = RefitMethodConfig(
            data=config.data,
            backbone=settled.backbone,
            train=replace(settled.train, epochs=int(chosen["epochs"])),
            method=method,
            options=METHODS[method].grid[chosen["place"]],
        )
        return self._step("train_method", train_method_step, whole, seed=seed)

    def _settled(self, config: TuneTraditionalConfig) -> TuneTraditionalConfig:
        """The configuration with what was chosen for the backbone alone."""
        chosen = self.backbones.tuned(config)["chosen"]
        learning_rate, dropout, weight_decay = (chosen[name] for name in TRIED[:3])
        return with_setting(config, (learning_rate, dropout, weight_decay))

    def _step(
        self, name: str, step: Any, config: TuneMethodConfig | RefitMethodConfig, *, seed: int
    ) -> Artifact:
        upstream = [self.backbones.dataset.fingerprint]
        if METHODS[config.method].reads_teacher and self.teacher is not None:
            upstream.append(self.teacher.fingerprint)
        if METHODS[config.method].reads_examples and self.examples is not None:
            upstream.append(self.examples.fingerprint)
        version = schema_version(config.method, config.train.positions)
        return self.backbones.artifact(
            name, step, config, upstream=upstream, seed=seed, schema_version=version, bench=self
        )

    def fit(
        self,
        config: TuneMethodConfig | RefitMethodConfig,
        options: Any,
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
            device=self.backbones.device,
            teacher=self._teacher_of(dataset) if method.reads_teacher else None,
            examples=self.examples if method.reads_examples else None,
        )
        return method.train(setup, options, seed=seed, workdir=workdir)

    def _teacher_of(self, dataset: Dataset) -> Teacher | None:
        """The teacher of a data set's training part: of all its windows, or of the first of them."""
        every = self.backbones.whole.train
        if self.teacher is None or dataset.train.fingerprint == every.fingerprint:
            return self.teacher
        return self.teacher.take(every, np.arange(len(dataset.train)))


def tune_method_step(
    config: TuneMethodConfig, *, seed: int, workdir: Path, bench: MethodBench
) -> dict[str, Any]:
    """Train the method's settings on the training part alone; the test part is never read.

    A setting that an earlier, killed process has finished is not run again.
    """
    rows = try_each(config.tried, partial(_tried, config, bench, seed), workdir=workdir)
    tried = pd.DataFrame(rows, columns=_TRIED)
    best = int(tried["ndcg"].argmax())
    return {"tried": tried, "chosen": {"place": best, "epochs": int(tried["epochs"][best])}}


def _tried(
    config: TuneMethodConfig, bench: MethodBench, seed: int, options: Any, folder: Path
) -> tuple[str, float, int, float]:
    """A row of `_TRIED`."""
    fitted = bench.fit(config, options, bench.backbones.dataset, is_validated=True, seed=seed, workdir=folder)
    best = fitted.trace[fitted.trace["name"] == "validation"]["value"].max()
    return canonical_json(options), float(best), fitted.best_epoch + 1, fitted.seconds


def train_method_step(
    config: RefitMethodConfig, *, seed: int, workdir: Path, bench: MethodBench
) -> dict[str, Any]:
    """Train on training and validation windows for the chosen number of epochs; rank the test windows."""
    whole = bench.backbones.whole
    fitted = bench.fit(config, config.options, whole, is_validated=False, seed=seed, workdir=workdir)
    windows = tested_windows(fitted, whole.test, device=bench.backbones.device)
    drop_checkpoints(workdir)
    return {"windows": windows, "trace": fitted.trace}
