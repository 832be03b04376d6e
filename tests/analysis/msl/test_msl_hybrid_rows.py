"""Rows of the main table by LLaRA, A-LLMRec and grounding, and what they say of statement 4b."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reclib import config, registry
from reclib.analysis.msl import hybrid_rows, main_table, table_statements
from reclib.analysis.msl.main_table import Row
from reclib.artifacts import get_or_compute
from reclib.config.msl_tables import HYBRID_ROWS, TABLE_METHODS
from reclib.schema import InputError
from reclib.training.methods import METHODS
from tests.analysis.bench import PROFILE, workbench

# As in test_hybrids.py, whose cached runs these are.
SMALL = config.override(
    PROFILE,
    **{
        "hybrid.align.epochs": 1,
        "evaluation.n_windows": 6,
        "msl_tables.preference_windows": 2 * PROFILE.tune.batch_size,
    },
)
WANTED = ("grounded_popularity", "llara_sdpo", "a_llmrec_lml", "grounded")


@lru_cache
def rows() -> dict[str, Row]:
    found = hybrid_rows.hybrid_rows(SMALL, workbench(), get_or_compute, names=WANTED)
    assert [row.method for row in found] == list(WANTED)
    return {row.method: row for row in found}


def test_a_profile_names_its_rows_and_none_is_none() -> None:
    assert hybrid_rows.hybrid_rows(SMALL, workbench(), get_or_compute, names=()) == []
    assert config.PAPER.msl_tables.hybrids == HYBRID_ROWS
    with pytest.raises(InputError, match=r"msl_tables.hybrids has \['llara'\]: choose among llara_lml"):
        config.override(SMALL, **{"msl_tables.hybrids": ("llara",)})
    with pytest.raises(InputError, match="lacks 'lml', which the others refer to"):
        config.override(SMALL, **{"msl_tables.methods": ("msl",)})


def test_a_made_catalogue_has_every_method_whatever_the_profile_compares() -> None:
    made = hybrid_rows.made_profile(config.DEFAULT)
    assert "sdpo" not in config.DEFAULT.msl_tables.methods
    assert set(made.msl_tables.methods) == set(TABLE_METHODS)
    assert made.seeds == config.DEFAULT.msl_tables.made.seeds
    assert made.data.source == "synthetic"


def test_rows_rank_the_windows_of_the_table_each_in_its_own_way() -> None:
    assert {row.protocol for name, row in rows().items() if "grounded" in name} == {"grounding"}
    assert rows()["llara_sdpo"].protocol == SMALL.decoding.protocol
    for row in rows().values():
        assert [len(ranks) for ranks in row.ranks] == [SMALL.evaluation.n_windows] * len(SMALL.seeds)
    lists = [tuple(row.ranks[0].fillna(-1)) for row in rows().values()]
    assert len(set(lists)) > 1


def test_each_is_compared_with_what_it_builds_on() -> None:
    assert {name: row.reference for name, row in rows().items()} == {
        "grounded_popularity": "lml",
        "llara_sdpo": "llara_lml",
        "a_llmrec_lml": None,
        "grounded": "lml",
    }


def test_names_are_those_of_table_5(tmp_path: Path) -> None:
    ranks = (pd.Series(range(1, 7), dtype="Int64"),)
    made = [
        Row(f"{method}_{loss}", ranks, "exact_top_k", None if loss == "lml" else f"{method}_lml", printed)
        for method, printed_as in (("llara", "LLaRA"), ("a_llmrec", "A-LLM"))
        for loss, as_loss in (("lml", "LML"), ("sdpo", "S-DPO"), ("msl_ats", "MSL"))
        for printed in [(f"{printed_as}+{as_loss}", f"{printed_as}+LML")]
    ]
    for name in ("llara_sdpo", "a_llmrec_lml"):
        assert rows()[name].printed == next(row.printed for row in made if row.method == name)
    table = main_table.table(made, workbench(), SMALL)
    changes = main_table.differences(made, workbench(), SMALL)
    registry.record(
        main_table.printed_rows(made, table, changes, "msl_toy"), "test", profile="smoke", folder=tmp_path
    )
    found = registry.reproduction(tmp_path).query("dataset == 'Toy' and ours.notna()")
    assert set(found["method"]) == {row.printed[0] for row in made if row.printed}
    assert set(found.loc[found["method"].str.endswith("MSL"), "reference"]) == {"LLaRA+LML", "A-LLM+LML"}


def changes(llara: float, a_llmrec: float) -> pd.DataFrame:
    """Differences with intervals that reach 0.05 to both sides."""
    of = {"llara_msl_ats": llara, "a_llmrec_msl_ats": a_llmrec, "llara_sdpo": -1.0}
    table = pd.DataFrame({"method": list(of), "difference": list(of.values())})
    table = table.assign(low=table["difference"] - 0.05, high=table["difference"] + 0.05, metric="NDCG", k=10)
    return pd.concat([table, table.assign(metric="HR", low=-1.0)])


@pytest.mark.parametrize(
    ("llara", "a_llmrec", "holds"), [(0.1, 0.2, True), (0.1, 0.04, False), (-0.1, 0.2, False)]
)
def test_4b_holds_if_msl_is_above_lml_with_both(llara: float, a_llmrec: float, holds: bool) -> None:
    (found,) = table_statements.hybrid_statements({"made": changes(llara, a_llmrec)})
    assert found["holds"] is holds
    assert (found["number"], found["dataset"], found["value"]) == ("4b", "made", min(llara, a_llmrec))


def test_4b_has_no_interval_without_a_hit() -> None:
    (found,) = table_statements.hybrid_statements({"made": changes(0.0, 0.1).assign(low=np.nan, high=np.nan)})
    assert not found["holds"]
    assert np.isnan([found["low"], found["high"]]).all()
    assert found["note"].startswith("paired difference of NDCG@10: llara_msl_ats 0.0000 (no interval), ")


def test_4b_is_not_tested_by_one_of_the_two() -> None:
    one = changes(0.1, 0.2)
    both = {"half": one[one["method"] != "a_llmrec_msl_ats"], "whole": one}
    assert [each["dataset"] for each in table_statements.hybrid_statements(both)] == ["whole"]


def test_the_figure_has_a_panel_for_each_recommender_with_popularity() -> None:
    names = ["sasrec", "lml", "llara_lml", "llara_msl_ats", "grounded", "popularity"]
    table = pd.DataFrame(
        [(n, "NDCG", k, g, 0.1) for n in names for k in (5, 10) for g in ("all", "tail")],
        columns=["method", "metric", "k", "group", "value"],
    )
    shown = hybrid_rows.by_recommender(table, "made")
    assert list(zip(shown["backbone"], shown["method"], strict=True)) == [
        ("bigrec", "lml"),
        ("bigrec", "popularity"),
        ("llara", "lml"),
        ("llara", "msl_ats"),
        ("llara", "popularity"),
        ("a_llmrec", "popularity"),
    ]
    assert (shown["k"] == 10).all()
    assert (shown["group"] == "all").all()


def test_rows_on_the_student_have_names_of_table_5() -> None:
    printed = registry.paper_numbers().query("paper == 'MSL' and table == '5'")
    assert set(main_table.ON_STUDENT.values()) <= set(printed["method"])
    assert set(main_table.ON_STUDENT) <= set(METHODS)
