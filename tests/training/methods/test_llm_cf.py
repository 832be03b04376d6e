"""LLM-CF reads like windows with their reasoning, of the past alone; without both weights: the backbone."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reclib.schema import InputError
from reclib.training.methods import METHODS, base, llm_cf
from reclib.training.methods.llm_cf import InContextModel, LLMCFOptions
from reclib.training.reasoned import ReasonedWindows, usable
from tests.training.made_examples import examples_of
from tests.training.methods.made_setup import context, setup, some_batch
from tests.training.sequence_toy import dataset

NEITHER = LLMCFOptions(feature_weight=0.0, rebuilding_weight=0.0)


@lru_cache
def examples() -> ReasonedWindows:
    return examples_of(dataset().train, dataset().n_items)


def reading(given: ReasonedWindows | None = None, **how: Any) -> Any:
    run = setup(**{"positions": "last", "loss": "cross_entropy", "epochs": 1} | how)
    return replace(run, examples=given or examples())


def fitted(tmp_path: Path, options: LLMCFOptions | None = None, **how: Any) -> Any:
    return llm_cf.train(reading(**how), options or LLMCFOptions(), seed=1, workdir=tmp_path)


@pytest.mark.parametrize("backbone", ["sasrec", "bert4rec"])
def test_without_both_weights_it_is_the_backbone(tmp_path: Path, backbone: str) -> None:
    run = reading(backbone=backbone)
    ours = llm_cf.train(run, NEITHER, seed=1, workdir=tmp_path / "ours").model
    plain = base.train(run, base.BaseOptions(), seed=1, workdir=tmp_path / "base").model
    assert torch.equal(ours.item_matrix(), plain.item_matrix())
    for name in ("feature_weight", "rebuilding_weight"):
        moved = llm_cf.train(run, replace(NEITHER, **{name: 0.5}), seed=1, workdir=tmp_path / name).model
        assert not torch.equal(moved.item_matrix(), plain.item_matrix()), name


def test_a_reasoning_reaches_those_who_retrieve_it_and_nobody_else(tmp_path: Path) -> None:
    model = fitted(tmp_path).model.eval()
    history = torch.from_numpy(dataset().test.history).long()
    chosen = model.retrieve(history)
    some = int(chosen[chosen >= 0].mode().values)
    reads = (chosen == some).any(dim=1)
    assert reads.any()
    assert not reads.all()
    with torch.no_grad():
        before = model.user_states(history)
        model.in_context.reasoning[some] *= -1
        after = model.user_states(history)
    assert torch.equal(before[~reads], after[~reads])
    assert (before[reads] != after[reads]).any(dim=1).all()
    assert torch.equal(model.retrieve(history), chosen), "what is retrieved does not depend on the reasoning"


def test_half_of_what_is_read_was_chosen_and_the_most_alike_stands_last(tmp_path: Path) -> None:
    model = fitted(tmp_path).model
    history = torch.from_numpy(dataset().test.history[:20]).long()
    found = model.retrieve(history)
    assert model.in_context.is_chosen[found].sum(dim=1).tolist() == [2] * 20
    module = model.in_context
    likeness = module.text_of(history) @ module.text_of(module.histories).T
    assert (likeness.gather(1, found).diff(dim=1) >= 0).all()


def test_no_window_reads_itself_or_what_comes_later(tmp_path: Path) -> None:
    data, given = dataset().train, examples_of(dataset().train, dataset().n_items, n=len(dataset().train))
    model = fitted(tmp_path).model
    own = InContextModel(
        model.items, model.backbone, llm_cf._module(reading(), given, LLMCFOptions()), LLMCFOptions()
    )
    chosen = llm_cf.retrieved(own, given, data).numpy()
    free = own.retrieve(torch.from_numpy(data.history).long()).numpy()
    assert (given.rows[free] == np.arange(len(data))[:, None]).any(), "else nothing is ruled out"
    for row, places in enumerate(chosen):
        for place in places[places >= 0]:
            example = given.rows[place]
            assert example != row
            assert data.user_id[example] != data.user_id[row] or data.timestamp[example] < data.timestamp[row]


def test_equal_and_unknown_times_count_as_later() -> None:
    windows = dataset().train.take(np.array([0, 0, 1]))
    given = replace(examples_of(windows, dataset().n_items, n=2), rows=np.array([0, 1]))
    for time, allowed in (([5, 5, 5], False), ([np.nan] * 3, False), ([4, 5, 6], True)):
        timed = replace(windows, timestamp=np.array(time, dtype=float), user_id=np.array(["a", "a", "a"]))
        assert usable(given, timed, np.array([2])).all() == allowed
        assert not usable(given, timed, np.array([0])).any()
    others = replace(windows, user_id=np.array(["a", "b", "b"]))
    assert usable(given, others, np.array([0])).tolist() == [[False, True]]


def test_it_learns_to_rebuild_the_reasoning_from_the_data_in_front_of_it(tmp_path: Path) -> None:
    trace = fitted(tmp_path, epochs=12).trace.query("name == 'rebuilding'").set_index("epoch")["value"]
    assert trace.iloc[0] > 0.4
    assert trace.iloc[-1] < trace.iloc[0] / 2


def test_the_state_that_rebuilds_has_not_seen_what_it_rebuilds(tmp_path: Path) -> None:
    model = fitted(tmp_path).model.eval()
    batch = some_batch(4)
    chosen = torch.tensor([[3, 8, 5, 10]] * 4)
    with torch.no_grad():
        before = model.joint_states(batch.history, chosen)[1]
        model.in_context.reasoning[5] *= -1
        after = model.joint_states(batch.history, chosen)[1]
    assert torch.equal(before[:, :3], after[:, :3])
    assert (before[:, 3] != after[:, 3]).any(dim=1).all()


def test_a_place_without_an_example_says_nothing(tmp_path: Path) -> None:
    model = fitted(tmp_path).model.eval()
    batch = some_batch(4)
    chosen = torch.tensor([[-1, -1, 8, 5]] * 4)
    objective = llm_cf.InContextObjective(
        llm_cf.SequenceObjective(reading().train, n_items=dataset().n_items), chosen, LLMCFOptions()
    )
    placed = batch._replace(row=torch.arange(4))
    with torch.no_grad():
        before, parts = objective(model, placed, context())
        model.in_context.reasoning[0] += 9.0
        after, _ = objective(model, placed, context())
    torch.testing.assert_close(before, after)
    assert set(parts) == {"cross_entropy", "rebuilding"}
    torch.testing.assert_close(before, parts["cross_entropy"] + parts["rebuilding"])


def test_a_seed_gives_one_model_and_it_is_registered(tmp_path: Path) -> None:
    states = [fitted(tmp_path / name, epochs=2).model.state_dict() for name in "ab"]
    for name, values in states[0].items():
        assert torch.equal(values, states[1][name]), name
    assert not any("reasoning" in name for name in states[0]), "examples stay out of checkpoints"
    assert METHODS["llm_cf"].reads_examples


def test_examples_must_be_given_and_be_of_the_training_part(tmp_path: Path) -> None:
    options, data = LLMCFOptions(), dataset()
    with pytest.raises(InputError, match="give its setup reasoned windows"):
        llm_cf.train(setup(), options, seed=0, workdir=tmp_path)
    with pytest.raises(InputError, match="not 'all'"):
        llm_cf.train(reading(positions="all"), options, seed=0, workdir=tmp_path)
    for part in (data.valid, data.test):
        with pytest.raises(InputError, match="reason about windows of this training part"):
            llm_cf.train(reading(examples_of(part, data.n_items)), options, seed=0, workdir=tmp_path)
    with pytest.raises(InputError, match="for a catalogue of"):
        llm_cf.train(reading(examples_of(data.train, 99)), options, seed=0, workdir=tmp_path)


def test_reasoned_windows_are_kept_whole(tmp_path: Path) -> None:
    examples().save(tmp_path / "it")
    assert ReasonedWindows.load(tmp_path / "it").fingerprint == examples().fingerprint
    with pytest.raises(InputError, match="make them first"):
        ReasonedWindows.load(tmp_path / "other")
    with pytest.raises(InputError, match="row 1 of reasoning is not finite"):
        replace(examples(), reasoning=examples().reasoning * np.where(np.arange(24) == 1, np.nan, 1)[:, None])
    (tmp_path / "bad.npz").write_bytes(b"nothing")
    with pytest.raises(InputError, match="holds no reasoned windows"):
        ReasonedWindows.load(tmp_path / "bad")


def test_options_say_what_they_may_be() -> None:
    assert llm_cf.GRID[0] == LLMCFOptions()
    assert len(set(llm_cf.GRID)) == 6
    with pytest.raises(InputError, match="n_examples is 0"):
        LLMCFOptions(n_examples=0)
