"""How sharp the losses of items are under ERM, SAM and EISAM where all fit the training data equally well.

A loss that is fitted better has other slopes, so sharpness is compared at matched training loss: ERM is
trained for some epochs, and every other method until its loss without dropout, on the same windows, is as
near to that of ERM as an epoch allows. [spec §11, statement 8: ours]
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from reclib import artifacts
from reclib.analysis.eisam.sharpness import (
    cosine,
    example_alignment,
    item_sharpness,
    loss_slices,
    sequence_losses,
)
from reclib.analysis.sequence import drop_checkpoints
from reclib.analysis.workbench import DATA_SEED, usual_device
from reclib.artifacts import Artifact
from reclib.config import SHARPNESS_FAMILY, BackboneConfig, DataConfig, Profile, SequenceTrainConfig
from reclib.config import SharpnessConfig as Step
from reclib.data.dataset import Dataset, Windows
from reclib.data.load import load
from reclib.data.popularity import is_head
from reclib.models.sequence_model import SequenceModel
from reclib.seeding import numpy_generator, torch_generator
from reclib.training.item_weights import item_weights
from reclib.training.methods import METHODS, MethodSetup
from reclib.training.methods.sharpness import SharpnessOptions
from reclib.training.optim import Sharpness
from reclib.training.perturbing import Gradients
from reclib.training.sequence_batches import ORDER_VERSION, Batch, predicted_counts
from reclib.training.sequence_objectives import Context, SequenceObjective

COMPARED = ("erm", "sam", "eisam")
PATIENCE, LONGEST = 2, 3  # epochs past the nearest loss; epochs at most, in those of ERM
LOSS_WINDOWS = 4_096  # of training, that the matched loss is the mean of
SLICE_WINDOWS = 512  # of each group
DISTANCES = tuple(np.linspace(-1.0, 1.0, 11).round(6).tolist())
BATCHES, BATCH_SIZE = 2, 64  # on which A and the cosines are measured


@dataclass(frozen=True, kw_only=True)
class MatchedConfig:
    """What a training at matched loss and its measurement depend on.

    sharpness: the step that trains; radius: ρ that sharpness is measured at, for all alike
    target_loss: training loss to stop near to; None trains all epochs
    """

    data: DataConfig
    backbone: BackboneConfig
    train: SequenceTrainConfig
    sharpness: Step
    radius: float
    n_windows: int | None
    items_per_decile: int
    target_loss: float | None


def measured(
    profile: Profile, artifact: Callable[..., Artifact] = artifacts.get_or_compute
) -> dict[str, list[Artifact]]:
    """One run a seed of each method of `COMPARED`: tables "items", "slices" and "batches", and "summary"."""
    eisam = profile.eisam
    dataset = load(eisam.data, seed=DATA_SEED)
    common: dict[str, Any] = {
        "data": eisam.data,
        "backbone": eisam.backbone,
        "radius": SHARPNESS_FAMILY["eisam"].radius,
        "n_windows": eisam.matched_windows,
        "items_per_decile": eisam.items_per_decile,
    }
    found: dict[str, list[Artifact]] = {name: [] for name in COMPARED}
    for seed in profile.seeds:
        target: float | None = None
        for name in COMPARED:
            train = replace(
                eisam.train,
                epochs=eisam.matched_epochs * (1 if target is None else LONGEST),
                patience=PATIENCE,
                evaluate_every=1,
            )
            config = MatchedConfig(
                train=train, sharpness=SHARPNESS_FAMILY[name], target_loss=target, **common
            )
            upstream = [dataset.fingerprint]
            run = artifact(
                "matched_sharpness",
                matched_step,
                config,
                upstream=upstream,
                seed=seed,
                schema_version=ORDER_VERSION[config.train.positions],
                dataset=dataset,
            )
            found[name].append(run)
            if name == "erm":
                target = float(run["summary"]["training_loss"])
    return found


def matched_step(config: MatchedConfig, *, seed: int, workdir: Path, dataset: Dataset) -> dict[str, Any]:
    """Train to the target loss, then measure; the validation and test windows are never read."""
    windows = sampled(dataset.train, config.n_windows)
    counts = predicted_counts(windows, dataset.n_items, config.train.positions)
    loss = training_loss(windows)
    validate = None
    if config.target_loss is not None:
        validate = partial(_nearness, loss=loss, target=config.target_loss)
    setup = MethodSetup(
        dataset=replace(dataset, train=windows, counts=counts),
        text=None,
        backbone=config.backbone,
        train=config.train,
        validate=validate,
        device=usual_device(),
    )
    options = SharpnessOptions(sharpness=config.sharpness)
    fitted = METHODS["sharpness"].train(setup, options, seed=seed, workdir=workdir)
    drop_checkpoints(workdir)
    model = fitted.model
    weights = [each for each in model.parameters() if each.requires_grad]
    losses = sequence_losses(model, windows)
    items = item_sharpness(
        losses,
        weights,
        windows.target_idx,
        counts,
        radius=config.radius,
        items_per_decile=config.items_per_decile,
    )
    head = is_head(counts)[windows.target_idx]
    groups = {"head": _some(np.flatnonzero(head)), "tail": _some(np.flatnonzero(~head))}
    slices = loss_slices(losses, weights, groups, distances=DISTANCES)
    summary = {
        "training_loss": loss(model),
        "target_loss": config.target_loss,
        "epochs": fitted.best_epoch + 1,
    }
    batches = batch_table(model, windows, counts, config)
    return {"items": items, "slices": slices, "batches": batches, "summary": summary}


def sampled(windows: Windows, n_windows: int | None) -> Windows:
    """Some windows, the same for all methods and seeds, in their order; None takes all."""
    if n_windows is None or n_windows >= len(windows):
        return windows
    chosen = numpy_generator(0, "matched windows").choice(len(windows), n_windows, replace=False)
    return windows.take(np.sort(chosen))


def training_loss(windows: Windows) -> Callable[[SequenceModel], float]:
    """A function that gives a model's mean loss on some training windows, without dropout."""
    rows = _some(np.arange(len(windows)), LOSS_WINDOWS)

    def loss(model: SequenceModel) -> float:
        with torch.no_grad():
            return float(sequence_losses(model, windows)(rows).double().mean())

    return loss


def _nearness(model: SequenceModel, *, loss: Callable[[SequenceModel], float], target: float) -> float:
    return -abs(loss(model) - target)


def _some(rows: np.ndarray, n: int = SLICE_WINDOWS) -> np.ndarray:
    return np.sort(numpy_generator(0, "rows").permutation(rows)[:n])


def batch_table(
    model: SequenceModel, windows: Windows, counts: np.ndarray, config: MatchedConfig
) -> pd.DataFrame:
    """How far one perturbation serves all items of a batch, on batches without dropout.

    alignment: A of EISAM's weights; expected: 1/√m of m orthogonal gradients, m the items of the batch
    cosine_step: of the gradient of EISAM's step and of the exact item-wise step at the same ρ
    cosine_penalty: of what the two add to ∇L; ratio_penalty: norm of EISAM's over that of the exact one
    """
    drawn = numpy_generator(0, "batches").permutation(len(windows))
    eisam = replace(SHARPNESS_FAMILY["eisam"], radius=config.radius, alignment_every=0)
    weights = [each for each in model.parameters() if each.requires_grad]
    rows = []
    for number in range(min(BATCHES, max(1, len(drawn) // BATCH_SIZE))):
        chosen = np.sort(drawn[number * BATCH_SIZE : (number + 1) * BATCH_SIZE])
        of_items = item_weights(eisam, counts).numpy()[windows.target_idx[chosen]]
        aligned = example_alignment(sequence_losses(model, windows), weights, chosen, of_items)
        n_items = len(np.unique(windows.target_idx[chosen]))
        plain, shared, exact = (
            step_gradient(model, windows, chosen, counts, replace(eisam, step=step), config.train)
            for step in ("erm", "eisam", "exact")
        )
        ours, theirs = ([a - b for a, b in zip(each, plain, strict=True)] for each in (shared, exact))
        row = (
            number,
            n_items,
            aligned,
            n_items**-0.5,
            cosine(shared, exact),
            cosine(ours, theirs),
            _norm(ours) / _norm(theirs),
        )
        rows.append(row)
    names = ["batch", "items", "alignment", "expected", "cosine_step", "cosine_penalty", "ratio_penalty"]
    return pd.DataFrame(rows, columns=names)


def step_gradient(
    model: SequenceModel,
    windows: Windows,
    rows: np.ndarray,
    counts: np.ndarray,
    step: Step,
    train: SequenceTrainConfig,
) -> Gradients:
    """The gradient of a step on one batch of windows, without dropout."""
    model.eval()
    device = model.device
    batch = Batch(
        torch.from_numpy(windows.history[rows]).long().to(device),
        torch.from_numpy(windows.target_idx[rows]).long().to(device),
        torch.from_numpy(rows).to(device),
    )
    objective = SequenceObjective(replace(train, positions="last"), n_items=model.n_items)
    generator = torch_generator(0, "batch", device=str(device))
    examples = objective.examples(model, batch, Context(0, 0, 1, generator))
    weights = [each for each in model.parameters() if each.requires_grad]
    return Sharpness(step, counts, device=device).outcome(examples, weights).gradients


def _norm(gradients: Gradients) -> float:
    return float(torch.stack([each.norm() for each in gradients]).norm())
