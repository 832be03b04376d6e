"""Curvature of contexts as tables, along a training, and compared at equal loss."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from reclib.analysis.tf_llmer.curvature import (
    CurvatureTerm,
    at_equal_loss,
    curvature_summary,
    curvature_table,
    norm_summary,
    some_contexts,
)
from reclib.kernels.curvature import covariance, probabilities
from reclib.models.items import IdItems, NormalisedItems
from reclib.models.sequence_model import SequenceModel
from reclib.schema import InputError
from reclib.training.loop import fit
from tests.training.sequence_toy import WIDTH, LastItem, dataset, make_model, train_config


def normalised_model(scale: float) -> SequenceModel:
    rows = np.random.default_rng(0).normal(size=(dataset().n_items + 1, WIDTH))
    rows[0] = 0
    items = NormalisedItems(IdItems.from_matrix(rows * np.arange(1, len(rows) + 1)[:, None]), scale=scale)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SequenceModel(items, LastItem(WIDTH, dropout=0.0))


def test_a_row_is_the_spectrum_of_its_context() -> None:
    model, windows = make_model(), some_contexts(dataset().valid, 10, seed=0)
    table = curvature_table(model, windows)
    assert len(table) == 10
    assert model.training, "the model is left as it was"
    states = model.eval().user_states(torch.from_numpy(windows.history).long()).detach().double()
    items = model.item_matrix().detach().double()
    values = torch.linalg.eigvalsh(covariance(probabilities(states[3:4], items)[0], items))
    row = table.iloc[3]
    assert row["lambda_max"] == pytest.approx(values[-1].item())
    assert row["kappa"] == pytest.approx((values[-1] / values[0]).item(), rel=1e-5)
    assert row["state_norm"] == pytest.approx(states[3].norm().item())


def test_products_alone_give_the_same_extremes() -> None:
    model, windows = make_model(), dataset().valid.take(np.arange(4))
    whole, found = (curvature_table(model, windows, solver=solver) for solver in ("dense", "products"))
    for name in ("lambda_max", "lambda_min", "kappa", "trace"):
        np.testing.assert_allclose(found[name], whole[name], rtol=1e-5)
    np.testing.assert_allclose(found["effective_rank"], whole["effective_rank"], rtol=0.15)
    assert found["kappa_median"].isna().all()


def test_normalised_items_keep_the_largest_eigenvalue_below_the_square_of_the_scale() -> None:
    for scale in (1.0, 8.0):
        table = curvature_table(normalised_model(scale), dataset().valid)
        assert table["bound"].iloc[0] == pytest.approx(scale**2, rel=1e-5)
        assert (table["lambda_max"] <= table["bound"]).all()


def test_a_summary_is_medians_and_the_variation_of_the_largest_eigenvalue() -> None:
    table = curvature_table(make_model(), dataset().valid)
    summary = curvature_summary(table)
    assert summary["kappa"] == table["kappa"].median()
    assert summary["lambda_max_cv"] == pytest.approx(
        np.std(table["lambda_max"]) / np.mean(table["lambda_max"])
    )


def test_contexts_are_the_same_for_every_model_and_not_more_than_there_are() -> None:
    windows = dataset().valid
    first, second = (some_contexts(windows, 12, seed=3) for _ in range(2))
    assert first.fingerprint == second.fingerprint
    assert len(set(first.user_id)) == 12
    assert some_contexts(windows, 10**6, seed=3) is windows


def trained(workdir: Path, *, is_measured: bool) -> pd.DataFrame:
    terms = [CurvatureTerm(some_contexts(dataset().valid, 8, seed=0))] if is_measured else []
    return fit(
        make_model(dropout=0.3),
        dataset().train,
        train_config(loss="cross_entropy", epochs=3),
        validate=None,
        seed=0,
        workdir=workdir,
        extra_terms=terms,
    ).trace


def test_a_training_is_measured_each_epoch_and_not_changed(tmp_path: Path) -> None:
    measured, plain = trained(tmp_path / "a", is_measured=True), trained(tmp_path / "b", is_measured=False)
    loss = [trace.loc[trace["name"] == "cross_entropy", "value"].tolist() for trace in (measured, plain)]
    assert loss[0] == loss[1]
    kappa = measured[measured["name"] == "curvature_kappa"]
    assert kappa["epoch"].tolist() == [0, 1, 2]
    start = curvature_summary(curvature_table(make_model(), some_contexts(dataset().valid, 8, seed=0)))
    assert kappa["value"].iloc[0] == pytest.approx(start["kappa"], rel=1e-5)
    assert kappa["value"].nunique() == 3


def trace(losses: list[float], kappas: list[float]) -> pd.DataFrame:
    rows = [
        (epoch, name, value)
        for epoch, pair in enumerate(zip(losses, kappas, strict=True))
        for name, value in zip(("cross_entropy", "curvature_kappa"), pair, strict=True)
    ]
    return pd.DataFrame(rows, columns=["epoch", "name", "value"])


def test_trainings_are_compared_at_the_loss_that_all_reach() -> None:
    traces = {"slow": trace([7, 6.5, 6.1], [30, 40, 50]), "fast": trace([6.8, 6.0, 4.0], [10, 20, 90])}
    table = at_equal_loss(traces).set_index("run")
    assert table["level"].tolist() == [6.1, 6.1]
    assert table["epoch"].tolist() == [2, 1]
    assert table["curvature_kappa"].tolist() == [50, 20]
    early = at_equal_loss(traces, level=6.0).set_index("run")
    assert early.loc["fast", "curvature_kappa"] == 20
    assert pd.isna(early.loc["slow", "curvature_kappa"])
    with pytest.raises(InputError, match="'slow' has no 'bce': it has cross_entropy, curvature_kappa"):
        at_equal_loss(traces, loss="bce")


def test_lengths_and_angles_are_those_of_all_pairs() -> None:
    rows = np.random.default_rng(0).normal(size=(20, 5)) + 1
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosine = unit @ unit.T
    summary = norm_summary(np.concatenate([np.zeros((1, 5)), rows]))
    assert summary["mean_cosine"] == pytest.approx(cosine[~np.eye(20, dtype=bool)].mean())
    length = np.linalg.norm(rows, axis=1)
    assert summary["norm_cv"] == pytest.approx(length.std() / length.mean())
    assert summary["norm_ratio"] == pytest.approx(length.max() / length.min())
    with pytest.raises(InputError, match="1 item vectors"):
        norm_summary(np.eye(3)[:1])
