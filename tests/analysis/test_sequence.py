"""The steps of sequence recommenders: text, tuning, training and ranking, shared through the cache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from reclib import config
from reclib.analysis import sequence_cells, sequence_tables
from reclib.analysis.faerec import method_spaces
from reclib.analysis.sequence import SequenceBench, train_step
from reclib.analysis.tf_llmer.arms import ARMS
from reclib.artifacts import Artifact, get_or_compute
from reclib.training.methods import METHODS

PROFILE = config.override(
    config.SMOKE,
    **{
        "sequence.data.synthetic.n_users": 80,
        "sequence.data.synthetic.n_items": 40,
        "sequence.backbone.d_model": 8,
        "sequence.backbone.n_layers": 1,
        "sequence.train.epochs": 2,
    },
)


@lru_cache
def bench() -> SequenceBench:
    return SequenceBench(PROFILE)


@lru_cache
def trained() -> Mapping[sequence_cells.Cell, Artifact]:
    return bench().train(sequence_cells.main_cells(PROFILE))


def run_of(label: str) -> Artifact:
    return next(run for cell, run in trained().items() if cell.label == label)


def test_every_method_ranks_every_test_window() -> None:
    dataset = bench().dataset(PROFILE.sequence.data)
    assert [cell.label for cell in trained()] == list(sequence_cells.METHODS)
    others = {"dros", "dllm2rec", "llm_cf", "sharpness"}  # of [MSL] and of EISAM, no part of FAERec's tables
    of_tf_llmer = {arm.method for arm in ARMS.values()}
    assert set(sequence_cells.METHODS) == set(METHODS) - others - of_tf_llmer
    for run in trained().values():
        assert run["windows"]["target_idx"].tolist() == dataset.test.target_idx.tolist()
        assert run["windows"]["rank"].dropna().between(1, 20).all()
        lists = run["lists"]["items"]
        assert lists.shape == (len(dataset.test), 20)
        assert lists.min() >= 1
        assert run["summary"]["parameters"] > run["summary"]["backbone_parameters"] > 0


def test_a_rank_is_the_place_in_the_list() -> None:
    for label in ("base", "faerec", "llm_esr"):
        run = run_of(label)
        found = run["lists"]["items"] == run["windows"]["target_idx"].to_numpy()[:, None]
        place = pd.Series(np.where(found.any(1), found.argmax(1) + 1, 0))
        # An item that scores exactly as the target does stands before it in the rank only.
        assert (place == run["windows"]["rank"].fillna(0).astype(int)).mean() > 0.95


def test_notebooks_share_the_cells_and_a_second_bench_finds_them() -> None:
    before = [run.key for run in trained().values()]
    again = SequenceBench(PROFILE).train(sequence_cells.main_cells(PROFILE))
    assert [run.key for run in again.values()] == before
    for grid in (sequence_cells.more_backbone_cells, sequence_cells.ablation_cells):
        shared = [cell for cell in grid(PROFILE) if cell in trained()]
        assert {cell.label for cell in shared} == {"base", "faerec"}


def test_a_method_without_text_does_not_depend_on_the_encoder() -> None:
    upstream = {label: run_of(label).provenance["upstream"] for label in ("base", "melt", "faerec")}
    data = bench().dataset(PROFILE.sequence.data).fingerprint
    assert (upstream["base"], upstream["melt"]) == ([data], [data])
    assert upstream["faerec"] == [data, bench().text(PROFILE.sequence.data)[0].key]


def test_nothing_of_training_is_left_in_a_finished_cell() -> None:
    files = {path.suffix for path in run_of("faerec").path.rglob("*") if path.is_file()}
    assert files <= {".parquet", ".npz", ".json"}


def test_a_killed_cell_goes_on_and_ends_as_a_straight_run(tmp_path: Path) -> None:
    cell = sequence_cells.main_cells(PROFILE)[0]
    calls = 0

    def killed(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        result = train_step(*args, **kwargs)
        if calls == 1:
            raise KeyboardInterrupt
        return result

    settings, seed = bench().config(cell), 5
    with pytest.raises(KeyboardInterrupt):
        get_or_compute("killed_cell", killed, settings, seed=seed, bench=bench())
    resumed = get_or_compute("killed_cell", killed, settings, seed=seed, bench=bench())
    straight = train_step(settings, seed=seed, workdir=tmp_path, bench=bench())
    pd.testing.assert_frame_equal(resumed["windows"], straight["windows"])


def test_tuning_tries_the_same_number_of_settings_for_all_and_reads_no_test_window() -> None:
    profile = config.override(PROFILE, **{"sequence.tuning": 2, "sequence.train.epochs": 1})
    tuning = SequenceBench(profile)
    cells = sequence_cells.of_methods(sequence_cells.main_cells(profile), ("base", "faerec"))
    table = tuning.tuning_table(cells)
    assert table.groupby("method").size().to_dict() == {"base": 2, "faerec": 2}
    assert table.groupby("method")["is_chosen"].sum().to_dict() == {"base": 1, "faerec": 1}
    chosen = table[table["is_chosen"]].set_index("method")["ndcg"]
    assert chosen["faerec"] == table[table["method"] == "faerec"]["ndcg"].max()
    best = int(table[table["method"] == "faerec"].reset_index()["ndcg"].argmax())
    assert tuning.config(cells[1]).options == METHODS["faerec"].grid[best]


def test_what_is_tuned_on_one_backbone_serves_all() -> None:
    changes = {"tuning": 2, "tuned_on": "gru4rec", "train.epochs": 1}
    profile = config.override(PROFILE, **{f"sequence.{name}": value for name, value in changes.items()})
    tuning = SequenceBench(profile)
    cells = [cell for cell in sequence_cells.main_cells(PROFILE) if cell.method == "llminit"][:1]
    cells.append(replace(cells[0], backbone="gru4rec"))
    table = tuning.tuning_table(cells)
    assert table["backbone"].tolist() == ["gru4rec"] * 2
    best = int(table["ndcg"].argmax())
    assert [tuning.config(cell).options for cell in cells] == [METHODS["llminit"].grid[best]] * 2
    assert tuning.config(cells[0]).backbone.name == "sasrec"


def test_grids_are_of_equal_size() -> None:
    budget = config.PAPER.sequence.tuning
    for name, method in METHODS.items():
        assert len(method.grid) == budget, f"{name}: {len(method.grid)} settings, all methods get {budget}"


def test_without_a_budget_the_defaults_are_the_options() -> None:
    table = bench().tuning_table(trained())
    assert len(table) == len(sequence_cells.METHODS)
    assert table["is_chosen"].all()


def test_spaces_are_compared_in_the_claimed_order() -> None:
    spaces = method_spaces.spaces_of(bench())
    numbers, steps = spaces["numbers"], spaces["steps"]
    assert len(numbers) == 4 * 3
    assert (numbers["low"] <= numbers["high"]).all()
    assert len(steps) == 3 * 3
    value = numbers.set_index(["method", "metric"])["value"]
    step = steps.set_index(["step", "metric"])["difference"]["faerec over rlmrec_con", "cka"]
    assert step == pytest.approx(value["faerec", "cka"] - value["rlmrec_con", "cka"])
    picture = method_spaces.picture(spaces["points"])
    assert picture.groupby(["method", "space"]).size().nunique() == 1


def test_spaces_of_several_seeds_differ_by_items_and_by_seeds() -> None:
    values = np.zeros((3, 101, 3))
    values[:, :, 0] = np.array([[0.4], [0.4], [0.7]])  # seeds disagree, items do not
    values[:, 1:, 1] = np.resize([-0.1, 0.1], 100)  # items do, seeds do not
    (_, mean, low, _), (_, _, lower, upper), _ = method_spaces._rows(values)
    assert mean == pytest.approx(0.5)
    assert mean - low == pytest.approx(4.303 * 0.1, rel=1e-3)
    assert [lower, upper] == pytest.approx([-0.196, 0.196], rel=1e-3)


def test_tables_read_the_artifacts() -> None:
    table = sequence_tables.comparison_table(trained(), bench())
    assert {"popularity", *sequence_cells.METHODS} == set(table["method"])
    assert sequence_tables.cost_table(trained(), bench())["train_cpu_seconds"].gt(0).all()
