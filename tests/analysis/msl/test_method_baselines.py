"""Methods on a tuned backbone: their options tuned at its setting, then trained on all before the test."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reclib.analysis.msl.method_baselines import MethodBench, TuneMethodConfig, tune_method_step
from reclib.analysis.msl.traditional import TraditionalBench
from reclib.config import canonical_json
from reclib.data.dataset import joined
from reclib.schema import InputError
from reclib.training.methods import METHODS
from reclib.training.teacher import Teacher
from tests.analysis.msl.made_tuning import dataset, tune_config
from tests.training.made_examples import examples_of
from tests.training.made_teacher import teacher_of

CONFIG = tune_config(epochs=4, learning_rates=(1e-5, 1e-2), dropouts=(0.1,))


def teacher() -> Teacher:
    data = dataset()
    return teacher_of(joined(data.train, data.valid), data.n_items)


@lru_cache
def bench() -> MethodBench:
    return MethodBench(TraditionalBench(dataset()), teacher=teacher())


@pytest.mark.parametrize("method", ["dros", "dllm2rec"])
def test_a_method_is_tuned_at_the_backbone_s_own_setting(method: str) -> None:
    tuned = bench().tuned(CONFIG, method, budget=2)
    settings = tuned.provenance["config"]
    assert settings["train"]["learning_rate"] == 1e-2, "what was chosen for the backbone alone"
    tried, chosen = tuned["tried"], tuned["chosen"]
    assert tried["options"].tolist() == [canonical_json(each) for each in METHODS[method].grid[:2]]
    assert chosen["place"] == tried["ndcg"].argmax()
    assert chosen["epochs"] == tried["epochs"][chosen["place"]]


@pytest.mark.parametrize("method", ["dros", "dllm2rec"])
def test_what_is_tested_was_trained_on_both_parts_with_the_chosen_options(method: str) -> None:
    tested = bench().tested(CONFIG, method, budget=2, seed=0)
    chosen = bench().tuned(CONFIG, method, budget=2)["chosen"]
    assert tested["windows"].columns.tolist() == ["window", "target_idx", "rank", "rank_without_seen"]
    assert tested["windows"]["target_idx"].tolist() == dataset().test.target_idx.tolist()
    assert tested["trace"]["epoch"].max() + 1 == chosen["epochs"]
    assert "validation" not in set(tested["trace"]["name"])
    options = canonical_json(METHODS[method].grid[chosen["place"]])
    assert tested.provenance["config"]["options"] == json.loads(options)


def test_without_a_budget_a_method_has_its_first_options_and_the_epochs_of_the_backbone() -> None:
    tested = bench().tested(CONFIG, "dros", budget=0, seed=0)
    alone = bench().backbones.tuned(CONFIG)["chosen"]
    assert tested["trace"]["epoch"].max() + 1 == alone["epochs"]
    options = json.loads(canonical_json(METHODS["dros"].grid[0]))
    assert tested.provenance["config"]["options"] == options


def test_reasoned_windows_reach_the_method_and_its_key() -> None:
    data = dataset()
    keys = set()
    for seed in (0, 1):
        made = MethodBench(TraditionalBench(data), examples=examples_of(data.train, data.n_items, seed=seed))
        keys.add(made.tested(CONFIG, "llm_cf", budget=0, seed=0).key)
    assert len(keys) == 2
    part = examples_of(data.test, data.n_items)
    with pytest.raises(InputError, match="reason about windows of this training part"):
        MethodBench(TraditionalBench(data), examples=part).tested(CONFIG, "llm_cf", budget=0, seed=0)


def test_tuning_does_not_read_the_test_part(tmp_path: Path) -> None:
    data = dataset()
    backwards = replace(data.test, target_idx=data.test.target_idx[::-1].copy())
    settings = TuneMethodConfig(
        data=CONFIG.data,
        backbone=CONFIG.backbone,
        train=CONFIG.train,
        method="dllm2rec",
        tried=METHODS["dllm2rec"].grid[:1],
    )
    found = []
    for number, each in enumerate((data, replace(data, test=backwards))):
        folder = tmp_path / str(number)
        folder.mkdir()
        made = MethodBench(TraditionalBench(each), teacher=teacher())
        found.append(tune_method_step(settings, seed=0, workdir=folder, bench=made)["tried"])
    pd.testing.assert_frame_equal(*(tried.drop(columns="seconds") for tried in found))


def test_the_teacher_is_part_of_the_key_of_methods_that_read_it() -> None:
    other = MethodBench(
        TraditionalBench(dataset()), teacher=replace(teacher(), embedding=2 * teacher().embedding)
    )
    keys = {
        name: {made.tuned(CONFIG, name, budget=1).key for made in (bench(), other)}
        for name in ("dros", "dllm2rec")
    }
    assert {name: len(found) for name, found in keys.items()} == {"dros": 1, "dllm2rec": 2}


def test_a_teacher_of_the_training_windows_alone_is_refused() -> None:
    data = dataset()
    part = teacher().take(joined(data.train, data.valid), np.arange(len(data.train)))
    with pytest.raises(InputError, match="one row each"):
        MethodBench(TraditionalBench(data), teacher=part).tuned(CONFIG, "dllm2rec", budget=3)
    with pytest.raises(InputError, match="give its setup a teacher"):
        MethodBench(TraditionalBench(data)).tuned(CONFIG, "dllm2rec", budget=3)
