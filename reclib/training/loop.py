"""One lean loop for sequence recommenders: epochs, validation, early stopping, and going on after a kill."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from reclib.config import SequenceTrainConfig, SharpnessConfig
from reclib.data.dataset import Windows
from reclib.models.products import float32_products
from reclib.models.sequence_model import SequenceModel
from reclib.schema import InputError
from reclib.seeding import derived_seed, torch_generator
from reclib.training.epoch_lines import EpochLines
from reclib.training.optim import Sharpness
from reclib.training.parameter_groups import decay_groups
from reclib.training.sequence_batches import Batch, WindowBatches, predicted_counts
from reclib.training.sequence_checkpoints import (
    Weights,
    copy_weights,
    load_checkpoint,
    load_optimiser,
    optimiser_state,
    save_checkpoint,
    trained_weights,
)
from reclib.training.sequence_objectives import Context, Objective, SequenceObjective, Term
from reclib.training.sequence_sharpness import SharpObjective

SECONDS_BETWEEN_CHECKPOINTS = 20.0

__all__ = ["Batch", "Context", "Fitted", "Objective", "Term", "fit"]

Validate = Callable[[SequenceModel], float]
EpochStart = Callable[[int, torch.Generator], None]


@dataclass
class Fitted:
    """A trained model.

    model: the one given, with its best weights; trace: (epoch, name, value) of every epoch
    best_epoch: from 0, the last where nothing was validated; seconds: of training and validation
    """

    model: SequenceModel
    trace: pd.DataFrame
    best_epoch: int
    seconds: float


@dataclass
class _Progress:
    """What a checkpoint says of the epochs done; JSON values."""

    identity: str
    epoch: int = 0
    best_epoch: int = -1
    best_value: float = -math.inf
    n_without_gain: int = 0
    seconds: float = 0.0
    is_done: bool = False


def fit(
    model: SequenceModel,
    windows: Windows,
    config: SequenceTrainConfig,
    *,
    objective: Objective | None = None,
    validate: Validate | None,
    seed: int,
    workdir: Path,
    counts: np.ndarray | None = None,
    extra_terms: Sequence[Term] = (),
    epoch_start: EpochStart | None = None,
    stage: str = "main",
    sharpness: SharpnessConfig | None = None,
    prior: np.ndarray | None = None,
) -> Fitted:
    """Train a model, in place, with Adam until validation has not risen for `patience` validations.

    objective: by default that of `config`; counts: (N+1,) for its sampling, see `SequenceObjective`
    validate: larger is better; None trains all epochs and keeps the last; extra_terms: added to the loss
    epoch_start: called with each epoch's number, from 0, and its generator, before its first batch
    stage: name of the checkpoint, so that several trainings of one method share `workdir`
    sharpness: the objective's gradient is that of its step (`training.optim`), while extra terms are taken at
    θ; its items are weighed by how often an epoch predicts them, and by `prior` (N+1,) under weight "prior"

    A training that was killed goes on from `workdir/<stage>.safetensors` and ends as a straight run does;
    one that ended is not repeated. Frozen parameters, and buffers that are not persistent, are not written.
    Draws come from generators of the seed, the stage and the epoch; global state is left as it was.
    A checkpoint must be of the same windows, `config`, seed, stage, shapes of trained weights, and
    `sharpness` with its weights of items. Nothing else is checked: trainings that differ in the objective,
    `counts`, `extra_terms`, `epoch_start`, `validate` or frozen parameters need a `workdir` or a stage each.
    Raises InputError for a loss that is not finite, naming epoch and step, for a checkpoint that differs in
    what is checked, for items outside the catalogue, and for `sharpness` of another kind of objective.
    """
    objective = objective or SequenceObjective(config, n_items=model.n_items, counts=counts)
    step = None
    if sharpness is not None:
        predicted = predicted_counts(windows, model.n_items, config.positions)
        step = Sharpness(sharpness, predicted, prior=prior, device=model.device)
        objective = SharpObjective(objective, step, stage=stage)
    identity = _identity(model, windows, config, step, seed, stage)
    training = _Training(model, windows, config, seed=seed, stage=stage, workdir=workdir, identity=identity)
    terms = [objective, *extra_terms]
    lines = EpochLines(stage, n_epochs=config.epochs, done=training.progress.epoch)
    while not training.progress.is_done:
        numbers = training.epoch(terms, epoch_start)
        training.validate(validate, numbers)
        lines.show(numbers)
        training.record(numbers)
    lines.close()
    return training.finish()


class _Training:
    """One training: the optimiser, the best weights so far, and their file."""

    def __init__(
        self,
        model: SequenceModel,
        windows: Windows,
        config: SequenceTrainConfig,
        *,
        seed: int,
        stage: str,
        workdir: Path,
        identity: str,
    ) -> None:
        self.model, self.config, self.seed, self.stage = model, config, seed, stage
        self.path = workdir / f"{stage}.safetensors"
        self.batches = WindowBatches(
            windows,
            n_items=model.n_items,
            batch_size=config.batch_size,
            positions=config.positions,
            device=model.device,
        )
        self.optimiser = torch.optim.Adam(
            decay_groups(model),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.progress = _Progress(identity=identity)
        self.rows: list[tuple[int, str, float]] = []
        self.best: Weights = {}
        self._started = self._saved = time.perf_counter()
        if self.path.exists():
            self._resume()

    def _resume(self) -> None:
        state, tensors = load_checkpoint(self.path, identity=self.progress.identity)
        self.rows = [(int(epoch), name, value) for epoch, name, value in state.pop("rows")]
        self.progress = _Progress(**state)
        device = self.model.device
        self.best = {name: weight.to(device) for name, weight in tensors.get("best", {}).items()}
        if not self.progress.is_done:
            copy_weights(tensors["model"], trained_weights(self.model))
            load_optimiser(self.model, self.optimiser, tensors["optimiser"])

    def epoch(self, terms: Sequence[Term], epoch_start: EpochStart | None) -> dict[str, float]:
        """Train one epoch; returns its numbers, means over its windows."""
        self._started = time.perf_counter()
        number, device = self.progress.epoch, self.model.device
        order = torch_generator(self.seed, f"{self.stage} order {number}")
        drawing = torch_generator(self.seed, f"{self.stage} draws {number}", device=str(device))
        losses: list[Tensor] = []
        parts: dict[str, list[Tensor]] = {}
        self.model.train()
        with torch.random.fork_rng([device] if device.type == "cuda" else []), float32_products():
            torch.manual_seed(derived_seed(self.seed, f"{self.stage} dropout {number}"))
            if epoch_start is not None:
                epoch_start(number, drawing)
            for index, (batch, weight) in enumerate(self.batches.epoch(order)):
                step = number * len(self.batches) + index
                context = Context(number, step, self.config.epochs, drawing, weight)
                losses.append(self._step(terms, batch, context, parts))
        self._check(losses)
        means = {name: float(torch.stack(values).mean()) for name, values in parts.items()}
        seconds = time.perf_counter() - self._started
        rate = self.batches.n_windows / seconds
        return {"loss": float(torch.stack(losses).mean()), **means, "windows_per_second": rate}

    def _step(
        self, terms: Sequence[Term], batch: Batch, context: Context, parts: dict[str, list[Tensor]]
    ) -> Tensor:
        self.optimiser.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.model.device)
        for term in terms:
            loss, named = term(self.model, batch, context)
            total = total + loss
            for name, value in named.items():
                parts.setdefault(name, []).append(value.detach())
        if total.requires_grad:  # not the loss of a `SharpObjective`
            total.backward()
        self.optimiser.step()
        return total.detach()

    def _check(self, losses: list[Tensor]) -> None:
        """Refuse losses that are not finite; looked at once an epoch, as each look waits for the device."""
        bad = (~torch.stack(losses).isfinite()).nonzero()
        if len(bad):
            index = int(bad[0])
            step = self.progress.epoch * len(self.batches) + index
            raise InputError(
                f"{self.stage}: the loss is {float(losses[index])} in epoch {self.progress.epoch}, step "
                f"{step}: lower learning_rate, or look for vectors that are not finite"
            )

    def validate(self, validate: Validate | None, numbers: dict[str, float]) -> None:
        """Measure the epoch where it is due, keep the best weights, and end the epoch."""
        progress, number = self.progress, self.progress.epoch
        is_last = number + 1 == self.config.epochs
        if validate is None:
            progress.best_epoch = number
        elif is_last or (number + 1) % self.config.evaluate_every == 0:
            self.model.eval()
            with torch.no_grad():
                numbers["validation"] = value = float(validate(self.model))
            progress.n_without_gain += 1
            if value > progress.best_value or not self.best:
                progress.best_epoch, progress.best_value, progress.n_without_gain = number, value, 0
                self.best = {name: weight.clone() for name, weight in trained_weights(self.model).items()}
        progress.epoch += 1
        progress.is_done = is_last or progress.n_without_gain >= self.config.patience
        numbers["seconds"] = time.perf_counter() - self._started
        progress.seconds += numbers["seconds"]

    def record(self, numbers: dict[str, float]) -> None:
        """Write down the epoch that ended, and a checkpoint where the last is some time ago."""
        self.rows += [(self.progress.epoch - 1, name, value) for name, value in numbers.items()]
        if self.progress.is_done:
            self.best = self.best or trained_weights(self.model)
        elif time.perf_counter() - self._saved < SECONDS_BETWEEN_CHECKPOINTS:
            return
        tensors = {"best": self.best}
        if not self.progress.is_done:
            tensors["model"] = trained_weights(self.model)
            tensors["optimiser"] = optimiser_state(self.model, self.optimiser)
        save_checkpoint(self.path, {**asdict(self.progress), "rows": self.rows}, tensors)
        self._saved = time.perf_counter()

    def finish(self) -> Fitted:
        """Put the best weights into the model."""
        copy_weights(self.best, trained_weights(self.model))
        self.model.eval()
        trace = pd.DataFrame(self.rows, columns=["epoch", "name", "value"])
        return Fitted(self.model, trace, self.progress.best_epoch, self.progress.seconds)


def _identity(
    model: SequenceModel,
    windows: Windows,
    config: SequenceTrainConfig,
    sharpness: Sharpness | None,
    seed: int,
    stage: str,
) -> str:
    """A hash of what a checkpoint must have in common with the training that goes on from it."""
    shapes = {name: list(weight.shape) for name, weight in trained_weights(model).items()}
    parts: list[object] = [windows.fingerprint, asdict(config), seed, stage, shapes]
    if sharpness is not None:
        parts += [asdict(sharpness.config), sharpness.weights.tolist()]
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
