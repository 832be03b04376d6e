"""LLaRA's training: the curriculum, its two ends, S-DPO after it, and going on after a kill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from reclib.config import LMConfig, ObjectiveConfig, PreferenceConfig
from reclib.models.causal_lm import load_lm
from reclib.schema import InputError
from reclib.training.checkpoints import ADAPTER_FILE
from reclib.training.hybrid_tuning import Curriculum, fine_tune_by_curriculum
from reclib.training.lm_trainer import fine_tune
from reclib.training.preference import prefer
from tests.models.hybrid import with_items, with_items_and_users
from tests.training.toy import Toy, make_toy, tune_config


def llara(**options: Any) -> Toy:
    toy = make_toy(dtype="float32", **options)
    with_items(toy.lm, toy.dataset.n_items)
    return toy


def tune(
    toy: Toy,
    workdir: Path,
    curriculum: str,
    *,
    callbacks: tuple[TrainerCallback, ...] = (),
    **fields: Any,
) -> pd.DataFrame:
    """The trace without times."""
    tables = fine_tune_by_curriculum(
        toy.lm,
        toy.dataset,
        toy.trie,
        toy.items,
        tune_config(**fields),
        curriculum=curriculum,
        seed=0,
        workdir=workdir,
        callbacks=callbacks,
        monitor=True,
    )
    trace = tables["trace"]
    return trace[trace["name"] != "seconds"].reset_index(drop=True)


def plain(toy: Toy, workdir: Path, **fields: Any) -> pd.DataFrame:
    tables = fine_tune(
        toy.lm,
        toy.dataset,
        toy.trie,
        toy.items,
        tune_config(**fields),
        seed=0,
        workdir=workdir,
        monitor=True,
    )
    trace = tables["trace"]
    return trace[trace["name"] != "seconds"].reset_index(drop=True)


def adapters(*folders: Path) -> list[dict[str, torch.Tensor]]:
    return [load_file(folder / ADAPTER_FILE) for folder in folders]


def test_the_share_of_hybrid_prompts_rises_from_few_to_all() -> None:
    curriculum, rows = Curriculum("rising", 4000, seed=0), np.arange(4000)
    shares = [curriculum.is_hybrid(rows, step, 10).mean() for step in range(10)]
    np.testing.assert_allclose(shares, np.arange(1, 11) / 10, atol=0.03)
    assert shares[-1] == 1


def test_a_window_is_drawn_for_by_seed_and_step_and_not_by_its_batch() -> None:
    curriculum = Curriculum("rising", 100, seed=0)
    whole = curriculum.is_hybrid(np.arange(100), 4, 8)
    some = np.array([7, 90, 31])
    np.testing.assert_array_equal(curriculum.is_hybrid(some, 4, 8), whole[some])
    assert (curriculum.is_hybrid(np.arange(100), 5, 8) != whole).any()
    assert (Curriculum("rising", 100, seed=1).is_hybrid(np.arange(100), 4, 8) != whole).any()
    with pytest.raises(InputError, match="curriculum is 'falling': choose one of rising, hybrid, text"):
        Curriculum("falling", 100, seed=0)


def test_text_throughout_is_bigrec_exactly(tmp_path: Path) -> None:
    toy = llara(dropout=0.1)
    untouched = {name: weight.clone() for name, weight in toy.lm.hybrid.tables.state_dict().items()}  # type: ignore[union-attr]
    trace = tune(toy, tmp_path / "llara", "text", n_windows=16)
    pd.testing.assert_frame_equal(
        trace, plain(make_toy(dtype="float32", dropout=0.1), tmp_path / "bigrec", n_windows=16)
    )
    ours, bigrec = adapters(tmp_path / "llara", tmp_path / "bigrec")
    assert all(torch.equal(ours.pop(name), weight) for name, weight in bigrec.items())
    assert {name: weight.tolist() for name, weight in ours.items()} == {
        f"vectors.{name}": weight.tolist() for name, weight in untouched.items()
    }


def test_hybrid_throughout_is_the_ordinary_training_of_an_lm_with_vectors(tmp_path: Path) -> None:
    trace = tune(llara(), tmp_path / "curriculum", "hybrid", n_windows=16)
    pd.testing.assert_frame_equal(trace, plain(llara(), tmp_path / "plain", n_windows=16))
    ours, ordinary = adapters(tmp_path / "curriculum", tmp_path / "plain")
    assert all(torch.equal(ours[name], weight) for name, weight in ordinary.items())


def test_a_step_does_not_depend_on_how_it_is_cut_up(tmp_path: Path) -> None:
    objective = ObjectiveConfig(name="msl")
    traces = [
        tune(
            llara(), tmp_path / str(size), "rising", micro_batch_size=size, n_windows=16, objective=objective
        )
        for size in (1, 4)
    ]
    losses = [trace.loc[trace["name"] == "loss", "value"].to_numpy() for trace in traces]
    np.testing.assert_allclose(losses[0], losses[1], rtol=2e-4)


def test_an_lm_without_vectors_has_no_curriculum(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="reads no vectors"):
        tune(make_toy(), tmp_path, "rising")


class Interrupted(TrainerCallback):
    """Ends the training before one of its steps."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self.step:
            raise KeyboardInterrupt


def resumable(workdir: Path, *, until: int | None = None) -> pd.DataFrame:
    """Two epochs of four steps with dropout and an adaptive temperature; a checkpoint every third step."""
    callbacks = () if until is None else (Interrupted(until),)
    objective = ObjectiveConfig(name="msl", adaptive=True)
    toy, fields = llara(dropout=0.1), {"n_windows": 16, "epochs": 2, "save_every": 3}
    return tune(toy, workdir, "rising", callbacks=callbacks, objective=objective, **fields)


def test_an_interrupted_run_ends_as_a_straight_run(tmp_path: Path) -> None:
    straight, resumed = tmp_path / "straight", tmp_path / "resumed"
    trace = resumable(straight)
    with pytest.raises(KeyboardInterrupt):
        resumable(resumed, until=5)  # in the second epoch, after the checkpoint at step 3
    pd.testing.assert_frame_equal(resumable(resumed), trace)
    ours, expected = adapters(resumed, straight)
    assert any(name.startswith("vectors.") for name in expected)
    for name, weight in expected.items():
        torch.testing.assert_close(ours[name], weight, rtol=0, atol=1e-6)


def test_s_dpo_starts_from_its_reference_and_moves_the_projector_too(tmp_path: Path) -> None:
    toy = llara()
    tune(toy, tmp_path / "lml", "rising")
    tables = prefer(
        toy.lm,
        toy.dataset,
        toy.trie,
        toy.items,
        tune_config(),
        PreferenceConfig(beta=1.0, n_negatives=2),
        reference=tmp_path / "lml" / ADAPTER_FILE,
        seed=0,
        workdir=tmp_path / "sdpo",
    )
    trace = tables["trace"]
    first = trace[(trace["step"] == 1) & (trace["name"] == "loss")]["value"].item()
    assert first == pytest.approx(np.log(3), abs=1e-4)
    before, after = adapters(tmp_path / "lml", tmp_path / "sdpo")
    moved = {name for name, weight in before.items() if not torch.equal(after[name], weight)}
    assert any(name.startswith("vectors.") for name in moved)


def test_with_a_frozen_lm_the_projectors_alone_learn(tmp_path: Path) -> None:
    toy = make_toy(dtype="float32")
    frozen = load_lm(LMConfig(name="random"), seed=0, titles=toy.dataset.titles)
    with_items_and_users(frozen, toy.dataset)
    weights = {name: weight.clone() for name, weight in frozen.network.state_dict().items()}
    stage_two = Toy(lm=frozen, dataset=toy.dataset, items=toy.items, trie=toy.trie)
    trace = plain(stage_two, tmp_path, epochs=3, objective=ObjectiveConfig(name="msl"), learning_rate=2e-2)
    moved = {
        name for name, weight in frozen.network.state_dict().items() if not torch.equal(weights[name], weight)
    }
    assert moved
    assert all(".tables." in name for name in moved)
    assert {name.split(".tables.")[1].split(".")[0] for name in moved} == {"item", "user"}
    losses = trace.loc[trace["name"] == "lml_item", "value"].to_numpy()
    assert losses[-8:].mean() < losses[:8].mean()
