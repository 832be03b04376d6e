"""The runs of the MSL paper's tables: their cells, their spread over seeds, their cost, the main table."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from reclib import registry
from reclib.analysis.msl import cost, learning_curve, main_table, stability, table_statements
from reclib.analysis.msl import runs as msl_runs
from reclib.analysis.msl import steps as msl
from reclib.analysis.msl.main_table import Row
from reclib.artifacts import Artifact, get_or_compute
from tests.analysis.bench import PROFILE, profile, workbench


@lru_cache
def ranked(method: str, seed: int) -> Artifact:
    cell = msl_runs.Cell(profile=small(), method=method, seed=seed)
    return msl_runs.ranked(cell, bench=workbench())


@lru_cache
def small():
    return profile(**{"msl_tables.preference_windows": 8, "evaluation.n_windows": 6})


def test_a_cell_finds_what_a_notebook_cached() -> None:
    found = msl_runs.tuned(
        msl_runs.Cell(profile=PROFILE, method="msl", seed=0), get_or_compute, bench=workbench()
    )
    by_notebook = get_or_compute(
        "fine_tune",
        msl.fine_tune_step,
        msl.tuned_config(PROFILE, "msl"),
        upstream=workbench().upstream(),
        seed=0,
        bench=workbench(),
    )
    assert found.key == by_notebook.key


def test_s_dpo_starts_from_the_reference_of_its_seed_or_the_one_named() -> None:
    asked: list[tuple[str, int, list[str]]] = []

    def noted(step, function, config, *, upstream=(), seed, **kwargs):
        asked.append((step, seed, [each.key for each in upstream[1:]]))
        return type("Made", (), {"key": f"{step}-{seed}", "path": Path()})()

    cell = msl_runs.Cell(profile=PROFILE, method="sdpo", seed=3)
    msl_runs.ranked(cell, noted, bench=workbench())
    msl_runs.ranked(replace(cell, reference_seed=0), noted, bench=workbench())
    of_preference = [row for row in asked if row[0] == "prefer"]
    assert of_preference == [("prefer", 3, ["fine_tune-3"]), ("prefer", 3, ["fine_tune-0"])]


def test_the_grid_has_every_method_under_every_seed_on_one_setting() -> None:
    grid = stability.cells(PROFILE)
    seeds = PROFILE.msl_tables.stability.seeds
    assert set(grid) == {(name, seed) for name in stability.STABILITY_METHODS for seed in seeds}
    assert len({cell.profile for cell in grid.values()}) == 1
    tune = grid["sdpo", seeds[0]].profile.tune
    assert grid["sdpo", seeds[0]].profile.msl_tables.preference_windows == tune.n_windows


def test_deviations_and_their_ratio_are_those_of_the_runs() -> None:
    values = {"msl_ats": [0.20, 0.21, 0.19], "sdpo": [0.10, 0.16, 0.13]}
    seeds = pd.DataFrame(
        [(name, s, "NDCG", 10, v) for name, of in values.items() for s, v in enumerate(of)],
        columns=["method", "seed", "metric", "k", "value"],
    )
    row = stability.spread_table(seeds).set_index("method").loc["sdpo"]
    assert row["relative"] == pytest.approx(np.std(values["sdpo"], ddof=1) / np.mean(values["sdpo"]))
    assert row["ratio"] == pytest.approx(3.0)
    limits = np.sqrt(9 / stats.f.ppf([0.975, 0.025], 2, 2))
    assert [row["low"], row["high"]] == pytest.approx(limits.tolist())
    steps = pd.DataFrame(
        {
            "method": ["sdpo", "msl_ats"],
            "reference": ["lml", "sdpo"],
            "difference": 0.05,
            "low": 0.01,
            "high": 0.09,
        }
    )
    (found,) = table_statements.stability_statement(stability.spread_table(seeds), steps, "made")
    assert not found["holds"], "three seeds do not tell a ratio of 3 from 1"
    wide = seeds.assign(value=np.where(seeds["method"] == "sdpo", 50 * seeds["value"], seeds["value"]))
    (found,) = table_statements.stability_statement(stability.spread_table(wide), steps, "made")
    assert found["holds"]
    (found,) = table_statements.stability_statement(
        stability.spread_table(wide), steps.assign(low=-0.01), "made"
    )
    assert not found["holds"]


def test_runs_without_a_hit_have_no_ratio() -> None:
    seeds = pd.DataFrame(
        [(name, s, "NDCG", 10, hit * s) for name, hit in (("msl_ats", 0.0), ("sdpo", 0.1)) for s in (0, 1)],
        columns=["method", "seed", "metric", "k", "value"],
    )
    spread = stability.spread_table(seeds)
    assert spread.loc[spread["method"] == "sdpo", ["ratio", "low", "high"]].isna().all(axis=None)
    steps = pd.DataFrame(
        [("sdpo", "lml", 0.1, 0.05, 0.15), ("msl_ats", "sdpo", 0.1, 0.05, 0.15)],
        columns=["method", "reference", "difference", "low", "high"],
    )
    (found,) = table_statements.stability_statement(spread, steps, "made")
    assert not found["holds"]
    assert ", of which the latter is 0: no ratio" in found["note"]


def test_rows_of_table_3_name_printed_values(tmp_path: Path) -> None:
    spread = pd.DataFrame(
        {"method": ["sdpo", "msl_ats"], "metric": "NDCG", "k": 10, "mean": 0.02, "deviation": 0.001}
    )
    assert stability.printed_rows(spread, "synthetic", (0, 1)) == []
    assert stability.printed_rows(spread, "msl_office", (0, 1)) == [], "Table 3 has Book and Toy"
    rows = stability.printed_rows(spread, "msl_toy", (0, 1))
    registry.record(rows, "test", profile="smoke", folder=tmp_path)
    found = registry.reproduction(tmp_path).query("table == '3' and dataset == 'Toy'")
    assert found["ours"].notna().all()


def test_s_dpo_pays_for_its_answers_its_reference_and_its_start() -> None:
    config = replace(
        cost.cost_config(PROFILE), tune=replace(PROFILE.tune, n_windows=24, batch_size=8, save_every=24)
    )
    steps = pd.DataFrame(
        [(m, s, v) for m, v in (("lml", 8.0), ("sdpo", 24.0), ("msl", 8.0)) for s in range(3)],
        columns=["method", "step", "seconds"],
    )
    steps["tokens"] = 800
    steps.loc[steps["step"] == 0, ["seconds", "tokens"]] = (99.0, 400)  # warms up
    runs = pd.DataFrame(
        {"method": ["lml", "sdpo", "msl"], "before": [1.0, 25.0, 1.0], "memory": 5.0, "clock": "cpu"}
    ).assign(flops=4e9, peak=2e9)
    table = cost.cost_table(steps, runs, config, epochs=2).set_index("method")
    assert table.loc["sdpo", "once_per_window"] == pytest.approx(1.0)
    assert table.loc["sdpo", "of_msl"] == pytest.approx(3.5)
    assert table.loc["sdpo", "total_of_msl"] == pytest.approx(4.5)
    assert table.loc["lml", "total_of_msl"] == pytest.approx(1.0)
    work = table.loc["lml", ["tokens_per_window", "tokens_per_second", "share_of_peak"]]
    assert work.tolist() == pytest.approx([100, 100, 0.5]), "1e7 operations a token, 1e9 a second of 2e9"
    (found,) = table_statements.cost_statement(table.reset_index(), "made")
    assert found["holds"]


def test_a_method_is_measured_in_this_process_as_in_one_of_its_own(tmp_path: Path) -> None:
    config = replace(
        cost.cost_config(PROFILE),
        tune=replace(PROFILE.tune, n_windows=16, batch_size=8, micro_batch_size=8, epochs=1),
    )
    found = cost.measure(config, "sdpo", 0, tmp_path, 1)
    assert len(found["steps"]) == 2
    assert (found["steps"][["seconds", "tokens"]] > 0).all(axis=None)
    assert found["peak"] > 0
    weights = workbench().fresh_lm(seed=0).named_parameters()
    of_layers = sum(weight.numel() for name, weight in weights if ".layers." in name and weight.ndim == 2)
    assert found["flops"] > 3.5 * of_layers * found["steps"]["tokens"][0], "forward, and back to the states"
    assert found["before"] > 0
    assert found["clock"] == "cpu"


def made_rows() -> list[Row]:
    """Two methods with ranks from nothing, and BIGRec from cached runs."""
    n_windows = small().evaluation.n_windows
    first = pd.Series(range(1, n_windows + 1), dtype="Int64")
    return [
        Row("sasrec", (first, first), "full_ranking"),
        Row("dros", (first + 1, first), "full_ranking", "sasrec", ("SASRec+DROS", "SASRec")),
        Row("lml", (ranked("lml", 0)["windows"]["rank"],), "exact_top_k"),
        Row(
            "sdpo",
            (ranked("sdpo", 0)["windows"]["rank"],),
            "exact_top_k",
            "lml",
            ("BIGRec+S-DPO", "BIGRec+LML"),
        ),
    ]


def test_the_main_table_takes_any_rows_and_pairs_them_by_window(tmp_path: Path) -> None:
    found, bench = made_rows(), workbench()
    table = main_table.table(found, bench, small())
    assert set(table["method"]) == {"sasrec", "dros", "lml", "sdpo", "popularity"}
    assert {"all", "head", "tail"} >= set(table["group"])
    changes = main_table.differences(found, bench, small())
    one = changes.query("method == 'dros' and metric == 'NDCG' and k == 10").iloc[0]
    gain = 1 / np.log2(np.arange(1, 8) + 1)
    assert one["difference"] == pytest.approx((gain[1:] - gain[:-1]).mean() / 2)
    assert main_table.printed_rows(found, table, changes, "synthetic") == []
    rows = main_table.printed_rows(found, table, changes, "msl_office")
    registry.record(rows, "test", profile="smoke", folder=tmp_path)
    recorded = registry.reproduction(tmp_path)
    names = set(recorded.loc[recorded["ours"].notna(), "method"])
    assert names == {"SASRec+DROS", "BIGRec+S-DPO"}, "the others are recorded by notebooks 04 and 14"


def test_held_out_rows_are_those_of_the_held_out_windows() -> None:
    bench = workbench()
    rows = bench.held_out_rows(5)
    assert bench.dataset.test.take(rows).fingerprint == bench.held_out(5).fingerprint


def test_the_learning_curve_has_every_number_of_windows_and_ends_in_the_runs_of_table_3() -> None:
    settings = PROFILE.msl_tables.stability
    grid = learning_curve.cells(PROFILE)
    assert {key[1] for key in grid} == {*settings.fewer_windows, settings.n_windows}
    for method in learning_curve.CURVES:
        for seed in settings.seeds:
            assert grid[method, settings.n_windows, seed] == stability.cells(PROFILE)[method, seed]
    assert all(cell.profile.tune.n_windows == n for (_, n, _), cell in grid.items())


def ndcg_at_5(run: Artifact) -> np.ndarray:
    rank = run["windows"]["rank"].fillna(99).to_numpy(dtype=float)
    return np.where(rank <= 5, 1 / np.log2(rank + 1), 0.0)


def test_the_learning_curve_averages_seeds_and_pairs_test_windows() -> None:
    runs = {
        (method, n, seed): ranked(method if n == 2 else "lml", seed)
        for method in ("lml", "msl")
        for n in (1, 2)
        for seed in (0, 1)
    }
    curve = learning_curve.curve_table(runs, workbench(), small(), k=5).set_index(["method", "windows"])
    by_seed = [ndcg_at_5(ranked("msl", seed)).mean() for seed in (0, 1)]
    assert curve.loc[("msl", 2), "value"] == pytest.approx(np.mean(by_seed))
    assert (curve["low"] <= curve["value"]).all()
    assert (curve["value"] <= curve["high"]).all()
    gains = learning_curve.gain_table(runs, workbench(), small(), k=5).set_index("windows")
    assert gains["method"].tolist() == ["msl", "msl"]
    assert gains.loc[1, "difference"] == 0
    assert gains.loc[1, ["low", "high"]].isna().all()
    difference = curve.loc[("msl", 2), "value"] - curve.loc[("lml", 2), "value"]
    assert gains.loc[2, "difference"] == pytest.approx(difference)
