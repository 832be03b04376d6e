"""Traditional recommenders: tuned without the test part, tested after training on all that came before it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from reclib.analysis.msl import traditional_tables
from reclib.analysis.msl.traditional import (
    RefitConfig,
    TraditionalBench,
    train_step,
    tune_step,
    with_validation,
)
from reclib.config import PAPER
from tests.analysis.msl.made_tuning import dataset, tune_config

CONFIG = tune_config(epochs=8, learning_rates=(1e-2, 1e-5), dropouts=(0.0,))


def test_tuning_tries_every_setting_and_takes_the_best_on_validation() -> None:
    tuned = TraditionalBench(dataset()).tuned(CONFIG)
    tried, chosen = tuned["tried"], tuned["chosen"]
    assert tried[["learning_rate", "dropout", "weight_decay"]].to_numpy().tolist() == [
        [1e-2, 0, 0],
        [1e-5, 0, 0],
    ]
    assert chosen["ndcg"] == tried["ndcg"].max()
    assert chosen["learning_rate"] == 1e-2, (
        "a rate that hardly moves cannot win where the next item is certain"
    )
    assert 1 <= chosen["epochs"] <= CONFIG.train.epochs


def test_tuning_does_not_read_the_test_part(tmp_path) -> None:
    data = dataset()
    backwards = replace(data.test, target_idx=data.test.target_idx[::-1].copy())
    found = []
    for number, each in enumerate((data, replace(data, test=backwards))):
        folder = tmp_path / str(number)
        folder.mkdir()
        found.append(tune_step(CONFIG, seed=0, workdir=folder, bench=TraditionalBench(each))["tried"])
    pd.testing.assert_frame_equal(*(tried.drop(columns="seconds") for tried in found))


def test_a_killed_tuning_does_not_repeat_what_it_finished(tmp_path) -> None:
    bench = TraditionalBench(dataset())
    first = tune_step(CONFIG, seed=0, workdir=tmp_path, bench=bench)
    again = tune_step(CONFIG, seed=0, workdir=tmp_path, bench=bench)
    assert again["tried"]["seconds"].tolist() == first["tried"]["seconds"].tolist()


def test_the_tested_model_was_trained_on_validation_windows_too(tmp_path) -> None:
    """An item that is a target in validation alone is found."""
    data, rows = dataset(), np.arange(30)
    unheard = replace(data.valid, target_idx=np.full(len(data.valid), 30, np.int32))
    asked = replace(
        data, train=data.train.take(data.train.target_idx != 30), valid=unheard, test=unheard.take(rows)
    )
    config = RefitConfig(
        data=CONFIG.data,
        backbone=CONFIG.backbone,
        train=replace(CONFIG.train, learning_rate=1e-2),
    )
    run = train_step(config, seed=0, workdir=tmp_path, bench=TraditionalBench(asked))
    assert (run["windows"]["rank"].fillna(99) <= 6).mean() > 0.9
    assert (run["windows"]["rank_without_seen"] <= run["windows"]["rank"]).all()


def test_validation_windows_come_after_those_of_training() -> None:
    data, whole = dataset(), with_validation(dataset())
    assert len(whole.train) == len(data.train) + len(data.valid)
    assert whole.train.take(np.arange(len(data.train))).fingerprint == data.train.fingerprint
    assert whole.counts.sum() >= data.counts.sum() + len(data.valid)


def test_a_cloze_is_trained_on_whole_windows() -> None:
    configs = traditional_tables.configs(PAPER, "msl_book")
    assert {name: each.train.positions for name, each in configs.items()} == {
        "sasrec": "last",
        "bert4rec": "every",
    }
