"""LLaRA, A-LLMRec and grounding as cached steps: from a data set to the rows of one table."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd
import pytest
import torch

from reclib import config
from reclib.analysis.msl import tables as msl_tables
from reclib.analysis.msl.grounded import ground, knowledge
from reclib.analysis.msl.hybrids import METHODS, HybridRuns, Method, make_bench, preferred, run_method
from reclib.models.causal_lm import adapter_state
from reclib.schema import InputError
from tests.analysis.bench import PROFILE, TUNED_FILES, kept_files, workbench

SMALL = config.override(PROFILE, **{"hybrid.align.epochs": 1, "evaluation.n_windows": 6})
N_PREFERRED = 2 * SMALL.tune.batch_size  # two steps: the first has the warm-up's learning rate, which is 0


@lru_cache
def runs(method: Method) -> HybridRuns:
    bench = make_bench(SMALL, method, dataset=workbench().dataset)
    return run_method(SMALL, bench, objectives=("lml",), preference_windows=N_PREFERRED)


def test_every_run_is_a_row_of_the_table_that_others_stand_in() -> None:
    ranked = {key: it for method in METHODS for key, it in runs(method).ranked.items()}
    assert sorted(ranked) == [
        ("a_llmrec_lml", 0), ("a_llmrec_sdpo", 0), ("llara_lml", 0), ("llara_sdpo", 0),
    ]  # fmt: skip
    table = msl_tables.comparison_table(ranked, workbench(), SMALL)
    assert {name for name, _ in ranked} <= set(table["method"])
    tables = [it["windows"] for it in ranked.values()]
    for other in tables[1:]:
        np.testing.assert_array_equal(other["target_idx"], tables[0]["target_idx"])
        assert (other["catalogue_nll"] != tables[0]["catalogue_nll"]).any()


def test_an_adapter_is_all_that_is_kept_of_a_training() -> None:
    for method in METHODS:
        assert kept_files(runs(method).tuned[f"{method}_lml", 0]) == TUNED_FILES


def test_both_read_what_sasrec_learnt_from_the_training_part() -> None:
    llara, other = runs("llara").bench, runs("a_llmrec").bench
    vectors = llara.artifacts[0]
    assert other.artifacts[0].key == vectors.key
    data = workbench().dataset
    assert vectors["vectors"]["items"].shape == (data.n_items + 1, 16)
    assert not vectors["vectors"]["items"][0].any()
    for part in (data.train, data.valid, data.test):
        assert len(llara.users.rows(part.history)) == len(part)
    joint = other.artifacts[1]["joint"]["items"]
    assert joint.shape == (data.n_items + 1, 16)
    assert not joint[0].any()
    table = other.lm.hybrid.tables["item"]  # type: ignore[union-attr]
    np.testing.assert_array_equal(table.vectors.numpy(), joint)


def test_llara_tunes_lora_and_projector_and_a_llmrec_projectors_alone() -> None:
    names = {method: set(adapter_state(runs(method).bench.lm)) for method in METHODS}
    assert any("lora" in name for name in names["llara"])
    assert {name.split(".")[1] for name in names["llara"] if name.startswith("vectors.")} == {"item"}
    assert {name.split(".")[1] for name in names["a_llmrec"]} == {"item", "user"}


def test_s_dpo_needs_its_reference() -> None:
    with pytest.raises(InputError, match="tune llara with 'lml' under seed 0 first"):
        preferred(SMALL, runs("llara").bench, {}, seed=0)


def test_a_seed_draws_its_own_projector() -> None:
    bench = runs("llara").bench
    same, other = (bench.fresh_lm(seed=seed).hybrid.tables.state_dict() for seed in (0, 1))  # type: ignore[union-attr]
    first = next(iter(same))
    again = bench.fresh_lm(seed=0).hybrid.tables.state_dict()  # type: ignore[union-attr]
    assert torch.equal(same[first], again[first])
    assert not torch.equal(same[first], other[first])


@pytest.mark.parametrize("kind", ["none", "popularity", "collaborative"])
def test_free_answers_become_ranked_windows(kind: str) -> None:
    llara = runs("llara")
    adapter, vectors = llara.tuned["llara_lml", 0], llara.bench.artifacts[0]
    step = ground(SMALL, llara.bench, adapter, kind=kind, vectors=vectors)  # type: ignore[arg-type]
    held_out = llara.ranked["llara_lml", 0]["windows"]
    columns = ["window", "target_idx", "catalogue_nll"]
    pd.testing.assert_frame_equal(step["windows"][columns], held_out[columns])
    assert list(step["windows"].columns) == list(held_out[["window", "target_idx", "rank", "catalogue_nll"]])
    tried = step["tried"]
    assert len(tried) == (1 if kind == "none" else len(SMALL.hybrid.grounding.gammas))
    if kind != "none":
        best = tried[tried["ndcg"] == tried["ndcg"].max()]
        assert step["chosen"]["gamma"] == best["gamma"].min()
    listed = step["lists"].groupby("window").size()
    assert listed.max() == SMALL.decoding.top_k


def test_collaborative_knowledge_is_sasrecs_scores_and_needs_them() -> None:
    bench = runs("llara").bench
    windows = bench.dataset.test.take(np.arange(3))
    arrays = bench.artifacts[0]["vectors"]
    found = knowledge("collaborative", bench, windows.history, bench.artifacts[0])
    assert found is not None
    for row, history in enumerate(windows.history):
        place = int(np.flatnonzero((arrays["histories"] == history).all(axis=1))[0])
        np.testing.assert_allclose(found[row], arrays["items"] @ arrays["users"][place], atol=1e-5)
    with pytest.raises(InputError, match="give its `vectors`"):
        knowledge("collaborative", bench, windows.history, None)
