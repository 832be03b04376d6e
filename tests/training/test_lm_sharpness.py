"""Sharpness-aware steps in the LM trainer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import TrainerCallback

from reclib.config import SHARPNESS_FAMILY, ObjectiveConfig, SharpnessConfig
from reclib.models.causal_lm import adapter_state
from reclib.schema import InputError
from reclib.training.collate import WindowCollator
from reclib.training.lm_examples import lm_examples
from reclib.training.lm_trainer import fine_tune
from reclib.training.objectives import make_objective
from reclib.training.optim import Sharpness
from tests.training.toy import Toy, make_toy, tune_config

OBJECTIVES = [
    ObjectiveConfig(name="lml"),
    ObjectiveConfig(name="msl", reduction="samples"),
    ObjectiveConfig(name="msl", adaptive=True),
]
MSL = ObjectiveConfig(name="msl")
EISAM = SHARPNESS_FAMILY["eisam"]
ROWS = np.array([0, 3, 5, 8, 9, 3])  # the target of row 3 is there twice


def name_of(value: Any) -> str:
    return (
        f"{value.name}-{value.reduction}-{value.adaptive}"
        if isinstance(value, ObjectiveConfig)
        else str(value)
    )


def adapter(toy: Toy) -> Tensor:
    return torch.cat([weight.detach().flatten() for weight in adapter_state(toy.lm).values()]).clone()


def train(
    workdir: Path, sharpness: SharpnessConfig | None, toy: Toy | None = None, **fields: Any
) -> tuple[Tensor, Any]:
    """Adapter and trace of a training, of eight steps of two micro-batches unless said otherwise."""
    toy = toy or make_toy(dtype="float32", dropout=0.1)
    callbacks = fields.pop("callbacks", ())
    monitor = fields.pop("monitor", False)
    tables = fine_tune(
        toy.lm,
        toy.dataset,
        toy.trie,
        toy.items,
        tune_config(**({"objective": MSL} | fields)),
        seed=0,
        workdir=workdir,
        sharpness=sharpness,
        callbacks=callbacks,
        monitor=monitor,
    )
    return adapter(toy), tables


def values(tables: Mapping[str, Any], name: str) -> np.ndarray:
    trace = tables["trace"]
    return trace.loc[trace["name"] == name, "value"].to_numpy()


@pytest.mark.parametrize("objective", OBJECTIVES, ids=name_of)
def test_erm_as_a_step_is_the_trainer_without_one(objective: ObjectiveConfig, tmp_path: Path) -> None:
    (plain, expected), (found, tables) = (
        train(tmp_path / str(place), sharpness, objective=objective, monitor=True)
        for place, sharpness in enumerate([None, SHARPNESS_FAMILY["erm"]])
    )
    # Sums in another order; Adam divides by small gradients.
    assert float((plain - found).norm()) < 1e-3 * float((plain - adapter(make_toy(dtype="float32"))).norm())
    for name in ("loss", "lml_item", "tokens", "temperature", "grad_norm"):
        np.testing.assert_allclose(values(tables, name), values(expected, name), rtol=1e-3)


@cache
def erm(objective: ObjectiveConfig) -> Tensor:
    """The adapter that ERM ends with."""
    with TemporaryDirectory() as folder:
        return train(Path(folder), SHARPNESS_FAMILY["erm"], objective=objective, n_windows=24)[0]


@pytest.mark.parametrize(
    ("name", "objective"),
    [
        *((name, MSL) for name in ("sam", "imbsam", "cc_sam", "eisam", "eisam2", "hinge", "exact")),
        *(("eisam", objective) for objective in OBJECTIVES),
        ("exact", OBJECTIVES[0]),
    ],
    ids=name_of,
)
def test_each_of_the_family_trains(name: str, objective: ObjectiveConfig, tmp_path: Path) -> None:
    toy = make_toy(dtype="float32", dropout=0.1)
    before = adapter(toy)
    found, tables = train(tmp_path, SHARPNESS_FAMILY[name], toy, objective=objective, n_windows=24)
    assert bool(found.isfinite().all())
    assert not torch.allclose(found, before)
    assert (values(tables, "sharpness_ratio") > 0.5).all()
    assert (values(tables, "sharpness_ratio") < 2).all()
    if name != "imbsam":  # no micro-batch of the first step has an item of the tail
        assert 0 < values(tables, "alignment")[0] <= 1
    assert len(values(tables, "alignment")) <= 1, "it is due at each hundredth step"
    plain = erm(objective)
    assert float((found - plain).norm()) > 1e-3 * float((plain - before).norm()), "the step is another one"


def test_the_temperature_moves_by_the_first_pass_alone(tmp_path: Path) -> None:
    adaptive = ObjectiveConfig(name="msl", adaptive=True, smoothing=0.5)
    states = []
    for name in ("erm", "eisam"):
        _, tables = train(
            tmp_path / name,
            replace(SHARPNESS_FAMILY[name], penalty=1e-9, radius=1e-3),
            objective=adaptive,
            n_windows=4,
        )
        states.append(tables["objective"])
    assert states[0]["counts"] == states[1]["counts"]
    assert states[0]["temperature"] == pytest.approx(states[1]["temperature"], rel=1e-6)


class Passes:
    """A batch of the toy, its step and its adapter's weights."""

    def __init__(self, toy: Toy, objective: ObjectiveConfig, *, share_head: bool = False) -> None:
        windows = toy.dataset.train.take(ROWS)
        self.toy = toy
        self.objective = make_objective(objective, toy.lm.vocabulary_size)
        self.collator = WindowCollator(toy.trie, toy.items, needs_forced=self.objective.needs_forced)
        prompts = toy.prompts(windows)
        self.prompts = prompts if share_head else prompts.without_head()
        self.target_idx = windows.target_idx
        self.counts = np.bincount(toy.dataset.train.target_idx, minlength=toy.items.n_items + 1)
        self.weights = [weight for weight in toy.lm.parameters() if weight.requires_grad]

    def examples(self, rows: np.ndarray | None = None, **options: Any) -> Any:
        rows = np.arange(len(ROWS)) if rows is None else rows
        batch = self.collator.batch(self.prompts.take(rows), self.target_idx[rows])
        return lm_examples(self.toy.lm, self.objective, batch, **options)

    def sharpness(self, name: str, **fields: Any) -> Sharpness:
        return Sharpness(replace(SHARPNESS_FAMILY[name], alignment_every=0, **fields), self.counts)


def flat(gradients: list[Tensor]) -> Tensor:
    return torch.cat([gradient.flatten() for gradient in gradients])


@pytest.mark.parametrize("objective", OBJECTIVES[:2], ids=name_of)
def test_copies_of_adapters_give_the_gradient_of_a_loop_over_items(objective: ObjectiveConfig) -> None:
    """Equation (1) by two passes, against one item's windows at a time, and against the slow step."""
    batch = Passes(make_toy(), objective)
    exact = batch.sharpness("exact", radius=0.3)
    normaliser = 7.0
    found = flat(exact.outcome(batch.examples(normaliser=normaliser), batch.weights).gradients)

    expected = torch.zeros_like(found)
    for item in np.unique(batch.target_idx):
        rows = np.flatnonzero(batch.target_idx == item)
        counted = 0.8 * float(exact.weights[item])
        before = [weight.detach().clone() for weight in batch.weights]
        slope = torch.autograd.grad(batch.examples(rows, normaliser=normaliser)().losses.sum(), batch.weights)
        norm = flat(list(slope)).norm()
        for weight, step in zip(batch.weights, slope, strict=True):
            weight.data += 0.3 * step / norm
        ascended = torch.autograd.grad(
            batch.examples(rows, normaliser=normaliser)().losses.sum(), batch.weights
        )
        for weight, value in zip(batch.weights, before, strict=True):
            weight.data.copy_(value)
        expected += (1 - counted) * flat(list(slope)) + counted * flat(list(ascended))
    # The norm layers round to float32 on the way.
    assert float((found - expected).norm()) < 1e-5 * float(expected.norm())

    shared = Passes(batch.toy, objective, share_head=True)
    assert shared.examples().copies is None
    slow = flat(exact.outcome(shared.examples(normaliser=normaliser), batch.weights).gradients)
    assert float((slow - expected).norm()) < 1e-5 * float(expected.norm())
    eisam = batch.sharpness("eisam", radius=0.3).outcome(batch.examples(normaliser=normaliser), batch.weights)
    cosine = torch.nn.functional.cosine_similarity(flat(eisam.gradients), expected, dim=0)
    assert 0.5 < float(cosine) < 1 - 1e-6


@pytest.mark.parametrize("objective", OBJECTIVES, ids=name_of)
def test_samples_add_up_to_the_objective(objective: ObjectiveConfig) -> None:
    batch = Passes(make_toy(), objective, share_head=True)
    inputs = batch.collator.batch(batch.prompts, batch.target_idx)
    hidden = batch.toy.lm(**inputs["model_inputs"])
    arguments = (hidden, batch.toy.lm.output_embedding, inputs["targets"])
    total = batch.objective(*arguments).total
    losses = batch.objective.by_sample(*arguments)
    assert losses.shape == (len(ROWS),)
    torch.testing.assert_close(losses.sum(), total)
    torch.testing.assert_close(batch.objective.by_sample(*arguments, normaliser=1.0).sum(),
                               batch.objective(*arguments, normaliser=1.0).total)  # fmt: skip


@pytest.mark.parametrize("name", ["eisam", "exact"])
def test_a_perturbation_survives_bfloat16(name: str) -> None:
    batch = Passes(make_toy(dtype="float32"), MSL)
    examples = batch.examples(autocast=lambda: torch.autocast("cpu", dtype=torch.bfloat16))
    numbers = batch.sharpness(name, radius=0.02).outcome(examples, batch.weights).numbers
    assert 0.8 < float(numbers["sharpness_ratio"]) < 1.5


def test_a_micro_batch_is_perturbed_by_itself(tmp_path: Path) -> None:
    """Two micro-batches of a step: the gradient that the optimiser sees is the sum of their own steps."""
    seen: list[Tensor] = []

    class Look(TrainerCallback):
        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            seen.append(flat([weight.grad.clone() for weight in weights]))

    toy = make_toy(dtype="float64")
    weights = [weight for weight in toy.lm.parameters() if weight.requires_grad]
    fields = {"n_windows": 4, "warmup_steps": 0, "callbacks": [Look()]}
    train(tmp_path / "two", EISAM, toy, micro_batch_size=2, **fields)
    toy = make_toy(dtype="float64")
    weights = [weight for weight in toy.lm.parameters() if weight.requires_grad]
    train(tmp_path / "one", EISAM, toy, micro_batch_size=4, **fields)
    assert float((seen[0] - seen[1]).norm()) > 1e-6 * float(seen[1].norm()), "m-SAM depends on the cut"
    assert float(torch.nn.functional.cosine_similarity(*seen, dim=0)) > 0.9


def test_a_perturbed_loss_that_is_not_finite_names_epoch_and_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = make_toy(dtype="float32")
    of_adapter: list[Tensor] = []
    n_passes = 0
    forward = type(toy.lm).forward

    def spoilt(self: Any, *arguments: Any, **options: Any) -> Tensor:
        nonlocal n_passes
        n_passes += 1
        hidden = forward(self, *arguments, **options)
        if n_passes % 2:
            of_adapter.append(adapter(toy))
        return hidden * (torch.nan if n_passes == 22 else 1.0)  # two micro-batches a step, two passes each

    monkeypatch.setattr(type(toy.lm), "forward", spoilt)
    with pytest.raises(InputError, match="epoch 0, step 5: the loss at the perturbed weights is nan"):
        train(tmp_path, replace(EISAM, alignment_every=0), toy)
    assert torch.equal(adapter(toy), of_adapter[-1])


def test_a_training_goes_on_as_a_straight_run(tmp_path: Path) -> None:
    class Stop(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == 5:
                raise KeyboardInterrupt

    straight, tables = train(tmp_path / "straight", EISAM)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "broken", EISAM, callbacks=[Stop()])
    resumed, resumed_tables = train(tmp_path / "broken", EISAM)
    assert torch.equal(straight, resumed)
    traces = [each["trace"].query("name != 'seconds'").reset_index() for each in (tables, resumed_tables)]
    assert traces[0].equals(traces[1])
