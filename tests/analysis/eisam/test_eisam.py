"""The grids of the EISAM study, what validation chooses, the statements, and sharpness at matched loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from reclib import config
from reclib.analysis import long_tail
from reclib.analysis.eisam import cells as eisam_cells
from reclib.analysis.eisam import matched_sharpness, panels, sharpness_tables, statements
from reclib.analysis.sequence import SequenceBench
from reclib.analysis.sequence_cells import Cell
from reclib.config import SHARPNESS_FAMILY
from reclib.data.load import load
from reclib.models.backbones import build_backbone
from reclib.models.items import IdItems
from reclib.models.sequence_model import SequenceModel
from reclib.training.sequence_batches import predicted_counts

PROFILE = config.override(config.SMOKE, **{"eisam.n_settings": 2})


def test_every_method_is_tried_at_as_many_different_settings() -> None:
    cells = eisam_cells.main_cells(PROFILE)
    tried = pd.Series([cell.label for cell in cells]).value_counts()
    assert tried.to_dict() == dict.fromkeys(eisam_cells.METHODS, 2)
    assert len({(cell.label, cell.changes) for cell in cells}) == len(cells)
    assert {len(eisam_cells.options(method)) for method in eisam_cells.METHODS} == {4}


@pytest.mark.parametrize(
    ("head_share", "high", "holds"), [(0.6, 0.7, True), (0.4, 0.7, False), (0.6, 0.9, False)]
)
def test_two_tails_are_long_and_not_the_same_in_each_data_set(
    head_share: float, high: float, holds: bool
) -> None:
    def tails(share: float) -> pd.DataFrame:
        return pd.DataFrame({"kind": ["data", "prior"], "head_share": [share, 0.8], "gini": 0.5})

    def correlation(end: float) -> pd.DataFrame:
        return pd.DataFrame({"items": ["all", "unambiguous"], "value": 0.3, "low": 0.2, "high": end, "n": 90})

    found = statements.two_tails_statements(
        long_tail.by_dataset({"first": tails(head_share), "second": tails(0.7)}),
        long_tail.by_dataset({"first": correlation(high), "second": correlation(0.35)}),
    )
    assert [(each["dataset"], each["holds"]) for each in found] == [("first", holds), ("second", True)]
    assert found[0]["high"] == high
    assert f"hold 0.80 of the prior, {head_share:.2f} of the data" in found[0]["note"]


def test_controls_differ_from_eisam_in_one_setting() -> None:
    eisam = eisam_cells.options("eisam")[0].sharpness
    assert eisam_cells.options("without_weights")[0].sharpness == replace(eisam, gamma=0.0)
    assert eisam_cells.options("reweight")[0].sharpness == replace(eisam, step="reweight")
    assert eisam_cells.options("eisam_exact")[0].sharpness == replace(eisam, step="exact")


def test_one_setting_is_varied_at_a_time_and_the_default_is_the_main_cell() -> None:
    eisam, main = SHARPNESS_FAMILY["eisam"], eisam_cells.main_cells(PROFILE)
    swept = {cell.label: dict(cell.changes)["sharpness"] for cell in eisam_cells.sensitivity_cells(PROFILE)}
    assert swept["radius_0.2"] == replace(eisam, radius=0.2)
    assert swept["gamma_0"] == replace(eisam, gamma=0.0)
    assert swept["radius_0.05"] == swept["penalty_0.8"] == swept["gamma_0.5"] == eisam
    bench = SequenceBench(eisam_cells.study(PROFILE))
    shared = {bench.config(cell) for cell in main} & {
        bench.config(cell) for cell in eisam_cells.sensitivity_cells(PROFILE)
    }
    assert {each.options for each in shared} >= {eisam_cells.options(name)[0] for name in ("erm", "eisam")}


def made_run(valid: float) -> Mapping[str, Any]:
    return {"summary": {"valid_ndcg": valid, "best_epoch": 1, "train_cpu_seconds": 2.0}}


def test_validation_chooses_one_setting_of_each_method_by_the_mean_of_its_seeds() -> None:
    profile = replace(PROFILE, seeds=(0, 1))
    cells = [cell for cell in eisam_cells.main_cells(profile) if cell.label in ("erm", "sam")]
    values = {"erm": ((0.3, 0.1), (0.1, 0.2)), "sam": ((0.1, 0.1), (0.1, 0.2))}  # setting, then seed
    made: dict[Cell, Any] = {}
    for cell in cells:
        place = [each for each in cells if each.label == cell.label].index(cell)
        made[cell] = made_run(values[cell.label][place // 2][place % 2])
    table = eisam_cells.tried_table(made)
    assert table["valid_ndcg"].tolist() == pytest.approx([0.2, 0.15, 0.1, 0.15])
    assert table["is_chosen"].tolist() == [True, False, False, True]
    kept = eisam_cells.chosen(made)
    assert list(kept) == [cells[0], cells[1], cells[6], cells[7]]


def difference(reference: str, group: str, metric: str, value: float, half: float) -> dict[str, Any]:
    ends = {"low": value - half, "high": value + half, "change": value / 0.05}
    return {
        "dataset": "made", "method": "eisam", "reference": reference, "metric": metric, "k": 10,
        "group": group, "difference": value, **ends,
    }  # fmt: skip


def made_differences(**tail: float) -> pd.DataFrame:
    """EISAM's differences with half widths of 0.002; on the tail by reference, overall −0.0003."""
    rows = [
        difference(reference, group, metric, value if group == "tail" else -0.0003, 0.002)
        for reference, value in tail.items()
        for group in ("all", "tail")
        for metric in ("HR", "NDCG")
    ]
    return pd.DataFrame(rows)


def test_gains_of_the_tail_hold_where_every_interval_is_above_zero() -> None:
    clear = made_differences(erm=0.004, sam=0.003, without_weights=0.005, reweight=0.0025)
    (five,) = statements.tail_gain_statement(clear)
    assert (five["number"], five["holds"]) == ("5", True)
    assert five["value"] == pytest.approx(0.003), "the weaker of the two"
    (seven,) = statements.attribution_statement(clear)
    assert (seven["holds"], seven["value"]) == (True, pytest.approx(0.0025))
    assert "over reweight -0.0003 overall" in seven["note"]
    unclear = made_differences(erm=0.004, sam=0.001, without_weights=0.005, reweight=0.001)
    assert not statements.tail_gain_statement(unclear)[0]["holds"]
    assert not statements.attribution_statement(unclear)[0]["holds"]


@pytest.mark.parametrize(
    ("value", "half", "holds"), [(0.001, 0.001, True), (-0.0003, 0.0001, True), (0.0, 0.002, False)]
)
def test_overall_is_kept_where_the_interval_ends_above_a_loss_of_one_percent(
    value: float, half: float, holds: bool
) -> None:
    """Of a mean of 0.05, so that one percent is 0.0005."""
    rows = pd.DataFrame([difference("erm", "all", "NDCG", value, half)])
    if value == 0:
        rows = rows.assign(change=1e-12, difference=0.05e-12)
    (found,) = statements.overall_statement(rows)
    assert found["holds"] is holds
    assert ("holds both" in found["note"]) is (not holds)


def made_items(**scale: float) -> pd.DataFrame:
    rows = [
        (method, 0, decile, 10 * decile + item, 100 // decile, 3.0, 1.0, each * (1 + 0.1 * item))
        for method, each in scale.items()
        for decile in range(1, 11)
        for item in range(6)
    ]
    names = ["method", "seed", "decile", "item_idx", "count", "loss", "gradient_norm", "sharpness"]
    return pd.DataFrame(rows, columns=names)


def test_sharpness_falls_where_it_does_on_every_item() -> None:
    fit = pd.DataFrame({"method": ["erm", "eisam"], "largest_gap": [0.0, 0.01]})
    sides = sharpness_tables.side_differences(made_items(erm=1.0, sam=0.9, eisam=0.7), n_resamples=200)
    assert set(sides["n"]) == {12, 48}
    (found,) = statements.sharpness_statement(sides, fit, "made")
    assert (found["number"], found["holds"], found["high"] < 0) == ("8", True, True)
    assert "-22 % of SAM's, " in found["note"] or ", -22 % of SAM's" in found["note"]
    sides = sharpness_tables.side_differences(made_items(erm=1.0, sam=0.6, eisam=0.7), n_resamples=200)
    assert not statements.sharpness_statement(sides, fit, "made")[0]["holds"]
    items = made_items(erm=1.0, sam=0.9, eisam=0.7)
    sharper_head = items["sharpness"].where((items["method"] != "eisam") | (items["decile"] > 2), 1.5)
    sides = sharpness_tables.side_differences(items.assign(sharpness=sharper_head), n_resamples=200)
    assert not statements.sharpness_statement(sides, fit, "made")[0]["holds"]


def test_runs_that_disagree_on_sharpness_widen_its_intervals() -> None:
    one = made_items(erm=1.0, sam=0.9, eisam=0.7)
    other = made_items(erm=1.0, sam=0.9, eisam=1.1).assign(seed=1)
    alone, both = (
        sharpness_tables.side_differences(items, n_resamples=200).query("method == 'eisam'")
        for items in (one, pd.concat([one, other]))
    )
    assert (alone["high"] < 0).all()
    assert (both["high"] > 0).all()
    decile = sharpness_tables.decile_table(pd.concat([one, other]), n_resamples=200)
    assert set(decile["items"]) == {6}


@lru_cache
def measured() -> dict[str, Any]:
    return matched_sharpness.measured(config.SMOKE)


def test_methods_are_measured_near_the_same_training_loss_on_the_same_items() -> None:
    fit = sharpness_tables.fit_table(measured())
    assert fit["method"].tolist() == ["erm", "sam", "eisam"]
    assert fit["largest_gap"].iloc[0] == 0
    assert fit["largest_gap"].max() < 0.2
    found = sharpness_tables.item_table(measured())
    assert found.groupby("method")["item_idx"].apply(list).map(tuple).nunique() == 1
    by_decile = sharpness_tables.decile_table(found, n_resamples=100)
    assert (by_decile["low"] <= by_decile["value"]).all()
    lines = sharpness_tables.slice_table(measured())
    assert (lines.loc[lines["distance"] == 0, "rise"] == 0).all()
    uphill = lines[(lines["direction"] == "ascent") & (lines["distance"] == 0.2)]
    assert (uphill["rise"] > 0).all()


def test_of_a_batch_the_shared_and_the_exact_step_are_compared() -> None:
    table = sharpness_tables.batch_means(measured())
    assert table[["alignment", "cosine_step", "cosine_penalty"]].to_numpy().min() > 0
    assert table[["alignment", "cosine_step", "cosine_penalty"]].to_numpy().max() <= 1
    assert (table["cosine_step"] > 0.7).all(), "both are mostly the gradient of the loss"


def test_a_batch_of_one_item_has_one_perturbation() -> None:
    """Then the shared step is the exact one, and A the coherence of that item's examples."""
    eisam = config.SMOKE.eisam
    dataset = load(eisam.data, seed=0)
    item = np.bincount(dataset.train.target_idx).argmax()
    windows = dataset.train.take(dataset.train.target_idx == item)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = build_backbone(eisam.backbone, max_length=windows.history.shape[1])
        model = SequenceModel(IdItems(dataset.n_items, eisam.backbone.d_model), encoder)
    counts = predicted_counts(dataset.train, dataset.n_items, "last")
    found = [
        matched_sharpness.step_gradient(
            model,
            windows,
            np.arange(5),
            counts,
            replace(SHARPNESS_FAMILY[name], alignment_every=0),
            eisam.train,
        )
        for name in ("eisam", "exact")
    ]
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-6)


def test_panels_of_the_sweep_hold_erm_in_each() -> None:
    names = ["erm", "radius_0.02", "radius_0.2", "penalty_0.8", "gamma_0", "gamma_0.5"]
    rows = [
        (name, "NDCG", 10, group, 0.01 * at, 0.0, 1.0)
        for at, name in enumerate(names)
        for group in ("all", "head", "tail")
    ]
    table = pd.DataFrame(rows, columns=["method", "metric", "k", "group", "value", "low", "high"])
    shown = panels.sensitivity(table)
    sizes = shown.groupby(["parameter", "group"]).size()
    assert sizes.to_dict() == {
        (name, group): n
        for name, n in (("radius", 3), ("penalty", 2), ("gamma", 3))
        for group in ("all", "tail")
    }
    best = panels.spreads(shown).set_index(["parameter", "group"])
    assert best.loc[("radius", "all"), "setting"] == 0.2
    assert best.loc[("gamma", "tail"), "spread"] == pytest.approx(0.01)
    assert (best["erm"] == 0).all()
