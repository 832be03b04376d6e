"""Trainings whose curvature and loss are kept context by context, at chosen epochs.

κ depends on how far a model is fitted; so the loss of the same windows is measured at the same moments,
without dropout, and trainings are compared where it is equal (§8 of the specification of TF-LLMER).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from reclib.analysis.sequence import drop_checkpoints
from reclib.analysis.tf_llmer.curvature import COLUMNS, curvature_table, some_contexts
from reclib.analysis.tf_llmer.geometry import GeometryBench
from reclib.analysis.tf_llmer.geometry_starts import RANDOM, item_module
from reclib.analysis.workbench import DATA_SEED
from reclib.artifacts import Artifact
from reclib.config import BackboneConfig, DataConfig, SequenceTrainConfig
from reclib.data.dataset import Windows
from reclib.kernels.sequence_losses import catalogue_cross_entropy
from reclib.models.backbones import build_backbone
from reclib.models.sequence_model import SequenceModel
from reclib.schema import PAD_IDX
from reclib.seeding import torch_generator
from reclib.training.loop import fit
from reclib.training.methods.starting import drawn_weights
from reclib.training.sequence_batches import ORDER_VERSION, Batch
from reclib.training.sequence_objectives import Context, predicted_positions

EPOCH, CONTEXT, LOSS, BOUND = "epoch", "context", "loss", "bound"
ABOVE = 1e-5  # share by which float32 may let an eigenvalue pass the bound of float64


@dataclass(frozen=True, kw_only=True)
class GeometryRunConfig:
    """What a measured training depends on, beside its seed and its text table.

    start, table: of the item vectors, see `geometry_starts`; scale: s, None without normalisation
    weight, n_neighbours: λ and the graph of the starts that read one
    """

    data: DataConfig
    backbone: BackboneConfig
    train: SequenceTrainConfig
    start: str
    table: str
    scale: float | None
    weight: float
    n_neighbours: int
    n_contexts: int
    epochs_kept: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class GeometryRun:
    """One training: what its items start from, whether they are normalised, from which seed."""

    start: str
    table: str
    is_normalised: bool
    seed: int


def train_runs(bench: GeometryBench, runs: Iterable[GeometryRun]) -> dict[GeometryRun, Artifact]:
    """The artifact of every training, from the cache or computed now, in order."""
    settings, done = bench.settings, {}
    for run in runs:
        config = GeometryRunConfig(
            data=bench.data,
            backbone=settings.backbone,
            train=settings.train,
            start=run.start,
            table="" if run.start == RANDOM else run.table,
            scale=settings.scale if run.is_normalised else None,
            weight=settings.weight,
            n_neighbours=settings.n_neighbours,
            n_contexts=settings.n_contexts,
            epochs_kept=settings.epochs_kept,
        )
        texts = [] if run.start == RANDOM else [bench.embedded(run.table)]
        done[run] = bench.artifact(
            "train_geometry",
            run_step,
            config,
            upstream=[bench.dataset.fingerprint, *texts],
            seed=run.seed,
            schema_version=ORDER_VERSION[config.train.positions],
            bench=bench,
        )
    return done


def run_step(config: GeometryRunConfig, *, seed: int, workdir: Path, bench: GeometryBench) -> dict[str, Any]:
    """Train and measure. Returns "contexts" (epoch, context, loss, the columns of curvature) and "trace".

    All epochs are trained, nothing is validated. Raises ArithmeticError where an eigenvalue passes the bound
    max r² ≥ λ_max, which is s² of normalised items: (2) would be wrong.
    """
    dataset = bench.dataset
    with drawn_weights(seed):
        items = item_module(bench, config.start, config.table, weight=config.weight, scale=config.scale)
        encoder = build_backbone(config.backbone, max_length=dataset.train.history.shape[1])
        model = SequenceModel(items, encoder).to(bench.device)
    measure = Measure(training_contexts(dataset.train, config.n_contexts), config, workdir)
    fitted = fit(
        model,
        dataset.train,
        config.train,
        validate=None,
        seed=seed,
        workdir=workdir,
        extra_terms=[measure],
    )
    measure.keep(fitted.model, config.train.epochs)
    contexts = measure.collected()
    drop_checkpoints(workdir)
    return {"contexts": contexts, "trace": fitted.trace}


def training_contexts(windows: Windows, n_contexts: int) -> Windows:
    """The last training windows of some users, the same for every training: what "all" positions train on."""
    last = ~pd.Series(windows.user_id).duplicated(keep="last").to_numpy()
    chosen = windows.take(last & (windows.history != PAD_IDX).any(axis=1))
    return some_contexts(chosen, n_contexts, seed=DATA_SEED)


class Measure:
    """A term that adds 0 to the loss and keeps curvature and loss of each context in files, when it is due.

    Before the first step of an epoch, so that epoch 0 is the model as drawn. A training that goes on after
    a kill finds the files of the epochs before.
    """

    def __init__(self, contexts: Windows, config: GeometryRunConfig, folder: Path) -> None:
        self.contexts, self.config, self.folder = contexts, config, folder
        self._epoch = -1

    def __call__(
        self, model: SequenceModel, batch: Batch, context: Context
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Zero, without parts."""
        if context.epoch != self._epoch:
            self._epoch = context.epoch
            self.keep(model, context.epoch)
        return torch.zeros((), device=model.device), {}

    def keep(self, model: SequenceModel, epoch: int) -> None:
        """Measure the model after so many epochs, if they are among those kept."""
        if epoch not in self.config.epochs_kept:
            return
        table = curvature_table(model, self.contexts)
        beyond = table["lambda_max"] > table[BOUND] * (1 + ABOVE)
        if beyond.any():
            worst = table.loc[beyond].iloc[0]
            raise ArithmeticError(f"λ_max is {worst['lambda_max']}, above its bound {worst[BOUND]}")
        table = table[[*COLUMNS, BOUND]]
        table.insert(0, EPOCH, epoch)
        table.insert(1, CONTEXT, np.arange(len(table)))
        table.insert(2, LOSS, window_losses(model, self.contexts))
        table.to_csv(self.folder / f"contexts_{epoch}.csv", index=False)

    def collected(self) -> pd.DataFrame:
        """All that was kept, in the order of epochs; the files are removed."""
        paths = [self.folder / f"contexts_{epoch}.csv" for epoch in sorted(self.config.epochs_kept)]
        tables = [pd.read_csv(path) for path in paths]
        for path in paths:
            path.unlink()
        return pd.concat(tables, ignore_index=True)[[EPOCH, CONTEXT, LOSS, *COLUMNS, BOUND]]


@torch.no_grad()
def window_losses(model: SequenceModel, windows: Windows) -> np.ndarray:
    """Mean −log p of the items that each window trains to predict, (W,), without dropout."""
    was_training = model.training
    model.eval()
    batch = Batch(
        torch.from_numpy(windows.history).long().to(model.device),
        torch.from_numpy(windows.target_idx).long().to(model.device),
        torch.arange(len(windows), device=model.device),
    )
    predicted = predicted_positions(model, batch, "all", torch_generator(0, "measured", str(model.device)))
    losses = catalogue_cross_entropy(predicted.states, model.item_matrix(), predicted.target)
    model.train(was_training)
    window = predicted.at.nonzero()[:, 0]
    total = torch.zeros(len(windows), device=model.device).index_add_(0, window, losses)
    return (total / predicted.at.sum(dim=1)).double().cpu().numpy()
