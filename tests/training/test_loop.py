from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from reclib.config import SequenceTrainConfig
from reclib.evaluation.full_ranking import rank_windows, validation_ndcg
from reclib.models.sequence_model import SequenceModel
from reclib.schema import InputError
from reclib.training.loop import Batch, Context, Fitted, fit
from tests.training.sequence_toy import dataset, make_model, train_config


def weights(model: SequenceModel) -> Tensor:
    return torch.cat([weight.detach().flatten() for weight in model.parameters()])


def values(trace: pd.DataFrame, name: str) -> list[float]:
    return trace.loc[trace["name"] == name, "value"].tolist()


def run(workdir: Path, *, seed: int = 0, config: SequenceTrainConfig | None = None, **others: Any) -> Fitted:
    """Train a fresh model on the toy's windows, unless said otherwise."""
    values = {"model": make_model(), "windows": dataset().train, "validate": None} | others
    return fit(config=config or train_config(), seed=seed, workdir=workdir, **values)


def hit_rate(model: SequenceModel) -> float:
    return float((rank_windows(model, dataset().test, cutoff=5) <= 5).fillna(False).mean())


@pytest.mark.parametrize("is_causal", [True, False])
@pytest.mark.parametrize("positions", ["all", "last"])
@pytest.mark.parametrize("loss", ["bce", "cross_entropy", "sampled_softmax", "gbce"])
def test_each_objective_learns_what_follows_what(
    loss: str, positions: str, is_causal: bool, tmp_path: Path
) -> None:
    model = make_model(is_causal=is_causal)
    config = train_config(loss=loss, positions=positions, epochs=40, n_negatives=8, calibration=0.5)
    before = hit_rate(model)
    fitted = fit(model, dataset().train, config, validate=None, seed=0, workdir=tmp_path)
    assert before < 0.4 < 0.7 < hit_rate(fitted.model)
    assert not model.item_matrix()[0].any(), "padding stays zero"


def test_same_seed_same_weights_and_another_other(tmp_path: Path) -> None:
    ends = [
        weights(
            fit(
                make_model(),
                dataset().train,
                train_config(),
                validate=None,
                seed=seed,
                workdir=tmp_path / name,
            ).model
        )
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


def test_global_state_is_left_as_it_was(tmp_path: Path) -> None:
    before, setting = torch.get_rng_state(), torch.backends.mkldnn.matmul.fp32_precision
    run(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.backends.mkldnn.matmul.fp32_precision == setting


def test_the_best_epoch_s_weights_are_kept_and_training_stops_early(tmp_path: Path) -> None:
    seen: list[Tensor] = []
    scores = iter([0.1, 0.3, 0.2, 0.3, 0.1, 0.9])

    def validate(model: SequenceModel) -> float:
        assert not model.training
        seen.append(weights(model))
        return next(scores)

    config = train_config(epochs=20, patience=3)
    fitted = fit(make_model(), dataset().train, config, validate=validate, seed=0, workdir=tmp_path)
    assert fitted.best_epoch == 1
    assert len(seen) == 5, "an equal value is no gain"
    assert torch.equal(weights(fitted.model), seen[1])
    assert values(fitted.trace, "validation") == [0.1, 0.3, 0.2, 0.3, 0.1]


def test_the_last_epoch_is_measured_even_between_two_measurements(tmp_path: Path) -> None:
    config = train_config(epochs=5, evaluate_every=2)
    fitted = fit(
        make_model(), dataset().train, config, validate=validation_ndcg(dataset()), seed=0, workdir=tmp_path
    )
    measured = fitted.trace.loc[fitted.trace["name"] == "validation", "epoch"]
    assert measured.tolist() == [1, 3, 4]


def test_a_finished_training_is_not_repeated(tmp_path: Path) -> None:
    first = run(tmp_path)

    def never(model: SequenceModel, batch: Batch, context: Context) -> tuple[Tensor, dict[str, Tensor]]:
        raise AssertionError("trained again")

    again = fit(
        make_model(seed=5),
        dataset().train,
        train_config(),
        validate=None,
        seed=0,
        workdir=tmp_path,
        extra_terms=[never],
    )
    assert torch.equal(weights(first.model), weights(again.model))
    pd.testing.assert_frame_equal(first.trace, again.trace)
    assert again.best_epoch == first.best_epoch == 3


def test_stages_share_a_folder_and_another_training_is_refused(tmp_path: Path) -> None:
    run(tmp_path, stage="first")
    run(tmp_path, config=train_config(epochs=2), stage="second")
    assert {path.name for path in tmp_path.iterdir()} == {"first.safetensors", "second.safetensors"}
    with pytest.raises(InputError, match=r"first.safetensors.*other windows, settings, seed"):
        run(tmp_path, seed=1, stage="first")


def test_terms_are_added_and_epochs_announced_before_their_batches(tmp_path: Path) -> None:
    rows, steps, events = [], [], []

    def started(epoch: int, generator: torch.Generator) -> None:
        events.append(("start", epoch, generator))

    def penalty(model: SequenceModel, batch: Batch, context: Context) -> tuple[Tensor, dict[str, Tensor]]:
        rows.append(batch.row)
        steps.append(context.step)
        events.append(("batch", context.epoch, context.generator))
        term = 0.01 * model.item_matrix().square().sum()
        return term, {"penalty": term}

    fitted = run(
        tmp_path,
        config=train_config(positions="last", epochs=2),
        model=make_model(dropout=0.0),
        extra_terms=[penalty],
        epoch_start=started,
    )
    total = np.array(values(fitted.trace, "bce")) + np.array(values(fitted.trace, "penalty"))
    assert np.allclose(total, values(fitted.trace, "loss"), rtol=1e-5)
    assert steps == list(range(len(steps)))
    per_epoch = torch.cat(rows).view(2, -1).sort(dim=1).values
    assert torch.equal(per_epoch[0], torch.arange(len(dataset().train)))
    assert torch.equal(per_epoch[0], per_epoch[1])
    starts = [index for index, (kind, _, _) in enumerate(events) if kind == "start"]
    assert starts == [0, len(events) // 2]
    assert [events[index][1] for index in starts] == [0, 1]
    assert all(events[index][1:] == events[index + 1][1:] for index in starts)  # its number and generator


def test_frozen_weights_stay_and_are_not_written(tmp_path: Path) -> None:
    from safetensors import safe_open

    model = make_model()
    model.items.requires_grad_(False)
    before = model.item_matrix().clone()
    fit(model, dataset().train, train_config(), validate=None, seed=0, workdir=tmp_path)
    assert torch.equal(model.item_matrix(), before)
    with safe_open(tmp_path / "main.safetensors", "pt") as file:
        assert not [name for name in file.keys() if "items" in name]  # noqa: SIM118 -- not a dict


def test_a_loss_that_is_not_finite_names_epoch_and_step(tmp_path: Path) -> None:
    def breaks(model: SequenceModel, batch: Batch, context: Context) -> tuple[Tensor, dict[str, Tensor]]:
        return torch.tensor(float("nan") if context.step == 7 else 0.0), {}

    with pytest.raises(InputError, match="nan in epoch 1, step 7"):
        run(tmp_path, config=train_config(batch_size=24), extra_terms=[breaks])


def test_windows_without_a_history_are_left_out(tmp_path: Path) -> None:
    train = dataset().train
    history = train.history.copy()
    history[: len(history) // 2] = 0
    half = replace(train, history=history)
    config = train_config(positions="last", epochs=1)
    fitted = fit(make_model(), half, config, validate=None, seed=0, workdir=tmp_path / "half")
    assert np.isfinite(values(fitted.trace, "loss")).all()
    empty = replace(train, history=np.zeros_like(train.history))
    with pytest.raises(InputError, match="no training window"):
        run(tmp_path / "empty", windows=empty)


def test_items_outside_the_catalogue_are_refused_by_window(tmp_path: Path) -> None:
    train = dataset().train
    history = train.history.copy()
    history[5, -1] = dataset().n_items + 1
    with pytest.raises(InputError, match="training window 5: its history"):
        fit(
            make_model(),
            replace(train, history=history),
            train_config(),
            validate=None,
            seed=0,
            workdir=tmp_path,
        )


def test_an_epoch_prints_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(
        make_model(),
        dataset().train,
        train_config(epochs=2),
        validate=validation_ndcg(dataset()),
        seed=0,
        workdir=tmp_path,
    )
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    for part in ("main: epoch 2/2", "loss", "validation", "windows/s", "at most 0 s left"):
        assert part in lines[1]
