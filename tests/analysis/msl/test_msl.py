"""The steps and tables of the MSL study, on a made catalogue."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reclib import registry
from reclib.analysis.msl import decoding_comparison, statements, steps, tables, title_policies
from reclib.artifacts import Artifact, get_or_compute
from reclib.config import override
from reclib.decoding.exact import exact_scores
from reclib.decoding.lists import listed_items
from tests.analysis.bench import PROFILE, TUNED_FILES, kept_files, profile, workbench


@lru_cache
def tuned(method: str) -> Artifact:
    config = steps.tuned_config(PROFILE, method)
    return get_or_compute("fine_tune", steps.fine_tune_step, config, seed=0, bench=workbench())


@lru_cache
def ranked(method: str) -> Artifact:
    adapter = tuned(method)
    config = steps.held_out_config(PROFILE)
    return get_or_compute(
        "held_out",
        steps.held_out_step,
        config,
        upstream=[adapter],
        seed=0,
        bench=workbench(),
        adapter=adapter,
    )


def test_a_tuned_adapter_is_all_that_is_kept_of_a_training() -> None:
    config = steps.tuned_config(profile(**{"tune.epochs": 2}), "msl")
    artifact = get_or_compute("fine_tune", steps.fine_tune_step, config, seed=0, bench=workbench())
    assert kept_files(artifact) == TUNED_FILES


def test_a_held_out_window_is_ranked_by_its_probability() -> None:
    bench, artifact = workbench(), ranked("msl")
    windows = bench.held_out(PROFILE.evaluation.n_windows)
    scores = exact_scores(bench.with_adapter(tuned("msl")), bench.prompts(windows), bench.trie)
    own = scores[np.arange(len(windows)), windows.target_idx]
    table = artifact["windows"]
    assert table["catalogue_nll"].to_numpy() == pytest.approx(-own, abs=1e-3)
    better = (scores[:, 1:] > own[:, None] + 1e-4).sum(1)
    listed = table["rank"].notna().to_numpy()
    assert (better[listed] < PROFILE.decoding.top_k).all()
    assert (better[~listed] >= PROFILE.decoding.top_k - 1).all(), "all of the others are further down"


def test_adapters_are_exchanged_and_the_untuned_model_comes_back() -> None:
    bench = workbench()
    windows = bench.held_out(4)
    before = exact_scores(bench.with_adapter(None), bench.prompts(windows), bench.trie)
    other = exact_scores(bench.with_adapter(tuned("lml")), bench.prompts(windows), bench.trie)
    again = exact_scores(bench.with_adapter(None), bench.prompts(windows), bench.trie)
    assert not np.allclose(before[:, 1:], other[:, 1:], atol=1e-3)
    np.testing.assert_array_equal(before, again)


def test_held_out_windows_are_the_same_every_time_and_of_their_part() -> None:
    bench = workbench()
    first, second = bench.held_out(5, part="valid"), bench.held_out(5, part="valid")
    assert first.fingerprint == second.fingerprint
    assert bench.held_out(10**6).fingerprint == bench.dataset.test.fingerprint


def test_the_comparison_has_popularity_and_groups() -> None:
    both = {("lml", 0): ranked("lml"), ("msl", 0): ranked("msl")}
    table = tables.comparison_table(both, workbench(), PROFILE)
    assert set(table["method"]) == {"lml", "msl", "popularity", "uniform"}
    assert table["group"].iloc[0] == "all"
    of_all = table[
        (table["method"] == "msl") & (table["metric"] == "catalogue_nll") & (table["group"] == "all")
    ]
    assert of_all["value"].iloc[0] == pytest.approx(ranked("msl")["windows"]["catalogue_nll"].mean())
    uniform = table[(table["method"] == "uniform") & (table["metric"] == "catalogue_nll")]
    assert uniform["value"].to_numpy() == pytest.approx(np.log(workbench().dataset.n_items))
    assert len(tables.wide(table)) == len(table[["group", "method"]].drop_duplicates())


def test_differences_are_paired_and_of_the_same_windows() -> None:
    both = {("lml", 0): ranked("lml"), ("msl", 0): ranked("msl")}
    table = tables.differences_table(both, workbench(), PROFILE)
    row = table[table["metric"] == "catalogue_nll"].iloc[0]
    windows = [ranked(name)["windows"]["catalogue_nll"] for name in ("msl", "lml")]
    assert row["difference"] == pytest.approx((windows[0] - windows[1]).mean())
    assert row["low"] <= row["difference"] <= row["high"]


def test_component_table_reads_the_monitored_part() -> None:
    table = tables.component_table({name: tuned(name)["trace"] for name in ("lml", "msl")}, span=1)
    assert (table["value"] == table["smoothed"]).all()
    trace = tuned("msl")["trace"].query("name == 'lml_item'").sort_values("step")
    assert table.query("method == 'msl'")["value"].tolist() == trace["value"].tolist()
    first = table.groupby("method")["value"].first()
    assert first["lml"] == pytest.approx(first["msl"]), "the same batch, before the first update"


def test_only_lml_is_probed() -> None:
    assert steps.tuned_config(PROFILE, "lml").probe_every > 0
    assert steps.tuned_config(PROFILE, "msl_ats").probe_every == 0
    assert len(tables.gradient_table(tuned("lml")["trace"])) > 0


def test_small_weights_count_every_choice_once() -> None:
    adapter = tuned("msl")
    config = steps.held_out_config(PROFILE, n_windows=8)
    weights = steps.weights_step(config, seed=0, workdir=Path(), bench=workbench(), adapter=adapter)[
        "weights"
    ]
    small = tables.small_weights(weights, threshold=1.01)
    n_choices = int((~weights["is_forced"]).sum())
    assert small.groupby("method")["small"].sum().tolist() == [n_choices, n_choices]
    assert small.groupby("method")["share"].sum().tolist() == pytest.approx([1, 1])


def test_the_temperature_grid_shares_its_runs_with_the_methods() -> None:
    grid = steps.temperature_grid(PROFILE)
    assert grid["msl"] == steps.METHODS["msl"]
    assert grid["msl_temperature"] == steps.METHODS["msl_temperature"]
    assert grid["msl_ats"].adaptive
    other = steps.temperature_grid(override(PROFILE, **{"msl_tables.grid_temperatures": (1.0, 3.5)}))
    assert {name: one.temperature for name, one in other.items() if not one.adaptive} == {
        "msl": 1.0,
        "msl_3.5": 3.5,
    }


def test_statements_are_those_of_the_specification(tmp_path: Path) -> None:
    lml = tables.gradient_table(tuned("lml")["trace"])
    components = tables.component_table({name: tuned(name)["trace"] for name in ("lml", "msl")})
    differences = pd.DataFrame(
        {
            "method": ["msl_ats"],
            "metric": ["NDCG"],
            "k": [10],
            "difference": [0.1],
            "low": [0.05],
            "high": [0.2],
        }
    )
    rows = [
        *statements.gradient_statement(lml, "synthetic"),
        *statements.component_statement(components, "synthetic", seed=0),
        *statements.accuracy_statement(differences, "synthetic"),
    ]
    registry.record_statements(rows, "test", profile="smoke", folder=tmp_path)
    found = registry.statement_results(tmp_path).query("spec == 'msl'").set_index("number")["holds"]
    assert found["4a"] == "yes"
    assert found["3b"] == "untested"


def test_a_difference_that_never_varies_has_no_interval() -> None:
    without_hits = {"method": ["msl_ats"], "metric": ["NDCG"], "k": [10], "difference": [0.0]}
    ends = {"low": [np.nan], "high": [np.nan]}
    (row,) = statements.accuracy_statement(pd.DataFrame(without_hits | ends), "made")
    assert not row["holds"]
    assert np.isnan([row["low"], row["high"]]).all()
    assert "no interval" in row["note"]


def test_small_weights_are_counted_at_choices_of_each_models_own_loss() -> None:
    about = {"sample": [0, 0, 1, 1, 2, 2], "is_forced": [False, True] * 3}
    small, large, forced = 0.05, 0.5, 0.0
    weights = {
        "lml": pd.DataFrame(about | {"lml": [large, forced, large, forced, small, forced], "msl": small}),
        "msl": pd.DataFrame(about | {"msl": [small, forced, large, forced, small, forced], "lml": small}),
    }
    (row,) = statements.weights_statement(weights, "made", seed=0)
    assert row["value"] == pytest.approx(1 / 3), "one of three choices more"
    assert (row["low"], row["high"]) == (pytest.approx(0.0), pytest.approx(1.0)), "few windows"
    assert not row["holds"], "two are no more than twice one"


@pytest.mark.parametrize(("low", "held"), [(0.012, True), (0.008, False)])
def test_an_optimum_counts_where_its_interval_is_above_both_ends(low: float, held: bool) -> None:
    values = {"method": ["msl"] * 3 + ["msl_ats"], "temperature": [1.0, 2.0, 4.0, 1.6]}
    numbers = {"value": [0.010, 0.015, 0.009, 0.014], "low": [0.0, low, 0.0, 0.01], "high": [1.0] * 4}
    table = pd.DataFrame(values | numbers).assign(metric="NDCG", k=10)
    inside, adaptive = statements.temperature_statements(table, "made")
    assert (inside["number"], inside["holds"], inside["value"]) == ("3a", held, 2.0)
    assert adaptive["holds"]
    at_end = table.assign(value=[0.02, 0.015, 0.009, 0.014])
    assert not statements.temperature_statements(at_end, "made")[0]["holds"]
    missed = statements.temperature_statements(table.assign(value=0.0, low=0.0), "made")
    assert [(each["number"], each["holds"], "value" in each) for each in missed] == [
        ("3a", False, False),
        ("3c", False, False),
    ]


def test_rows_for_the_registry_name_printed_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = {("lml", 0): ranked("lml"), ("msl_ats", 0): ranked("msl_ats")}
    bench = workbench()
    table = tables.comparison_table(both, bench, PROFILE)
    differences = tables.differences_table(both, bench, PROFILE)
    assert tables.printed_rows(table, differences, bench, PROFILE) == [], "no paper has this data set"
    monkeypatch.setitem(tables.PRINTED_DATASETS, "synthetic", "Office")
    rows = tables.printed_rows(table, differences, bench, PROFILE)
    registry.record(rows, "test", profile="smoke", folder=tmp_path)
    found = registry.reproduction(tmp_path)
    assert set(found.loc[found["ours"].notna(), "table"]) == {"5", "6"}


def test_exact_lists_are_those_of_the_whole_catalogue() -> None:
    config = decoding_comparison.config(PROFILE)
    step = decoding_comparison.decoding_step(
        config, seed=0, workdir=Path(), bench=workbench(), adapter=tuned("msl")
    )
    overlap = step["windows"].groupby("method")["overlap"].mean()
    assert overlap["exact"] == 1
    assert overlap["catalogue"] > 0.98, "equal but for ties at the last place"
    assert overlap["beam_valid"] > 0.5


def test_both_title_policies_agree_where_titles_differ_and_else_titles_hit_more() -> None:
    runs = {("msl", 0): ranked("msl"), ("lml", 0): ranked("lml")}
    found = title_policies.policy_table(runs, workbench(), PROFILE)
    assert found["method"].unique().tolist() == ["msl", "lml"]
    assert found["by_item"].tolist() == found["by_title"].tolist()
    assert not found["shared"].any()
    lists = ranked("msl")["lists"]
    items = listed_items(lists, n_lists=len(ranked("msl")["windows"]), length=PROFILE.decoding.top_k)
    first = lists[lists["rank"] == 1].set_index("window")["item_idx"]
    assert items[first.index, 0].tolist() == first.tolist()
    assert title_policies.title_numbers(["a", "b", "a"]).tolist() == [-1, 0, 1, 0]
