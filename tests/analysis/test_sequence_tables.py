"""Tables, panels and statements of sequence recommenders, on runs whose ranks are made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from reclib import config, registry
from reclib.analysis import sequence_panels, sequence_tables
from reclib.analysis.faerec import printed as faerec_printed
from reclib.analysis.faerec import statements as faerec_statements
from reclib.analysis.sequence_cells import (
    ABLATIONS,
    ablation_cells,
    backbone_cells,
    cells,
    main_cells,
    more_backbone_cells,
    of_methods,
    sensitivity_cells,
)
from reclib.plotting import figures, style
from reclib.schema import InputError
from tests.analysis.made_runs import PROFILE, MadeBench, cell, grid, is_tail, made_run

BENCH: Any = MadeBench()
HITS = {
    "base": (0.3, 0.1),
    "loam": (0.3, 0.2),
    "rlmrec_con": (0.5, 0.3),
    "faerec": (0.5, 0.6),
    **dict.fromkeys(ABLATIONS, (0.4, 0.3)),
    "without_item_alignment": (0.4, 0.1),
}
TRAINED: Any = grid(HITS)


def one(table: pd.DataFrame, **where: object) -> pd.Series:
    for column, value in where.items():
        table = table[table[column] == value]
    assert len(table) == 1, where
    return table.iloc[0]


def test_means_are_of_all_head_and_tail_targets_with_popularity_beside() -> None:
    table = sequence_tables.comparison_table(TRAINED, BENCH)
    tail = is_tail()
    found = {
        group: one(table, method="faerec", metric="HR", k=10, group=group)
        for group in ("all", "head", "tail")
    }
    assert found["tail"]["value"] == pytest.approx(0.6, abs=1 / tail.sum())
    assert found["head"]["value"] == pytest.approx(0.5, abs=1 / (~tail).sum())
    assert found["all"]["n"] == len(tail) == found["head"]["n"] + found["tail"]["n"]
    assert found["tail"]["low"] < 0.6 < found["tail"]["high"]
    assert "popularity" in set(table["method"])
    assert "uniform" not in set(table["method"])
    shown = sequence_tables.wide(table)
    assert shown.loc[("synthetic", "sasrec", "faerec"), ("tail", "NDCG@10")] == round(
        found["tail"]["value"], 4
    )


def test_means_are_over_seeds_too_and_their_interval_is_for_other_runs() -> None:
    n = len(is_tail())
    runs: Any = {cell("base", seed=seed): made_run(np.full(n, seed)) for seed in (0, 1)}  # never, always
    row = one(sequence_tables.comparison_table(runs, BENCH), method="base", metric="HR", k=10, group="all")
    assert row["value"] == 0.5
    assert row["high"] - 0.5 == pytest.approx(12.706 * 0.5, rel=1e-3)  # Student's t of one degree of freedom


def test_differences_are_paired_on_windows_and_seeds() -> None:
    table = sequence_tables.differences_table(TRAINED, BENCH)
    row = one(table, method="faerec", metric="HR", group="tail")
    assert row["difference"] == pytest.approx(0.5, abs=2 / is_tail().sum())
    assert row["low"] > 0.3
    assert row["change"] == pytest.approx(5.0, rel=0.3)
    assert set(table["method"]) == set(HITS) - {"base"}
    equal = sequence_tables.differences_table(TRAINED, BENCH, reference="loam", methods=["base"])
    assert one(equal, metric="NDCG", group="head")["difference"] == 0
    with pytest.raises(InputError, match="no run of the reference 'melt'"):
        sequence_tables.differences_table(TRAINED, BENCH, reference="melt")


def test_popularity_groups_cover_every_target_once() -> None:
    table = sequence_tables.comparison_table(TRAINED, BENCH, groups="popularity")
    rows = table[(table["method"] == "base") & (table["metric"] == "HR") & (table["k"] == 10)]
    assert rows[rows["group"] != "all"]["n"].sum() == rows[rows["group"] == "all"]["n"].iloc[0]
    assert set(rows["group"]) <= {"all", "0", *sequence_tables.GROUP_LABELS}
    with pytest.raises(InputError, match="choose"):
        sequence_tables.comparison_table(TRAINED, BENCH, groups="age")


def test_the_best_baseline_is_neither_faerec_nor_the_backbone() -> None:
    table = sequence_tables.comparison_table(TRAINED, BENCH)
    table = table[table["method"].isin(["base", "loam", "rlmrec_con", "faerec"])]
    assert set(sequence_tables.best_baselines(table)["method"]) == {"rlmrec_con"}
    against = sequence_tables.against_best(TRAINED, BENCH, table)
    row = one(against, metric="HR", group="tail")
    assert (row["reference"], row["method"]) == ("rlmrec_con", "faerec")
    assert row["difference"] == pytest.approx(0.3, abs=2 / is_tail().sum())


def test_coverage_counts_distinct_items_and_its_interval_is_of_halves_of_the_users() -> None:
    n, n_items = len(is_tail()), BENCH.dataset(PROFILE.sequence.data).n_items
    spread = 1 + (np.arange(20) + 7 * np.arange(n)[:, None]) % n_items
    runs: Any = {cell("base"): made_run(np.ones(n)), cell("faerec"): made_run(np.ones(n), spread)}
    table = sequence_tables.coverage_table(runs, BENCH)
    assert one(table, method="base", group="all")["value"] == pytest.approx(10 / n_items)
    assert one(table, method="faerec", group="tail")["value"] == 1
    row = one(sequence_tables.coverage_differences(runs, BENCH), group="all")
    assert row["difference"] == pytest.approx(1 - 10 / n_items)
    assert 0 < row["low"] <= row["difference"] <= row["high"]
    found = faerec_statements.coverage_statement(table, sequence_tables.coverage_differences(runs, BENCH))
    assert [each["holds"] for each in found] == [True]


def statements(trained: Any) -> list[dict[str, Any]]:
    base = sequence_tables.differences_table(trained, BENCH)
    groups = sequence_tables.differences_table(trained, BENCH, groups="popularity")
    table = sequence_tables.comparison_table(trained, BENCH)
    baselines = table[~table["method"].str.startswith("without_")]
    to = {
        name: sequence_tables.differences_table(trained, BENCH, reference=name)
        for name in ("faerec", "without_feature_alignment")
    }
    rival = sequence_tables.differences_table(trained, BENCH, reference="rlmrec_con", groups="popularity")
    return [
        *faerec_statements.accuracy_statements(base),
        *faerec_statements.proportion_statement(trained, BENCH),
        *faerec_statements.best_baseline_statement(sequence_tables.against_best(trained, BENCH, baselines)),
        *faerec_statements.ablation_statements(to["faerec"], to["without_feature_alignment"]),
        *faerec_statements.group_statements(groups, rival),
    ]


def test_statements_hold_where_the_runs_are_so() -> None:
    holds = {found["number"]: found["holds"] for found in statements(TRAINED)}
    # Without the curriculum is as good as without feature alignment; both have equal hits among the head.
    expected = {"1a": True, "1b": True, "1c": True, "2": True, "3a": True, "3b": True, "3c": False}
    assert {number: holds[number] for number in expected} == expected
    assert holds["4b"] is False


def test_statements_do_not_hold_where_faerec_is_its_backbone(tmp_path: Path) -> None:
    found = statements(grid(dict.fromkeys(HITS, (0.4, 0.2))))
    assert {each["number"]: each["holds"] for each in found if each["number"] != "2"} == dict.fromkeys(
        ("1a", "1b", "1c", "3a", "3b", "3c", "4a", "4b"), False
    )
    registry.record_statements(found, "30_made", profile="smoke", folder=tmp_path)
    table = faerec_statements.statement_table(found, registry.statements())
    assert table.set_index("number")["holds"]["6"] == "untested"
    assert set(table["number"]) == {"1a", "1b", "1c", "2", "3a", "3b", "3c", "4a", "4b", "5", "6"}


def test_runs_that_disagree_leave_statements_open() -> None:
    """Two seeds say yes and one says no: none of the statements about means holds."""
    good, bad = {"base": (0.5, 0.2), "faerec": (0.5, 0.5)}, {"base": (0.5, 0.2), "faerec": (0.5, 0.1)}
    agree = [grid(good, seed=seed) for seed in (0, 1, 2)]
    disagree = [*agree[:2], grid(bad, seed=2)]
    for runs, expected in ((agree, True), (disagree, False)):
        trained: Any = {each: run for part in runs for each, run in part.items()}
        differences = sequence_tables.differences_table(trained, BENCH)
        found = [
            *faerec_statements.accuracy_statements(differences),
            *faerec_statements.proportion_statement(trained, BENCH),
        ]
        assert {each["number"]: each["holds"] for each in found} == dict.fromkeys(
            ("1a", "1b", "1c"), expected
        )
        assert all(each["value"] > 0 for each in found)


def test_coverage_of_runs_that_disagree_is_open() -> None:
    n, n_items = len(is_tail()), BENCH.dataset(PROFILE.sequence.data).n_items
    spread = 1 + (np.arange(20) + 7 * np.arange(n)[:, None]) % n_items
    for wide_seeds, holds in (((0, 1, 2), True), ((0, 1), False)):
        runs: Any = {cell("base", seed=seed): made_run(np.ones(n)) for seed in (0, 1, 2)}
        runs |= {
            cell("faerec", seed=seed): made_run(np.ones(n), spread if seed in wide_seeds else None)
            for seed in (0, 1, 2)
        }
        table, differences = (
            make(runs, BENCH)
            for make in (sequence_tables.coverage_table, sequence_tables.coverage_differences)
        )
        (found,) = faerec_statements.coverage_statement(table, differences)
        assert found["holds"] is holds
        assert found["value"] > 0.4


def test_a_backbone_that_never_hits_the_tail_gains_in_proportion() -> None:
    found = faerec_statements.proportion_statement(grid({"base": (0.5, 0.0), "faerec": (0.5, 0.3)}), BENCH)
    assert found[0]["holds"]
    assert np.isfinite(found[0]["value"])


def test_rows_for_the_registry_are_printed_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = sequence_tables.comparison_table(TRAINED, BENCH)
    differences = sequence_tables.differences_table(TRAINED, BENCH)
    assert faerec_printed.accuracy_rows("2", table, differences) == [], "no paper has this data set"
    monkeypatch.setitem(faerec_printed.PRINTED_DATASETS, "synthetic", "Beauty")
    for number, printed in list(faerec_printed.TABLES.items()):
        made = faerec_printed.PrintedTable(
            printed.setting, ("synthetic",), printed.backbones, printed.methods
        )
        monkeypatch.setitem(faerec_printed.TABLES, number, made)
    from_faerec = sequence_tables.differences_table(TRAINED, BENCH, reference="faerec")
    coverage = sequence_tables.coverage_table(TRAINED, BENCH)
    rows = [
        *faerec_printed.accuracy_rows("2", table, differences),
        *faerec_printed.accuracy_rows("3", table, from_faerec),
        *faerec_printed.coverage_rows(coverage, sequence_tables.coverage_differences(TRAINED, BENCH)),
        *faerec_printed.statistics_rows(BENCH),
    ]
    registry.record(rows, "30_made", profile="smoke", folder=tmp_path)
    found = registry.reproduction(tmp_path)
    ours = found[found["ours"].notna()]
    assert ours.groupby("table").size().to_dict() == {"1": 4, "2": 4 * 4, "3": 7 * 4, "5": 4 * 2}
    row = one(ours[ours["table"] == "3"], method="w/o ILA", subset="tail", metric="HR@10")
    assert row["reference"] == "FAERec"
    assert row["difference"] < 0


def test_panels_are_what_the_figures_draw() -> None:
    table = sequence_tables.comparison_table(TRAINED, BENCH)
    main = sequence_panels.comparison_panels(table)
    _, axes = style.subplots(columns=2, width="text")
    figures.comparison_grid(main, axes)
    assert list(main["group"].unique()) == ["all", "tail"]
    groups = sequence_tables.comparison_table(TRAINED, BENCH, groups="popularity")
    shown = sequence_panels.popularity_panels(groups, ("base", "faerec"), backbone="sasrec")
    _, ax = style.subplots()
    figures.accuracy_by_popularity(shown, ax)
    ablation = sequence_panels.ablation_panels(
        sequence_tables.differences_table(TRAINED, BENCH, reference="faerec")
    )
    _, axes = style.subplots(columns=2, width="text")
    figures.comparison_grid(ablation, axes)
    assert set(ablation["method"]) == {"base", *ABLATIONS}


def test_the_sensitivity_has_a_curve_for_each_parameter_and_the_backbone_in_both() -> None:
    labels = {"base": 0.1, "redundancy_0.001": 0.4, "redundancy_0.1": 0.6, "alignment_0.1": 0.5}
    table = sequence_tables.comparison_table(
        grid({name: (hits, hits) for name, hits in labels.items()}), BENCH
    )
    panels = sequence_panels.sensitivity_panels(table)
    assert panels.groupby("parameter").size().to_dict() == {"redundancy": 3, "alignment": 2}
    best = sequence_panels.best_settings(panels).set_index("parameter")
    assert best["setting"].to_dict() == {"redundancy": 0.1, "alignment": 0.1}
    assert best["spread"]["redundancy"] == pytest.approx(0.2, abs=0.02)
    _, axes = style.subplots(columns=2, width="text")
    figures.sensitivity(panels, axes)


def test_backbones_are_the_rows_of_their_figure() -> None:
    n = len(is_tail())
    runs: Any = {cell("base", backbone=name): made_run(np.ones(n)) for name in ("gru4rec", "sasrec")}
    table = sequence_tables.comparison_table(runs, BENCH)
    panels = sequence_panels.backbone_panels(table)
    assert list(panels["method"].unique()) == ["gru4rec", "sasrec", "popularity"]
    cost = sequence_tables.cost_table(runs, BENCH)
    panel = sequence_panels.cost_panel(table, cost)
    assert panel["seconds"].tolist() == [2.0, 2.0]
    _, ax = style.subplots()
    figures.accuracy_and_cost(panel, ax)


def test_grids_share_their_cells() -> None:
    everything = cells(PROFILE)
    assert len(everything) == len(set(everything))
    for made in (main_cells, backbone_cells, more_backbone_cells, ablation_cells, sensitivity_cells):
        assert set(made(PROFILE)) <= set(everything)
    shared = set(main_cells(PROFILE)) & set(ablation_cells(PROFILE)) & set(more_backbone_cells(PROFILE))
    assert {each.label for each in shared} == {"base", "faerec"}
    chosen = of_methods(everything, ("without_gate",), backbone="sasrec")
    assert [each.changes for each in chosen] == [(("gate", False),)]


def test_the_ablation_is_on_all_backbones_or_on_those_that_are_named() -> None:
    both = config.override(PROFILE, **{"sequence.backbones": ("sasrec", "gru4rec")})
    assert {each.backbone for each in ablation_cells(both)} == {"sasrec", "gru4rec"}
    one_alone = config.override(both, **{"sequence.ablation_backbones": ("gru4rec",)})
    assert {each.backbone for each in ablation_cells(one_alone)} == {"gru4rec"}
    assert main_cells(one_alone) == main_cells(both)
