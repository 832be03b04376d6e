from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from reclib.config import ObjectiveConfig
from reclib.training.collate import WindowCollator
from reclib.training.objectives import make_objective
from reclib.training.targets import TargetBatch
from tests.training.toy import Toy, make_toy

toy = cache(make_toy)


def batch_of(toy: Toy, rows: list[int], *, needs_forced: bool) -> tuple[dict, TargetBatch]:
    windows = toy.dataset.train.take(np.array(rows))
    collator = WindowCollator(toy.trie, toy.items, needs_forced=needs_forced)
    batch = collator.batch(toy.prompts(windows), windows.target_idx)
    return batch["model_inputs"], batch["targets"]


def valid_after(toy: Toy, prefix: tuple[int, ...]) -> set[int]:
    """Tokens that some item has after a prefix, by looking at every item."""
    titles = [tuple(toy.items.of(item)) for item in range(1, toy.items.n_items + 1)]
    return {
        title[len(prefix)] for title in titles if title[: len(prefix)] == prefix and len(title) > len(prefix)
    }


ROWS = [0, 3, 5, 8, 9, 3]


@pytest.mark.parametrize("needs_forced", [True, False])
def test_positions_are_those_of_the_targets_and_their_valid_tokens(needs_forced: bool) -> None:
    _, targets = batch_of(toy(), ROWS, needs_forced=needs_forced)
    titles = [tuple(toy().items.of(item)) for item in toy().dataset.train.target_idx[ROWS]]
    expected = [
        (sample, place, title[place], valid_after(toy(), title[:place]))
        for sample, title in enumerate(titles)
        for place in range(len(title))
    ]
    kept = [row for row in expected if needs_forced or len(row[3]) > 1]
    assert list(
        zip(targets.sample.tolist(), targets.position.tolist(), targets.target.tolist(), strict=True)
    ) == [row[:3] for row in kept]
    unforced = [place for place, row in enumerate(kept) if len(row[3]) > 1]
    assert targets.counted.tolist() == unforced
    assert (targets.n_samples, targets.n_tokens) == (len(ROWS), len(expected))

    valid = targets.valid
    for row, place in enumerate(unforced):
        entries = range(int(valid.row_start[row]), int(valid.row_start[row + 1]))
        assert {int(valid.union[valid.column[entry]]) for entry in entries} == kept[place][3]
        assert int(valid.target_entry[row]) in entries
        assert int(valid.union[valid.column[valid.target_entry[row]]]) == kept[place][2]
        assert int(valid.n_valid[row]) == len(kept[place][3])


@pytest.mark.parametrize("needs_forced", [True, False])
def test_hidden_states_are_asked_for_where_the_target_token_comes_next(needs_forced: bool) -> None:
    inputs, targets = batch_of(toy(), ROWS, needs_forced=needs_forced)
    windows = toy().dataset.train.take(np.array(ROWS))
    prompts = toy().prompts(windows)
    for place, sample, position in zip(inputs["asked"], targets.sample, targets.position, strict=True):
        title = toy().items.of(windows.target_idx[sample])
        before = title[position - 1] if position else prompts.of(int(sample))[-1]
        assert inputs["input_ids"][place] == before
        assert inputs["position_ids"][place] == len(prompts.of(int(sample))) - 1 + position


def test_no_token_is_run_after_the_last_decision() -> None:
    whole, targets = batch_of(toy(), ROWS, needs_forced=True)
    short, _ = batch_of(toy(), ROWS, needs_forced=False)
    prompts = toy().prompts(toy().dataset.train.take(np.array(ROWS)))
    n_prompt = len(prompts.head) + len(prompts.tokens)
    last = {int(targets.sample[place]): int(targets.position[place]) for place in targets.counted}
    assert len(whole["input_ids"]) == n_prompt + targets.n_tokens - len(ROWS)
    assert len(short["input_ids"]) == n_prompt + sum(last.values())
    assert len(short["input_ids"]) < len(whole["input_ids"])


def test_forced_positions_change_nothing_for_the_masked_softmax_loss() -> None:
    objective = make_objective(ObjectiveConfig(name="msl", temperature=2.0), toy().lm.vocabulary_size)
    losses = []
    for needs_forced in (True, False):
        inputs, targets = batch_of(toy(), ROWS, needs_forced=needs_forced)
        losses.append(objective(toy().lm(**inputs), toy().lm.output_embedding, targets).total)
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-9, atol=0)


def test_a_batch_of_a_sample_without_any_decision_has_no_positions() -> None:
    lone = make_toy()
    items = lone.items.from_lists([[4, 5, 6]], end_token=6)
    trie = lone.trie.build(items)
    prompts = lone.prompts(lone.dataset.train.take(np.array([0])))
    batch = WindowCollator(trie, items, needs_forced=False).batch(prompts, np.array([1]))
    assert len(batch["targets"].target) == 0
    assert batch["targets"].n_tokens == 3
    assert lone.lm(**batch["model_inputs"]).shape == (0, lone.lm.output_embedding.shape[1])


def test_a_device_is_named_once() -> None:
    windows = toy().dataset.train.take(np.array(ROWS))
    collator = WindowCollator(toy().trie, toy().items, needs_forced=True, device="meta")
    batch = collator.batch(toy().prompts(windows), windows.target_idx)
    assert batch["targets"].valid.column.device.type == "meta"
    assert batch["model_inputs"]["packing"].padded.device.type == "meta"


def test_a_batch_names_the_item_of_each_sample() -> None:
    windows = toy().dataset.train.take(np.array(ROWS))
    collator = WindowCollator(toy().trie, toy().items, needs_forced=False)
    batch = collator.batch(toy().prompts(windows), windows.target_idx)
    assert batch["target_idx"].tolist() == windows.target_idx.tolist()
