from __future__ import annotations

import re
from math import sqrt
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from reclib import registry
from reclib.schema import InputError

ATS = {
    "paper": "MSL",
    "table": "6",
    "dataset": "Office",
    "method": "MSL (w/ ATS)",  # 0.0438 against 0.0220 of LML
    "metric": "NDCG@10",
    "ours": 0.0430,
    "ours_low": 0.0400,
    "ours_high": 0.0460,
    "protocol": "constrained_beam",
    "reference": "LML",
    "difference": 0.02,
    "difference_low": 0.01,
    "difference_high": 0.03,
}
FOUND = {"spec": "msl", "number": "2", "dataset": "ml-100k", "holds": True, "value": 0.4}


def status(tmp_path: Path, profile: str = "paper", **changes: Any) -> str:
    registry.record([ATS | changes], "14_msl", profile=profile, folder=tmp_path)
    table = registry.reproduction(tmp_path)
    run = table.loc[table["status"] != "not_run"]
    assert len(run) == 1
    return run["status"].item()


def test_every_printed_value_has_a_number_and_a_protocol() -> None:
    table = registry.paper_numbers()
    assert table.groupby("paper").size().to_dict() == {"FAERec": 522, "MSL": 284}
    assert table["number"].notna().all()
    assert table["paper_protocol"].notna().all()
    assert (table["value"] != "").all()
    traditional = table.query("table == '5' and method == 'SASRec' and paper == 'MSL'")
    assert set(traditional["paper_protocol"]) == {"full_ranking"}


@pytest.mark.parametrize(("text", "number"), [("0.0182", 0.0182), ("0.0735%", 0.000735), ("19124", 19124)])
def test_printed_numbers(text: str, number: float) -> None:
    assert registry.printed_number(text) == pytest.approx(number)


def test_a_misprint_is_named() -> None:
    with pytest.raises(InputError, match="'0.o1'"):
        registry.printed_number("0.o1")


def test_without_results_every_value_and_statement_has_its_row(tmp_path: Path) -> None:
    tables = registry.generate(results=tmp_path / "none", folder=tmp_path)
    assert set(tables["reproduction"]["status"]) == {"not_run"}
    assert len(tables["reproduction"]) == 806
    assert set(tables["statements"]["holds"]) == {"untested"}
    assert {number[0] for number in tables["statements"]["number"]} == set("123456789")
    for name, table in tables.items():
        assert len(pd.read_csv(tmp_path / f"{name}.csv")) == len(table)


def test_columns_are_those_of_the_design(tmp_path: Path) -> None:
    columns = "paper table dataset setting method subset metric value note ours ours_low ours_high seeds"
    columns += " profile protocol config commit device status"
    assert registry.reproduction(tmp_path).columns.tolist()[:19] == columns.split()
    assert registry.statement_results(tmp_path).columns.tolist() == (
        ["spec", "number", "statement", "dataset", "holds", "value", "low", "high", "profile", "note"]
    )


def test_close_in_the_papers_setting_is_reproduced(tmp_path: Path) -> None:
    assert status(tmp_path) == "reproduced"


def test_five_per_cent_are_enough_without_an_interval(tmp_path: Path) -> None:
    bare = {"ours_low": None, "ours_high": None, "reference": None, "difference": None}
    ends = {"difference_low": None, "difference_high": None}
    assert status(tmp_path, ours=0.0438 * 1.049, **bare, **ends) == "reproduced"
    assert status(tmp_path, ours=0.0438 * 1.051, **bare, **ends) == "differs"


def test_two_pooled_standard_errors_are_enough(tmp_path: Path) -> None:
    half_width = 0.006
    reach = 2 * sqrt(2) * half_width / 1.96
    for distance, expected in ((0.99 * reach, "reproduced"), (1.01 * reach, "direction")):
        ours = 0.0438 - distance
        ends = {"ours_low": ours - half_width, "ours_high": ours + half_width}
        assert status(tmp_path, ours=ours, **ends) == expected


def test_statistics_of_the_data_are_the_papers_in_any_profile(tmp_path: Path) -> None:
    row = {"paper": "MSL", "table": "4", "dataset": "Office", "metric": "users", "protocol": "statistics"}
    for ours, expected in ((4895, "reproduced"), (4500, "differs")):
        registry.record([row | {"ours": ours}], "02_trie", profile="default", folder=tmp_path)
        table = registry.reproduction(tmp_path).query("status != 'not_run'")
        assert table["status"].tolist() == [expected]


@pytest.mark.parametrize("change", [{"profile": "default"}, {"protocol": "constrained_beam_valid"}])
def test_another_profile_or_protocol_shows_at_best_a_direction(tmp_path: Path, change: dict) -> None:
    assert status(tmp_path, **change) == "direction"


@pytest.mark.parametrize(
    "change",
    [
        {"difference": -0.02, "difference_low": -0.03, "difference_high": -0.01},  # the other sign
        {"difference_low": -0.01},  # the interval holds 0
        {"reference": None, "difference": None, "difference_low": None, "difference_high": None},
    ],
)
def test_what_shows_no_direction_differs(tmp_path: Path, change: dict) -> None:
    assert status(tmp_path, profile="default", **change) == "differs"


def test_a_fall_below_the_reference_is_a_direction_too(tmp_path: Path) -> None:
    fall = {"difference": -0.02, "difference_low": -0.03, "difference_high": -0.01}
    change = {"method": "MSL (w/o tau)", **fall}  # 0.0135 against 0.0220 of LML
    assert status(tmp_path, profile="default", **change) == "direction"


def test_the_highest_profile_is_shown_and_a_rerun_replaces_its_own(tmp_path: Path) -> None:
    for profile, ours in (("paper", 0.1), ("default", 0.2), ("smoke", 0.3), ("paper", 0.4)):
        registry.record([ATS | {"ours": ours}], "14_msl", profile=profile, folder=tmp_path)
    table = registry.reproduction(tmp_path).dropna(subset="ours")
    assert table[["ours", "profile"]].to_numpy().tolist() == [[0.4, "paper"]]


def test_other_data_sets_of_a_notebook_add_rows_and_replace_none(tmp_path: Path) -> None:
    made = FOUND | {"number": "3b", "dataset": "made"}  # found again by each run, whatever its data set
    places = {"custom/msl_toy": "msl_toy", "custom": "msl_office", "custom/msl_book": "msl_book"}
    for place, name in places.items():
        rows = [FOUND | {"dataset": name}, made | {"value": len(place)}]
        registry.record_statements(rows, "12_msl", profile="custom", folder=tmp_path, place=place)
    table = registry.statement_results(tmp_path)
    tested = table.loc[table["holds"] != "untested", ["number", "dataset", "profile"]]
    assert sorted(tested.to_numpy().tolist()) == [
        ["2", name, "custom"] for name in ("msl_book", "msl_office", "msl_toy")
    ] + [["3b", "made", "custom"]]
    assert table.loc[table["dataset"] == "made", "value"].item() == len("custom"), "the first place counts"


def test_two_notebooks_may_not_answer_the_same(tmp_path: Path) -> None:
    for notebook in ("13_a", "14_b"):
        registry.record([ATS], notebook, profile="default", folder=tmp_path)
    with pytest.raises(InputError, match=r"13_a\.csv, 14_b\.csv"):
        registry.reproduction(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset": "ml-100k"}, "belongs in record_statements"),
        ({"method": "MSL"}, r"names 0 printed values.*MSL \(w/ ATS\)"),
        ({"reference": "SASRec"}, "reference 'SASRec' is not printed"),
        ({"protocol": "beam"}, "unknown protocols \\['beam'\\]"),
        ({"ours": None}, "ours"),
        ({"ours": float("inf")}, "row 0: ours is inf"),
        ({"accuracy": 1.0}, "unknown columns \\['accuracy'\\]"),
        (
            {"paper": "FAERec", "table": "2", "dataset": "Yelp", "method": "Base", "metric": "HR@10"},
            "names 3",
        ),
    ],
)
def test_results_that_match_no_printed_value_are_refused(tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(InputError, match=re.compile(message, re.DOTALL)):
        registry.record([ATS | {"reference": None} | change], "14_msl", profile="default", folder=tmp_path)
    assert not list(tmp_path.rglob("*.csv"))


def test_an_unknown_profile_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'fast'"):
        registry.record([ATS], "14_msl", profile="fast", folder=tmp_path)


def test_a_statement_is_listed_once_for_each_data_set(tmp_path: Path) -> None:
    rows = [
        FOUND,
        FOUND | {"dataset": "msl_office", "holds": "no"},
        FOUND | {"number": "1a", "note": "48 steps"},
    ]
    registry.record_statements(rows, "12_msl", profile="default", folder=tmp_path)
    table = registry.statement_results(tmp_path)
    tested = table.loc[table["holds"] != "untested", ["number", "dataset", "holds"]]
    assert tested.to_numpy().tolist() == [
        ["1a", "ml-100k", "yes"],
        ["2", "ml-100k", "yes"],
        ["2", "msl_office", "no"],
    ]
    assert len(table) == len(registry.statements()) + 1


@pytest.mark.parametrize("change", [{"number": "9"}, {"spec": "other"}, {"holds": "maybe"}, {"holds": None}])
def test_unknown_statements_and_answers_are_refused(tmp_path: Path, change: dict) -> None:
    with pytest.raises(InputError, match="papers/statements.csv lists .*msl 1a"):
        registry.record_statements([FOUND | change], "12_msl", profile="default", folder=tmp_path)


def test_changes_are_shares_of_the_reference(tmp_path: Path) -> None:
    registry.record([ATS], "14_msl", profile="default", folder=tmp_path)
    (row,) = registry.changes(registry.reproduction(tmp_path)).to_dict("records")
    assert row["paper"] == pytest.approx(0.0438 / 0.0220 - 1)
    assert row["ours"] == pytest.approx(0.02 / (0.0430 - 0.02))
    assert row["ours_low"] == pytest.approx(0.01 / (0.0430 - 0.02))
    assert row["status"] == "direction"
    assert row["label"] == "Office, NDCG@10\nMSL (w/ ATS) – LML"


def test_there_is_no_share_of_a_reference_without_a_hit(tmp_path: Path) -> None:
    registry.record([ATS | {"ours": 0.02, "difference": 0.02}], "14_msl", profile="default", folder=tmp_path)
    assert registry.changes(registry.reproduction(tmp_path)).empty


def test_summary_counts_by_paper_and_status(tmp_path: Path) -> None:
    registry.record([ATS], "14_msl", profile="default", folder=tmp_path)
    table = registry.summary(tmp_path)
    assert table.loc["MSL"].to_dict() == {"reproduced": 0, "direction": 1, "differs": 0, "not_run": 283}
    assert table.loc["FAERec"].sum() == 522


def test_deviations_give_a_reason_and_a_test() -> None:
    table = registry.deviations()
    columns = ["paper", "topic", "paper_says", "released_code", "ours", "reason", "test"]
    assert table.columns.tolist() == columns
    assert (table != "").all(axis=None)
    assert not table.duplicated(["paper", "topic"]).any()
    assert table["test"].str.match(r"tests/[\w/]+\.py::test_\w+$").all()


def test_generated_tables_are_the_same_on_a_rerun(tmp_path: Path) -> None:
    registry.record([ATS], "14_msl", profile="default", folder=tmp_path / "results")
    made = []
    for _ in range(2):
        registry.generate(results=tmp_path / "results", folder=tmp_path)
        made.append((tmp_path / "reproduction.csv").read_bytes())
    assert made[0] == made[1]
