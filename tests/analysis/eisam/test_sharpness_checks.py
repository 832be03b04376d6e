"""Steps that are compared, the gap by item, and the rules of the statements on them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from reclib import config
from reclib.analysis.eisam import prior_statements, sharpness_cost, sharpness_gap, sharpness_identities
from reclib.analysis.eisam.sharpness_bounds import BoundConfig, bound_panels, bound_table
from reclib.analysis.eisam.sharpness_cost import METHODS, CostConfig, Passes, item_by_item
from reclib.analysis.eisam.sharpness_steps import random_lm_model, sequence_model
from reclib.evaluation.correlation import Correlation
from reclib.schema import InputError
from reclib.training.perturbing import gradient_norm


def test_sam_imbsam_and_erm_are_settings_of_one_step() -> None:
    table = sharpness_identities.identity_table(40)
    assert len(table) == 8
    assert table["difference"].max() < 1e-6
    wrong = sharpness_identities.identity_table(40, radius=0.3)
    assert wrong["difference"].max() < 1e-6, "at any radius"
    assert prior_statements.identity_statement(table, "made")["holds"]
    assert not prior_statements.identity_statement(table.assign(difference=1e-5), "made")["holds"]


def test_a_small_radius_makes_shared_and_exact_alike_and_the_penalties_stay_apart() -> None:
    model = sequence_model(40, n_windows=16, positions="last", dropout=0.0)
    before = torch.cat([weight.detach().flatten().clone() for weight in model.parameters])
    table = sharpness_identities.shared_against_exact(model, radii=(1e-3, 0.2))
    assert table["cosine"].iloc[0] > 0.999
    assert table["cosine"].iloc[1] < table["cosine"].iloc[0]
    assert (table["penalty_cosine"] < 0.95).all()
    assert 0 < table["alignment"].iloc[0] < 1
    assert (table["targets"] <= 16).all()
    after = torch.cat([weight.detach().flatten() for weight in model.parameters])
    assert torch.equal(before, after)


def test_passes_are_counted() -> None:
    table = sharpness_cost._passes(30).set_index("method")
    expected = {"erm": (1, 1), "reweight": (1, 1), "sam": (2, 2), "eisam2": (2, 2), "eisam": (2, 3)}
    for name, passes in (expected | {"copies": (2, 2)}).items():
        assert tuple(table.loc[name, ["forwards", "backwards"]]) == passes, name
    naive = table.loc["naive"]
    assert naive["forwards"] == 1 + naive["targets"]
    assert naive["backwards"] == 2 * naive["targets"]


def test_item_by_item_is_the_exact_step_by_another_way() -> None:
    model = random_lm_model(
        30, "msl", n_windows=6, n_layers=1, width=32, dropout=0.0, share_head=False, dtype=torch.float64
    )
    fast, slow = (each.outcome(METHODS["exact"]).gradients for each in (model, item_by_item(model)))
    apart = gradient_norm([a - b for a, b in zip(fast, slow, strict=True)])
    assert float(apart) < 1e-6 * float(gradient_norm(slow))


def test_steps_are_timed_against_the_first() -> None:
    model = sequence_model(30, n_windows=4, positions="last")
    found = sharpness_cost.timed({"erm": (model, None), "sam": (model, METHODS["sam"])}, rounds=2)
    assert found["ratio"].iloc[0] == 1
    assert found["ratio"].iloc[1] == found["seconds"].iloc[1] / found["seconds"].iloc[0]
    passes = Passes()
    model.sharpness(METHODS["sam"]).outcome(passes.count(model.examples()), model.parameters, step=1)
    assert (passes.forwards, passes.backwards) == (2, 2)


def test_a_small_run_has_every_size_and_its_panels(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    tables = sharpness_cost.cost_step(
        CostConfig(catalogues=(20, 40), batches=(2, 4), rounds=1), seed=0, workdir=tmp_path
    )
    assert torch.get_num_threads() == threads
    assert len(tables["sizes"]) == 2 * 2 * 4
    assert len(tables["batches"]) == 2 * 8
    panels = sharpness_cost.cost_panels(tables["sizes"], tables["batches"])
    assert panels["panel"].unique().tolist() == [
        "items, SASRec",
        "items, language model",
        "windows of a batch",
    ]
    assert "erm" not in set(panels["method"])


def cost_tables(eisam: float = 2.6, naive: float = 30.0) -> tuple[pd.DataFrame, pd.DataFrame]:
    sizes = pd.DataFrame(
        [
            ("SASRec", n, name, ratio)
            for n in (100, 1000)
            for name, ratio in (("eisam", eisam), ("eisam2", 2.1))
        ],
        columns=["model", "n_items", "method", "ratio"],
    )
    batches = pd.DataFrame([(4, "naive", 8.0), (32, "naive", naive)], columns=["batch", "method", "ratio"])
    return sizes, batches


def test_the_statement_on_cost_asks_for_all_it_says() -> None:
    assert prior_statements.cost_statement(*cost_tables(), "made")["holds"]
    assert not prior_statements.cost_statement(*cost_tables(eisam=3.1), "made")["holds"]
    assert not prior_statements.cost_statement(*cost_tables(naive=9.0), "made")["holds"]
    sizes, batches = cost_tables()
    sizes.loc[0, "ratio"] = 1.9
    assert not prior_statements.cost_statement(sizes, batches, "made")["holds"], "not flat"


@cache
def gap(name: str, folder: Path) -> dict:
    profile = config.override(config.SMOKE, **{"checks.epochs": 6, "data.synthetic.learnability": 0.2})
    settings = sharpness_gap.gap_configs(profile)[name]
    workdir = folder / name
    workdir.mkdir()
    return sharpness_gap.gap_step(settings, seed=0, workdir=workdir)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gap")


def test_the_gap_of_items_is_measured_on_windows_that_training_never_saw(folder: Path) -> None:
    found = gap("erm", folder)
    items = found["items"]
    assert (items["n"] > 0).all()
    both = items[items["n_fresh"] > 0]
    np.testing.assert_allclose(both["gap"], both["fresh_loss"] - both["loss"])
    totals = found["totals"]
    assert totals["loss"] == pytest.approx((items["loss"] * items["n"]).sum() / items["n"].sum())
    assert totals["fresh_loss"] > totals["loss"], "six epochs on 400 windows are learnt by heart"
    settings = sharpness_gap.gap_configs(config.SMOKE)["erm"]
    windows = sharpness_gap.load(settings.data, seed=0).train
    train, fresh = sharpness_gap.drawn_parts(windows, settings, seed=0)
    seen = {(user, time) for user, time in zip(train.user_id, train.timestamp, strict=True)}
    assert not seen & {(user, time) for user, time in zip(fresh.user_id, fresh.timestamp, strict=True)}
    assert set(found["alignment"]["radius"]) == set(sharpness_gap.EXACT_RADII)


def test_slopes_of_methods_share_their_items_and_resamples(folder: Path) -> None:
    items = {name: gap(name, folder)["items"] for name in ("erm", "eisam")}
    same = sharpness_gap.gap_slopes({"erm": items["erm"], "eisam": items["erm"]}, seed=0, n_resamples=20)
    assert same.set_index("method").loc["eisam", ["difference", "difference_low"]].tolist() == [0, 0]
    slopes = sharpness_gap.gap_slopes(items, seed=0, n_resamples=40).set_index("method")
    own = slopes.loc["eisam"]
    assert own["difference"] == pytest.approx(own["value"] - slopes.loc["erm", "value"])
    assert own["difference_low"] <= own["difference"] <= own["difference_high"]
    deciles = sharpness_gap.gap_by_decile(items)
    assert set(deciles["method"]) == {"erm", "eisam"}
    found = sharpness_gap.gap_and_sharpness(items["erm"], seed=0, n_resamples=20)
    assert -1 < found.value < 1


def test_the_statement_on_the_gap_asks_for_slope_sharpness_and_shape() -> None:
    bounds = bound_table(BoundConfig(n_items=6, most=3_000, steps=40), seed=0)
    assert len(bound_panels(bounds)) == 4 * len(bounds)
    row = {"difference": 0.1, "difference_low": 0.05, "difference_high": 0.15}
    slopes = pd.DataFrame([{"method": "eisam", **row}])
    positive, none = Correlation(0.4, 0.3, 0.5, 90), Correlation(0.1, -0.1, 0.3, 90)
    assert prior_statements.gap_statement(slopes, positive, bounds, "made")["holds"]
    assert not prior_statements.gap_statement(slopes, none, bounds, "made")["holds"]
    flat = slopes.assign(difference_low=-0.05)
    assert not prior_statements.gap_statement(flat, positive, bounds, "made")["holds"]


def test_settings_of_one_size_are_refused() -> None:
    with pytest.raises(InputError, match="two sizes each"):
        replace(config.SMOKE.checks, batches=(4,))
