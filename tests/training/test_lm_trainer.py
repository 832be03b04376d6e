from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reclib.config import ObjectiveConfig, TuneConfig
from reclib.models.causal_lm import adapter_state, load_adapter
from reclib.schema import InputError
from reclib.training.lm_trainer import catalogue_log_likelihood, fine_tune
from tests.training.toy import Toy, make_toy, tune_config

MSL = ObjectiveConfig(name="msl")


def tune(toy: Toy, config: TuneConfig, workdir: Path, *, seed: int = 0, **others: Any) -> dict[str, Any]:
    return fine_tune(toy.lm, toy.dataset, toy.trie, toy.items, config, seed=seed, workdir=workdir, **others)


def adapter(toy: Toy) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in adapter_state(toy.lm).values()]).clone()


def nll(toy: Toy, part: str = "train", **options: Any) -> np.ndarray:
    windows = getattr(toy.dataset, part)
    return catalogue_log_likelihood(
        toy.lm, toy.prompts(windows), windows.target_idx, toy.trie, toy.items, **options
    )


def values(trace: Any, name: str) -> np.ndarray:
    return trace.loc[trace["name"] == name, "value"].to_numpy()


def test_probabilities_of_the_whole_catalogue_sum_to_one() -> None:
    toy = make_toy()
    window = toy.dataset.test.take(np.zeros(toy.items.n_items, int))
    every = np.arange(1, toy.items.n_items + 1)
    distinct = np.unique([toy.dataset.titles[item - 1] for item in every], return_index=True)[1]
    losses = catalogue_log_likelihood(toy.lm, toy.prompts(window), every, toy.trie, toy.items)
    assert np.exp(-losses[distinct]).sum() == pytest.approx(1, abs=1e-9)


def test_catalogue_log_likelihood_is_that_of_whole_sequences_under_a_dense_mask() -> None:
    toy = make_toy()
    windows = toy.dataset.test.take(np.arange(4))
    prompts = toy.prompts(windows)
    expected = []
    for row, item in enumerate(windows.target_idx):
        title = toy.items.of(item).astype(np.int64)
        ids = torch.from_numpy(np.concatenate([prompts.of(row), title]).astype(np.int64))[None]
        logits = toy.lm.network(input_ids=ids).logits[0, len(prompts.of(row)) - 1 : -1]
        mask = torch.full_like(logits, -torch.inf)
        for place, node in enumerate(toy.trie.path(toy.items)[toy.items.start[item] :][: len(title)]):
            mask[place, toy.trie.token[toy.trie.children(np.array([node]))[0]]] = 0
        log_p = (logits + mask).log_softmax(-1)[torch.arange(len(title)), torch.from_numpy(title)]
        expected.append(-log_p.sum().item())
    found = catalogue_log_likelihood(toy.lm, prompts, windows.target_idx, toy.trie, toy.items)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_catalogue_log_likelihood_does_not_depend_on_the_batch_nor_move_the_model() -> None:
    toy = make_toy(dropout=0.5)
    toy.lm.train()
    np.testing.assert_allclose(nll(toy, windows_per_batch=1), nll(toy, windows_per_batch=50), rtol=1e-9)
    assert toy.lm.training


@pytest.mark.parametrize(
    "objective",
    [
        ObjectiveConfig(name="lml"),
        MSL,
        replace(MSL, reduction="tokens", temperature=2.0),
        replace(MSL, reduction="samples"),
        replace(MSL, adaptive=True),
    ],
    ids=lambda objective: f"{objective.name}-{objective.reduction}-{objective.adaptive}",
)
def test_a_batch_of_four_is_two_of_two(objective: ObjectiveConfig, tmp_path: Path) -> None:
    adapters = []
    for micro_batch_size in (4, 2):
        toy = make_toy(fresh=True)
        config = tune_config(
            objective=objective, micro_batch_size=micro_batch_size, n_windows=12, batch_size=4
        )
        tune(toy, config, tmp_path / str(micro_batch_size))
        adapters.append(adapter(toy))
    # The norm layers round to float32 on the way; Adam divides by small gradients.
    assert (adapters[0] - adapters[1]).norm() < 1e-3 * adapters[0].norm()
    assert (adapters[0] - adapter(make_toy(fresh=True))).norm() > 1e-2 * adapters[0].norm()


def test_training_teaches_what_can_be_learnt(tmp_path: Path) -> None:
    toy = make_toy(dtype="float32", fresh=True)
    before = nll(toy, "valid").mean()
    config = tune_config(objective=MSL, n_windows=200, batch_size=8, micro_batch_size=8, learning_rate=2e-2)
    trace = tune(toy, replace(config, epochs=2), tmp_path)["trace"]
    assert values(trace, "loss")[-5:].mean() < 0.9 * values(trace, "loss")[:5].mean()
    assert nll(toy, "valid").mean() < before - 0.2


def test_the_trace_says_what_happened(tmp_path: Path) -> None:
    toy = make_toy(dtype="float32", dropout=0.05)
    trace = tune(toy, tune_config(objective=MSL), tmp_path, monitor=True)["trace"]
    assert list(trace.columns) == ["step", "name", "value"]
    assert set(trace["name"]) == {
        "loss", "lml", "lml_valid", "lml_item", "temperature",
        "learning_rate", "grad_norm", "seconds", "tokens",
    }  # fmt: skip
    assert trace.loc[trace["name"] == "loss", "step"].tolist() == list(range(1, 9))
    np.testing.assert_allclose(
        values(trace, "lml"), values(trace, "lml_valid") + values(trace, "lml_item"), rtol=1e-5
    )
    assert (np.diff(values(trace, "tokens")) > 0).all()
    assert values(trace, "learning_rate").max() == pytest.approx(5e-3)


def test_the_same_seed_draws_the_same_run(tmp_path: Path) -> None:
    runs = {}
    for name, seed in (("first", 0), ("again", 0), ("other", 1)):
        toy = make_toy(dtype="float32", dropout=0.1)
        tune(toy, tune_config(objective=MSL), tmp_path / name, seed=seed)
        runs[name] = adapter(toy)
    assert torch.equal(runs["first"], runs["again"])
    assert not torch.allclose(runs["first"], runs["other"])


def test_the_best_epoch_by_validation_is_kept(tmp_path: Path) -> None:
    toy = make_toy(dtype="float32", fresh=True)
    # A rate at which the later epochs spoil what the first has learnt.
    config = tune_config(objective=MSL, epochs=3, learning_rate=0.3, warmup_steps=0, n_windows=16)
    trace = tune(toy, config, tmp_path)["trace"]
    measured = values(trace, "valid_catalogue_nll")
    assert len(measured) == 3
    assert nll(toy, "valid").mean() == pytest.approx(measured.min(), rel=1e-6)
    kept = adapter(toy)
    load_adapter(toy.lm, tmp_path / "adapter.safetensors")
    assert torch.equal(kept, adapter(toy))


def test_one_epoch_needs_no_validation(tmp_path: Path) -> None:
    toy = make_toy(dtype="float32")
    trace = tune(toy, tune_config(objective=MSL), tmp_path)["trace"]
    assert "valid_catalogue_nll" not in set(trace["name"])
    assert (tmp_path / "adapter.safetensors").is_file()


def test_more_windows_than_there_are_means_all_of_them(tmp_path: Path) -> None:
    toy = make_toy(dtype="float32")
    n_train = len(toy.dataset.train)
    config = tune_config(objective=MSL, n_windows=10 * n_train, batch_size=16, micro_batch_size=16)
    trace = tune(toy, config, tmp_path)["trace"]
    assert trace["step"].max() == -(-n_train // 16)


def test_a_batch_that_cannot_be_cut_up_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="batch_size 4 is not a multiple of micro_batch_size 3"):
        tune(make_toy(), tune_config(micro_batch_size=3), tmp_path)


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path: Path) -> None:
    toy = make_toy(dtype="float32")
    next(weight for weight in toy.lm.parameters() if weight.requires_grad).data.fill_(torch.nan)
    with pytest.raises(InputError, match="lower learning_rate"):
        tune(toy, tune_config(objective=MSL), tmp_path)
