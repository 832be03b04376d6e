"""Lemmas 1 and 2 on a made catalogue: what is counted, and that it is counted right."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd
import pytest

from reclib.analysis.msl import bound as msl_bound
from reclib.analysis.msl import bound_tables, steps, table_statements
from reclib.artifacts import Artifact, get_or_compute
from reclib.decoding.exact import exact_scores
from reclib.text.tokenization import ItemTokens
from reclib.text.trie import ItemTrie
from tests.analysis.bench import PROFILE, workbench


@lru_cache
def bound(method: str | None) -> Artifact:
    bench, adapter = workbench(), None
    if method:
        config = steps.tuned_config(PROFILE, method)
        adapter = get_or_compute("fine_tune", steps.fine_tune_step, config, seed=0, bench=bench)
    return get_or_compute(
        "bound",
        msl_bound.bound_step,
        msl_bound.bound_config(PROFILE),
        upstream=[adapter] if adapter else [],
        seed=0,
        bench=bench,
        adapter=adapter,
    )


def test_losses_and_ranks_are_those_of_the_whole_catalogue() -> None:
    bench, table = workbench(), bound(None)["windows"]
    windows = bench.held_out(PROFILE.msl_tables.bound_windows)
    scores = exact_scores(bench.with_adapter(None), bench.prompts(windows), bench.trie)[:, 1:]
    own = scores[np.arange(len(windows)), windows.target_idx - 1]
    assert table["msl"].to_numpy() == pytest.approx(-own, abs=1e-3)
    assert table["item_rank"].tolist() == (scores >= own[:, None]).sum(1).tolist()
    assert (table["lml"] > table["msl"]).all(), (
        "the random model gives invalid tokens most of the probability"
    )


def test_lemma_1_holds_and_its_parts_add_up() -> None:
    bounds = {"untuned": bound(None), "msl": bound("msl")}
    counted = bound_tables.violations_table(bounds)
    (row,) = table_statements.bound_statement(counted, "synthetic")
    assert row["holds"]
    assert row["value"] == 0
    slack = bound_tables.slack_table(bounds, n_resamples=50)
    assert (slack["value"] >= -1e-6).all()
    total = slack.groupby("model")["value"].sum()
    assert total["msl"] == pytest.approx(bound("msl")["windows"]["lml"].mean())


def test_a_list_in_another_order_breaks_the_bound_and_is_counted() -> None:
    """An item of probability 0.9 that a list has at the third place."""
    artifact = {
        "windows": pd.DataFrame({"window": [0], "rank": [1], "item_rank": [1], "msl": [0.1], "lml": [0.05]}),
        "catalogue": pd.DataFrame(
            {"titles": [3], "title_violations": [0], "items": [4], "item_violations": [1]}
        ),
        "lists": pd.DataFrame(
            {"protocol": ["beam_full"] * 2, "rank": [1, 3], "msl": [2.0, 0.1], "lml": [3.0, 0.9]}
        ),
    }
    counted = bound_tables.violations_table({"msl": artifact})  # type: ignore[dict-item]
    of_list = counted[counted["ranked_by"] == "beam_full"].iloc[0]
    assert (of_list["pairs"], of_list["above_msl"], of_list["above_lml"]) == (2, 1, 0)
    (row,) = table_statements.bound_statement(counted, "made")
    assert not row["holds"], "MSL of the target is above its LML"


def test_items_that_share_a_title_can_break_the_bound_and_titles_cannot() -> None:
    """Three items of one title that is nearly certain: the last of them has rank 3."""
    tokens = ItemTokens(
        tokens=np.array([1, 9, 1, 9, 1, 9, 2, 9], np.int32), start=np.array([0, 0, 2, 4, 6, 8])
    )
    trie = ItemTrie.build(tokens)
    scores = np.log(np.array([[1.0, 0.9, 0.9, 0.9, 0.1]]))
    found = msl_bound.catalogue_violations(scores, trie).iloc[0]
    assert (found["titles"], found["title_violations"]) == (2, 0)
    assert (found["items"], found["item_violations"]) == (4, 2)
    assert msl_bound.title_ranks(scores, np.array([3]), trie).tolist() == [1]


def test_roots_are_told_apart_by_branch_and_by_chance() -> None:
    logits = get_or_compute(
        "logits",
        msl_bound.logit_step,
        msl_bound.logit_config(PROFILE),
        seed=0,
        bench=workbench(),
        adapter=None,
    )
    table = logits["positions"]
    assert (table["is_open"] == (table["n_valid"] * 0.25 > 1)).all()
    assert table.loc[~table["is_open"], "falling"].isna().all(), "η is below chance: P falls towards chance"
    assert ((table["status"] == "solved") >= table["approximate_rising"].notna()).all()
    has_two = table[["falling", "rising"]].notna().all(axis=1)
    assert (table.loc[has_two, "falling"] > table.loc[has_two, "rising"]).all()
    roots = bound_tables.root_table({"untuned": logits})
    of_open = roots.query("positions == 'open' and branch == 'falling'").iloc[0]
    assert of_open["n"] == table["is_open"].sum()
    assert of_open["both"] <= min(of_open["exact"], of_open["lemma"])
    shapes = bound_tables.shape_table({"untuned": logits})
    assert shapes["positions"].sum() == len(table)
    assert len(bound_tables.root_points({"untuned": logits})) > 0
