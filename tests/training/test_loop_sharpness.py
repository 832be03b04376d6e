"""Sharpness-aware steps in the loop of sequence recommenders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from reclib.config import SHARPNESS_FAMILY, SequenceTrainConfig, SharpnessConfig
from reclib.models.sequence_model import SequenceModel
from reclib.schema import InputError
from reclib.seeding import torch_generator
from reclib.training.loop import Batch, Context, Fitted, fit
from reclib.training.optim import Sharpness
from reclib.training.sequence_batches import WindowBatches, predicted_counts
from reclib.training.sequence_objectives import SequenceObjective
from tests.training.sequence_toy import dataset, make_model, train_config

SHORT = train_config(epochs=2, loss="cross_entropy")
EISAM = SHARPNESS_FAMILY["eisam"]


def run(workdir: Path, sharpness: SharpnessConfig | None, **others: Any) -> Fitted:
    """Train a fresh model on the toy's windows, unless said otherwise."""
    values = {"model": make_model(), "config": SHORT, "seed": 0} | others
    return fit(windows=dataset().train, validate=None, workdir=workdir, sharpness=sharpness, **values)


def weights(model: SequenceModel) -> Tensor:
    return torch.cat([weight.detach().flatten() for weight in model.parameters()])


def values(fitted: Fitted, name: str) -> list[float]:
    return fitted.trace.loc[fitted.trace["name"] == name, "value"].tolist()


@pytest.mark.parametrize("loss", ["bce", "cross_entropy", "sampled_softmax", "gbce"])
@pytest.mark.parametrize("is_causal", [True, False])
def test_erm_as_a_step_is_the_loop_without_one(loss: str, is_causal: bool, tmp_path: Path) -> None:
    ends = []
    for name, sharpness in (("plain", None), ("erm", SHARPNESS_FAMILY["erm"])):
        config = replace(SHORT, loss=loss, n_negatives=3)  # type: ignore[arg-type]
        fitted = run(tmp_path / name, sharpness, model=make_model(is_causal=is_causal), config=config)
        ends.append(weights(fitted.model))
    way = ends[0] - weights(make_model(is_causal=is_causal))
    # Sums in another order; Adam divides by small gradients.
    assert float((ends[0] - ends[1]).norm()) < 1e-3 * float(way.norm())


def test_a_radius_of_zero_is_erm(tmp_path: Path) -> None:
    ends = [
        weights(run(tmp_path / str(place), sharpness).model)
        for place, sharpness in enumerate([replace(EISAM, radius=0.0), SHARPNESS_FAMILY["erm"]])
    ]
    assert torch.equal(*ends)


@pytest.mark.parametrize("name", [name for name in SHARPNESS_FAMILY if name != "exact"])
@pytest.mark.parametrize("loss", ["bce", "cross_entropy"])
def test_each_of_the_family_trains(name: str, loss: str, tmp_path: Path) -> None:
    config = replace(SHORT, loss=loss, epochs=6)  # type: ignore[arg-type]
    fitted = run(tmp_path, SHARPNESS_FAMILY[name], config=config)
    losses = values(fitted, "loss")
    assert losses == values(fitted, loss)
    assert losses[-1] < 0.95 * losses[0]
    assert not fitted.model.item_matrix()[0].any(), "padding stays zero"
    if name not in ("erm", "reweight"):
        assert 0.5 < np.mean(values(fitted, "sharpness_ratio")) < 2
        assert min(values(fitted, "sharpness_rise")) > 0
        assert 0 < values(fitted, "alignment")[0] < 1


def test_the_exact_step_of_a_batch_is_the_loop_over_its_items() -> None:
    """One perturbation an item, against the shared step where every item is a bucket of its own."""
    model, generator = make_model(dropout=0.3), torch_generator(0, "test")
    config = replace(SHORT, positions="last")
    counts = predicted_counts(dataset().train, model.n_items, "last")
    batches = WindowBatches(
        dataset().train, n_items=model.n_items, batch_size=9, positions="last", device=model.device
    )
    batch, weight = next(batches.epoch(generator))
    context = Context(0, 0, 1, generator, weight)
    objective = SequenceObjective(config, n_items=model.n_items)
    model.train()
    found = []
    for step in ("exact", "buckets"):
        sharp = Sharpness(SharpnessConfig(step=step, n_buckets=model.n_items, alignment_every=0), counts)  # type: ignore[arg-type]
        torch.manual_seed(0)
        examples = objective.examples(model, batch, context)
        found.append(sharp.outcome(examples, list(model.parameters())).gradients)
    for exact, bucketed in zip(*found, strict=True):
        torch.testing.assert_close(exact, bucketed, rtol=1e-4, atol=1e-6)


def test_negatives_are_the_same_in_both_passes() -> None:
    model, generator = make_model(dropout=0.3), torch_generator(0, "test")
    config = replace(SHORT, loss="sampled_softmax", n_negatives=7)
    batches = WindowBatches(
        dataset().train, n_items=model.n_items, batch_size=20, positions="all", device=model.device
    )
    batch, weight = next(batches.epoch(generator))
    objective = SequenceObjective(config, n_items=model.n_items)
    model.train()
    examples = objective.examples(model, batch, Context(0, 0, 1, generator, weight))
    counts = predicted_counts(dataset().train, model.n_items, "all")
    numbers = (
        Sharpness(replace(EISAM, radius=1e-3), counts).outcome(examples, list(model.parameters())).numbers
    )
    assert 0.95 < float(numbers["sharpness_ratio"]) < 1.05


@pytest.mark.parametrize("positions", ["all", "last"])
def test_items_are_counted_as_often_as_an_epoch_predicts_them(positions: str) -> None:
    counts = predicted_counts(dataset().train, dataset().n_items, positions)  # type: ignore[arg-type]
    batches = WindowBatches(
        dataset().train,
        n_items=dataset().n_items,
        batch_size=16,
        positions=positions,  # type: ignore[arg-type]
        device=torch.device("cpu"),
    )
    expected = np.zeros_like(counts)
    for batch, _ in batches.epoch(torch_generator(0, "test")):
        for history, target in zip(batch.history.tolist(), batch.target.tolist(), strict=True):
            items = [item for item in history if item] + [target]
            for item in items[1:] if positions == "all" else items[-1:]:
                expected[item] += 1
    assert counts.tolist() == expected.tolist()


def test_extra_terms_are_taken_at_the_weights_themselves(tmp_path: Path) -> None:
    seen: list[Tensor] = []

    def penalty(model: SequenceModel, batch: Batch, context: Context) -> tuple[Tensor, dict[str, Tensor]]:
        seen.append(weights(model))
        term = 10.0 * model.item_matrix().square().mean()
        return term, {"penalty": term}

    fitted = run(tmp_path / "with", EISAM, extra_terms=[penalty])
    total = np.array(values(fitted, "cross_entropy")) + np.array(values(fitted, "penalty"))
    np.testing.assert_allclose(total, values(fitted, "loss"), rtol=1e-5)
    assert torch.equal(seen[0], weights(make_model()))
    without = run(tmp_path / "without", EISAM)
    assert fitted.model.item_matrix().norm() < without.model.item_matrix().norm()


def test_a_training_goes_on_as_a_straight_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reclib.training.loop.SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    config = replace(SHORT, epochs=4)
    straight = run(tmp_path / "straight", EISAM, config=config)

    def breaks(model: SequenceModel, batch: Batch, context: Context) -> tuple[Tensor, dict[str, Tensor]]:
        if context.epoch == 2:
            raise KeyboardInterrupt
        return torch.zeros(()), {}

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", EISAM, config=config, extra_terms=[breaks])
    resumed = run(tmp_path / "broken", EISAM, config=config, model=make_model(seed=9))
    assert torch.equal(weights(straight.model), weights(resumed.model))


def test_another_step_is_another_training(tmp_path: Path) -> None:
    run(tmp_path, EISAM)
    with pytest.raises(InputError, match="other windows, settings"):
        run(tmp_path, replace(EISAM, radius=0.1))
    with pytest.raises(InputError, match="other windows, settings"):
        run(tmp_path, None)


def test_an_objective_that_cannot_be_weighed_is_refused(tmp_path: Path) -> None:
    def own(model: SequenceModel, batch: Batch, context: Context) -> tuple[Tensor, dict[str, Tensor]]:
        raise AssertionError("never called")

    with pytest.raises(InputError, match="main: sharpness needs an objective whose examples can be weighed"):
        run(tmp_path, EISAM, objective=own)


def test_items_outside_the_catalogue_are_refused_by_window(tmp_path: Path) -> None:
    history = dataset().train.history.copy()
    history[5, -1] = dataset().n_items + 1
    with pytest.raises(InputError, match="training window 5: its history"):
        fit(
            make_model(),
            replace(dataset().train, history=history),
            SHORT,
            validate=None,
            seed=0,
            workdir=tmp_path,
            sharpness=EISAM,
        )


class _Spoilt(SequenceObjective):
    """Losses that are NaN where the weights are not those given."""

    def __init__(self, config: SequenceTrainConfig, n_items: int, *, from_step: int) -> None:
        super().__init__(config, n_items=n_items)
        self.from_step, self.n_passes = from_step, 0

    def _losses(self, *arguments: Any) -> Tensor:
        self.n_passes += 1
        spoil = self.n_passes == 2 * self.from_step + 2
        return super()._losses(*arguments) * (torch.nan if spoil else 1.0)


def test_a_perturbed_loss_that_is_not_finite_names_epoch_and_step(tmp_path: Path) -> None:
    model = make_model()
    per_epoch = -(-len(set(dataset().train.user_id)) // SHORT.batch_size)
    config = replace(SHORT, loss="bce")
    spoilt = _Spoilt(config, model.n_items, from_step=per_epoch + 1)
    with pytest.raises(InputError, match=f"main: epoch 1, step {per_epoch + 1}: the loss at the perturbed"):
        run(tmp_path, replace(EISAM, alignment_every=0), model=model, config=config, objective=spoilt)
    assert bool(weights(model).isfinite().all())
