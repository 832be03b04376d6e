"""S-DPO against the naive way, whole sequences one by one; its negatives, its reference, its learning."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from reclib.config import ObjectiveConfig, PreferenceConfig, TuneConfig
from reclib.data.dataset import Windows
from reclib.models.causal_lm import adapter_state
from reclib.schema import InputError
from reclib.training import preference as stage
from reclib.training.answers import AnswerCollator
from reclib.training.checkpoints import save_adapter
from reclib.training.preference import prefer, reference_log_probabilities
from reclib.training.preference_negatives import draw_negatives
from reclib.training.preference_objective import PreferenceObjective, answer_log_probabilities
from tests import reference
from tests.training.toy import Toy, make_toy, tune_config

CONFIG = PreferenceConfig(beta=0.7, n_negatives=3)
toy = cache(make_toy)


def some(toy: Toy, n_windows: int = 5) -> tuple[Windows, np.ndarray]:
    """Windows with histories of different lengths, and their answers, the target first."""
    windows = toy.dataset.train.take(np.arange(n_windows))
    negatives = draw_negatives(toy.dataset, windows, toy.trie, toy.items, CONFIG, seed=0)
    return windows, np.column_stack([windows.target_idx.astype(np.int64), negatives])


def naive_log_probabilities(toy: Toy, windows: Windows, answers: np.ndarray) -> Tensor:
    """Σ log softmax over the tokens of each answer, prompt and answer run whole by transformers."""
    prompts = toy.prompts(windows)
    values = []
    for row, own in enumerate(answers):
        for item in own:
            prompt, title = prompts.of(row), toy.items.of(item).astype(np.int64)
            ids = torch.from_numpy(np.concatenate([prompt, title]).astype(np.int64))
            logits = toy.lm.network(input_ids=ids[None]).logits[0, len(prompt) - 1 : -1]
            log_p = logits.double().log_softmax(-1)
            values.append(log_p[torch.arange(len(title)), torch.from_numpy(title)].sum())
    return torch.stack(values).view(answers.shape)


def gradients(toy: Toy, loss: Tensor) -> Tensor:
    weights = [weight for weight in toy.lm.parameters() if weight.requires_grad]
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, weights)])


def start(toy: Toy, folder: Path) -> Path:
    """The toy's adapter as the file of a reference."""
    path = folder / "reference.safetensors"
    save_adapter(toy.lm, path)
    return path


def run(toy: Toy, folder: Path, config: TuneConfig, *, of: Path | None = None, **others: Any) -> Any:
    preference = others.pop("preference", CONFIG)
    found = prefer(
        toy.lm,
        toy.dataset,
        toy.trie,
        toy.items,
        config,
        preference,
        reference=of or start(toy, folder),
        seed=0,
        workdir=folder / "run",
        **others,
    )
    return found["trace"]


def values(trace: Any, name: str) -> np.ndarray:
    return trace.loc[trace["name"] == name, "value"].to_numpy()


def test_the_objective_is_that_of_whole_sequences_run_one_by_one() -> None:
    windows, answers = some(toy())
    of_reference = naive_log_probabilities(toy(), windows, answers).detach()
    of_reference += torch.randn(answers.shape, generator=torch.Generator().manual_seed(1)).double()
    naive = naive_log_probabilities(toy(), windows, answers) - of_reference
    expected = reference.softmax_dpo_losses(naive[:, 0], naive[:, 1:], beta=CONFIG.beta).mean()

    batch = AnswerCollator(toy().items).batch(toy().prompts(windows), answers, of_reference.numpy())
    hidden = toy().lm(**batch["model_inputs"])
    found = PreferenceObjective(CONFIG)(hidden, toy().lm.output_embedding, batch["targets"])
    assert found.total.item() == pytest.approx(expected.item(), rel=1e-6)
    ours, theirs = gradients(toy(), found.total), gradients(toy(), expected)
    assert (ours - theirs).norm() < 1e-6 * theirs.norm()
    assert float(found.parts["margin"]) == pytest.approx(
        CONFIG.beta * (naive[:, :1] - naive[:, 1:]).mean().item(), rel=1e-6
    )


def test_reference_log_probabilities_are_those_of_whole_sequences(tmp_path: Path) -> None:
    windows, answers = some(toy(), 20)  # more than a batch
    found = reference_log_probabilities(
        toy().lm, toy().prompts(windows), answers, toy().items, folder=tmp_path
    )
    with torch.no_grad():
        expected = naive_log_probabilities(toy(), windows, answers).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_reference_in_mixed_precision_is_the_policy_before_its_first_step(tmp_path: Path) -> None:
    own = make_toy(dtype="float32")
    windows, answers = some(own)
    prompts = own.prompts(windows)
    found = reference_log_probabilities(
        own.lm, prompts, answers, own.items, folder=tmp_path, mixed_precision=True
    )
    batch = AnswerCollator(own.items).batch(prompts, answers, found)
    with torch.no_grad():
        with torch.autocast("cpu", dtype=torch.bfloat16):  # in training the model alone is in it
            hidden = own.lm(**batch["model_inputs"])
        policy = answer_log_probabilities(hidden, own.lm.output_embedding, batch["targets"])
    np.testing.assert_allclose(policy.numpy(), found, rtol=1e-6)


def test_a_prompt_is_run_once_whatever_the_number_of_answers() -> None:
    windows, answers = some(toy())
    prompts = toy().prompts(windows)
    batch = AnswerCollator(toy().items).batch(prompts, answers, np.zeros(answers.shape))
    n_answer_tokens = sum(len(toy().items.of(item)) - 1 for item in answers.ravel())
    expected = len(prompts.head) + len(prompts.tokens) + n_answer_tokens
    assert len(batch["model_inputs"]["input_ids"]) == expected


def test_an_answer_does_not_depend_on_the_answers_beside_it() -> None:
    windows, answers = some(toy())
    prompts, collator = toy().prompts(windows), AnswerCollator(toy().items)

    def log_p(chosen: np.ndarray) -> Tensor:
        batch = collator.batch(prompts, chosen, np.zeros(chosen.shape))
        hidden = toy().lm(**batch["model_inputs"])
        return answer_log_probabilities(hidden, toy().lm.output_embedding, batch["targets"])

    with torch.no_grad():
        together, turned, alone = log_p(answers), log_p(answers[:, ::-1]), log_p(answers[:, :1])
    torch.testing.assert_close(turned.flip(1), together, rtol=1e-6, atol=0)
    torch.testing.assert_close(alone, together[:, :1], rtol=1e-6, atol=0)


@pytest.mark.parametrize("unseen_by", ["user", "window"])
def test_negatives_are_never_the_target_nor_in_the_history(unseen_by: Any) -> None:
    data = toy().dataset
    config = PreferenceConfig(n_negatives=5, unseen_by=unseen_by)
    drawn = draw_negatives(data, data.train, toy().trie, toy().items, config, seed=3)
    assert drawn.shape == (len(data.train), 5)
    assert drawn.min() >= 1
    assert drawn.max() <= data.n_items
    items_of: dict[str, set[int]] = {}
    for user, history, target in zip(
        data.train.user_id, data.train.history, data.train.target_idx, strict=True
    ):
        items_of.setdefault(user, set()).update(history.tolist(), [int(target)])
    n_met_elsewhere = 0
    for row, own in enumerate(drawn.tolist()):
        seen = {*data.train.history[row].tolist(), int(data.train.target_idx[row])}
        titles = [data.titles[item - 1] for item in own]
        assert len(set(titles)) == 5
        assert not set(titles) & {data.titles[item - 1] for item in seen - {0}}
        n_met_elsewhere += len(set(own) & items_of[data.train.user_id[row]])
    assert (n_met_elsewhere == 0) == (unseen_by == "user")


def test_negatives_are_drawn_evenly_and_by_the_seed() -> None:
    data = toy().dataset
    window = data.train.take(np.zeros(4000, int))
    config = PreferenceConfig(n_negatives=2, unseen_by="window")
    drawn = draw_negatives(data, window, toy().trie, toy().items, config, seed=0)
    counts = np.bincount(drawn.ravel(), minlength=data.n_items + 1)
    counts = counts[counts > 0]
    free = {data.titles[item - 1] for item in range(1, data.n_items + 1)} - {
        data.titles[item - 1] for item in (*window.history[0], window.target_idx[0]) if item
    }
    assert len(counts) == len(free)
    assert abs(counts - 8000 / len(free)).max() < 5 * np.sqrt(8000 / len(free))  # 5 standard deviations
    again = draw_negatives(data, window, toy().trie, toy().items, config, seed=0)
    other = draw_negatives(data, window, toy().trie, toy().items, config, seed=1)
    assert np.array_equal(drawn, again)
    assert not np.array_equal(drawn, other)


def test_too_many_negatives_are_refused() -> None:
    data = toy().dataset
    config = PreferenceConfig(n_negatives=data.n_items)
    with pytest.raises(InputError, match="lower it"):
        draw_negatives(data, data.train, toy().trie, toy().items, config, seed=0)


def test_the_target_comes_to_be_preferred(tmp_path: Path) -> None:
    learner = make_toy(dtype="float32", fresh=True)
    config = tune_config(n_windows=200, batch_size=8, micro_batch_size=8, learning_rate=1e-2, warmup_steps=0)
    trace = run(learner, tmp_path, config, preference=replace(CONFIG, beta=1.0))
    loss, preferred = values(trace, "loss"), values(trace, "preferred")
    assert loss[0] == pytest.approx(np.log(1 + CONFIG.n_negatives), rel=1e-4)  # the policy is its reference
    assert loss[-5:].mean() < 0.8 * loss[0]
    assert values(trace, "margin")[-5:].mean() > 0.3
    assert preferred[-5:].mean() > 0.45  # by chance 0.25


def test_windows_not_trained_on_are_preferred_too(tmp_path: Path) -> None:
    learner = make_toy(dtype="float32", fresh=True)
    data = learner.dataset
    negatives = draw_negatives(data, data.valid, learner.trie, learner.items, CONFIG, seed=9)
    answers = np.column_stack([data.valid.target_idx.astype(np.int64), negatives])

    def log_p(name: str) -> np.ndarray:
        prompts = learner.prompts(data.valid)
        return reference_log_probabilities(
            learner.lm, prompts, answers, learner.items, folder=tmp_path / name
        )

    before = log_p("before")
    config = tune_config(n_windows=200, batch_size=8, micro_batch_size=8, learning_rate=1e-2, warmup_steps=0)
    run(learner, tmp_path, config)
    ratio = log_p("after") - before
    assert (ratio[:, 0] - ratio[:, 1:].mean(axis=1)).mean() > 0.3


def test_the_reference_is_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passes = []
    whole = stage._pass
    monkeypatch.setattr(stage, "WINDOWS_PER_FILE", 8)
    monkeypatch.setattr(stage, "_pass", lambda *given: passes.append(len(given[2])) or whole(*given))
    tuned = make_toy(dtype="float32")
    of = start(tuned, tmp_path)
    run(tuned, tmp_path, tune_config(n_windows=20), of=of)
    assert passes == [8, 8, 4]
    run(tuned, tmp_path, tune_config(n_windows=20), of=of)  # the adapter has moved; its reference has not
    assert passes == [8, 8, 4]


def test_a_reference_of_another_objective_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="tuned with 'lml'"):
        run(toy(), tmp_path, tune_config(objective=ObjectiveConfig(name="msl")))


def adapter(toy: Toy) -> Tensor:
    return torch.cat([weight.detach().flatten() for weight in adapter_state(toy.lm).values()]).clone()


def test_a_batch_of_four_is_two_of_two(tmp_path: Path) -> None:
    adapters = []
    for micro_batch_size in (4, 2):
        tuned = make_toy()
        folder = tmp_path / str(micro_batch_size)
        folder.mkdir()
        run(tuned, folder, tune_config(micro_batch_size=micro_batch_size, n_windows=12))
        adapters.append(adapter(tuned))
    # The norm layers round to float32 on the way; Adam divides by small gradients.
    assert (adapters[0] - adapters[1]).norm() < 1e-3 * adapters[0].norm()
