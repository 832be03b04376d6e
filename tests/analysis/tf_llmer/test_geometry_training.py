"""Curvature and loss kept along a training, and compared where the loss is equal."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from reclib.analysis.tf_llmer import geometry_clusters, geometry_conditioning, geometry_training
from reclib.analysis.tf_llmer.curvature import curvature_table
from reclib.analysis.tf_llmer.geometry_training import Measure, training_contexts, window_losses
from reclib.artifacts import Artifact
from reclib.models.sequence_model import SequenceModel
from reclib.schema import InputError
from tests.analysis.tf_llmer.geometry_bench import PROFILE, bench, run
from tests.training.sequence_toy import dataset, make_model

STARTS = ("random", "pca")


@lru_cache
def trained() -> dict[geometry_training.GeometryRun, Artifact]:
    runs = [run(start, is_normalised=how) for start in STARTS for how in (False, True)]
    return geometry_training.train_runs(bench(), runs)


def test_losses_are_those_of_every_position_one_by_one() -> None:
    model, windows = make_model(dropout=0.3), training_contexts(dataset().train, 5)
    losses = window_losses(model, windows)
    assert model.training, "the model is left as it was"
    model.eval()
    items = model.item_matrix().detach()[1:]
    for row in range(5):
        history = [item for item in windows.history[row].tolist() if item]
        terms = []
        for place in range(len(history)):
            known = torch.tensor([history[: place + 1]])
            target = (history + [int(windows.target_idx[row])])[place + 1]
            scores = model.user_states(known).detach()[0] @ items.T
            terms.append(-scores.log_softmax(0)[target - 1].item())
        assert losses[row] == pytest.approx(np.mean(terms), rel=1e-4)


def test_contexts_are_the_windows_that_are_trained_on() -> None:
    windows = training_contexts(dataset().train, 10**6)
    assert len(windows) == len(set(dataset().train.user_id))
    last = pd.Series(dataset().train.target_idx).groupby(dataset().train.user_id).last()
    assert windows.target_idx.tolist() == last[windows.user_id].tolist()


def test_a_training_keeps_its_contexts_at_the_chosen_epochs_and_nothing_else() -> None:
    for each, artifact in trained().items():
        contexts = artifact["contexts"]
        assert contexts.groupby("epoch").size().to_dict() == {0: 12, 1: 12, 2: 12}
        assert {path.suffix for path in artifact.path.iterdir()} == {".json", ".parquet"}
        if each.is_normalised:
            bound = PROFILE.geometry.scale**2
            assert contexts["bound"].to_numpy() == pytest.approx(bound, rel=1e-4)
            assert (contexts["lambda_max"] <= bound).all()
    random = trained()[run("random", is_normalised=False)]["contexts"]
    start = random[random["epoch"] == 0]["loss"].mean()
    assert start == pytest.approx(np.log(bench().dataset.n_items), rel=0.02)
    assert random[random["epoch"] == 2]["loss"].mean() < start


def test_an_eigenvalue_above_its_bound_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(model: SequenceModel, windows: Any) -> pd.DataFrame:
        return curvature_table(model, windows).assign(bound=0.0)

    monkeypatch.setattr(geometry_training, "curvature_table", broken)
    config: Any = SimpleNamespace(epochs_kept=(0,))
    measure = Measure(training_contexts(dataset().train, 3), config, tmp_path)
    with pytest.raises(ArithmeticError, match="above its bound 0.0"):
        measure.keep(make_model(), 0)


def contexts(losses: list[float], kappas: list[list[float]]) -> pd.DataFrame:
    rows = [
        (epoch, context, loss, kappa, kappa / 100, 2.0, 1.0)
        for epoch, (loss, values) in enumerate(zip(losses, kappas, strict=True))
        for context, kappa in enumerate(values)
    ]
    columns = ["epoch", "context", "loss", "kappa", "lambda_max", "effective_rank", "bound"]
    return pd.DataFrame(rows, columns=columns)


def test_a_level_is_met_between_two_epochs() -> None:
    table = contexts([8.0, 7.0, 5.0], [[1, 1], [4, 16], [64, 16]])
    found = geometry_conditioning.at_level(table, 6.0)
    assert found["kappa"].tolist() == pytest.approx([16, 16])
    assert found["epoch"].iloc[0] == 1.5
    assert geometry_conditioning.at_level(table, 9.0)["kappa"].tolist() == [1, 1]
    assert geometry_conditioning.at_level(table, 7.0)["kappa"].tolist() == pytest.approx([4, 16])
    with pytest.raises(InputError, match="4.000 is not reached: the lowest is 5.000"):
        geometry_conditioning.at_level(table, 4.0)


def test_the_effect_is_of_the_same_contexts_at_the_level_that_both_reach() -> None:
    plain = contexts([8.0, 7.0], [[10, 20, 40], [30, 60, 120]])
    normalised = contexts([9.0, 7.0, 5.0], [[1, 1, 1], [10, 20, 40], [900, 900, 900]])
    made: Any = {run("pca", is_normalised=False): {"contexts": plain}, run("pca"): {"contexts": normalised}}
    assert geometry_conditioning.common_level(made) == 7.0
    effect = geometry_conditioning.normalisation_effect(made, n_resamples=100).set_index("measure")
    assert effect.loc["kappa_ratio", ["value", "low", "high"]].tolist() == pytest.approx([3, 3, 3])
    assert effect.loc["cv_difference", ["value", "low", "high"]].tolist() == pytest.approx(
        [0, 0, 0], abs=1e-9
    )
    slow: Any = {
        run("random", is_normalised=how): {"contexts": plain.assign(loss=8.0)} for how in (False, True)
    }
    pairs = geometry_conditioning.effect_by_pair(made | slow, n_resamples=10)
    assert pairs.groupby("start")["level"].first().to_dict() == {"pca": 7.0, "random": 8.0}
    assert geometry_conditioning.normalisation_effect(made | slow, n_resamples=10)["level"].unique() == [8.0]
    levels = geometry_conditioning.at_equal_loss(made)
    assert levels["kappa"].tolist() == pytest.approx([60, 20])
    assert levels["share_of_bound"].tolist() == pytest.approx([1.2, 9.0])


def test_curves_and_levels_are_told_of_every_start() -> None:
    curves = geometry_conditioning.curves(trained())
    assert curves.groupby(["start", "normalised"]).size().tolist() == [3] * 4
    levels = geometry_conditioning.at_equal_loss(trained())
    assert len(levels) == 4
    assert levels["level"].nunique() == 1


def test_loss_differences_are_paired_by_window() -> None:
    table = contexts([3.0, 2.0], [[1, 1], [1, 1]])
    better = table.assign(loss=table["loss"] - np.array([0.1, 0.3, 0.1, 0.3]))
    made: Any = {run("plain"): {"contexts": table}, run("aligned"): {"contexts": better}}
    found = geometry_clusters.loss_differences(made, n_resamples=100)
    assert found["difference"].tolist() == pytest.approx([-0.2, -0.2])
    assert found[["low", "high"]].min().min() >= -0.3 - 1e-9
    assert geometry_clusters.last_difference(found)["epoch"] == 1
    curves = geometry_clusters.loss_curves(made)
    assert curves["loss"].tolist() == pytest.approx([3, 2, 2.8, 1.8])
