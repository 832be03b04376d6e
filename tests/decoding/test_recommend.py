from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reclib.config import DecodingConfig
from reclib.decoding.beam import constrained_beam_search
from reclib.decoding.exact import exact_top_k
from reclib.decoding.lists import Lists
from reclib.decoding.recommend import input_digest, recommend
from reclib.schema import InputError
from reclib.text.trie import ItemTrie
from tests.decoding.made import END, catalogue, item_tokens, lm, prompt_tokens

N_ITEMS, N_USERS = 40, 21
TRIE = ItemTrie.build(item_tokens(catalogue(N_ITEMS)))
PROMPTS = prompt_tokens(N_USERS)
EXACT = DecodingConfig(protocol="exact_top_k", scoring="valid", top_k=5, users_per_batch=2)
BEAM = DecodingConfig(protocol="constrained_beam", scoring="full", top_k=5, num_beams=8, users_per_batch=4)


def assert_same(found: Lists, expected: Lists) -> None:
    np.testing.assert_array_equal(found.items, expected.items[:, : found.items.shape[1]])
    np.testing.assert_allclose(found.scores, expected.scores[:, : found.scores.shape[1]], atol=1e-5, rtol=0.0)


class Killed(Exception):
    """Stands for a process that ends in the middle."""


def kill_after(monkeypatch: pytest.MonkeyPatch, n_batches: int) -> None:
    left = iter(range(n_batches))

    def until_killed(*inputs: Any, **named: Any) -> Lists:
        if next(left, None) is None:
            raise Killed
        return exact_top_k(*inputs, **named)

    monkeypatch.setattr("reclib.decoding.recommend.exact_top_k", until_killed)


def test_lists_stand_in_the_order_of_the_prompts() -> None:
    exact = recommend(lm(), PROMPTS, TRIE, EXACT, progress=False)
    assert exact.items.shape == (N_USERS, 5)
    assert_same(exact, exact_top_k(lm(), PROMPTS, TRIE, k=5))
    beam = recommend(lm(), PROMPTS, TRIE, BEAM, progress=False)
    assert_same(beam, constrained_beam_search(lm(), PROMPTS, TRIE, num_beams=8))


def test_a_table_has_one_row_an_entry() -> None:
    lists = Lists(np.array([[3, 1], [2, 0]], np.int32), np.array([[-1.0, -2.0], [-3.0, -np.inf]], np.float32))
    table = lists.table()
    assert table.columns.tolist() == ["window", "rank", "item_idx", "score"]
    assert table.to_numpy().tolist() == [[0, 1, 3, -1.0], [0, 2, 1, -2.0], [1, 1, 2, -3.0]]


def test_a_rerun_takes_finished_lists_from_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = recommend(lm(), PROMPTS, TRIE, EXACT, progress=False)
    with monkeypatch.context() as patch:
        kill_after(patch, n_batches=9)
        with pytest.raises(Killed):
            recommend(lm(), PROMPTS, TRIE, EXACT, workdir=tmp_path, progress=False)
    assert len(list(tmp_path.iterdir())) == 1
    assert_same(recommend(lm(), PROMPTS, TRIE, EXACT, workdir=tmp_path, progress=False), expected)
    kill_after(monkeypatch, n_batches=0)
    assert_same(recommend(lm(), PROMPTS, TRIE, EXACT, workdir=tmp_path, progress=False), expected)


def test_another_configuration_or_input_is_computed_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recommend(lm(), PROMPTS, TRIE, EXACT, workdir=tmp_path, progress=False)
    kill_after(monkeypatch, n_batches=0)
    for prompts, config in ((PROMPTS, replace(EXACT, top_k=6)), (prompt_tokens(N_USERS, seed=1), EXACT)):
        with pytest.raises(Killed):
            recommend(lm(), prompts, TRIE, config, workdir=tmp_path, progress=False)


def test_the_digest_tells_apart_catalogues_of_one_trie_whose_items_share_titles_otherwise() -> None:
    a, b = [5, END], [6, END]
    tries = [ItemTrie.build(item_tokens(rows)) for rows in ([a, a, b], [a, b, b])]
    assert tries[0].token.tolist() == tries[1].token.tolist()
    assert input_digest(PROMPTS, tries[0]) != input_digest(PROMPTS, tries[1])


def test_progress_counts_users(capsys: pytest.CaptureFixture[str]) -> None:
    recommend(lm(), PROMPTS, TRIE, EXACT)
    assert f"{N_USERS}/{N_USERS}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (replace(EXACT, scoring="full"), "exact_top_k ranks by P_valid"),
        (replace(BEAM, top_k=9), "top_k is 9, more than 8 beams"),
        (replace(EXACT, protocol="greedy"), "protocol is 'greedy'"),
        (replace(EXACT, top_k=N_ITEMS + 1), "catalogue has 40"),
    ],
)
def test_a_configuration_that_cannot_be_met_is_refused(config: DecodingConfig, message: str) -> None:
    with pytest.raises(InputError, match=message):
        recommend(lm(), PROMPTS, TRIE, config, progress=False)
