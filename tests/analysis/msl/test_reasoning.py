"""The step that lets a language model reason about training windows, and about nothing else."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from reclib import config
from reclib.analysis.msl import reasoning
from reclib.analysis.msl.reasoning import drawn_windows, load_reasoned, reason_step, reasoned_config
from reclib.artifacts import Artifact, get_or_compute
from reclib.models.text_encoder import load_encoder
from reclib.schema import InputError
from tests.analysis.bench import PROFILE, workbench

SMALL = config.override(
    PROFILE, **{"msl_tables.reasoning.n_windows": 7, "msl_tables.reasoning.users_per_batch": 3}
)
SETTINGS = reasoned_config(SMALL)


@lru_cache
def step() -> Artifact:
    return get_or_compute("reason", reason_step, SETTINGS, seed=0, bench=workbench())


def test_every_other_window_is_about_an_item_its_user_has_not() -> None:
    data = workbench().dataset
    rows, items, is_chosen = drawn_windows(data, 30)
    assert is_chosen.tolist() == [True, False] * 15
    assert len(set(rows)) == 30
    np.testing.assert_array_equal(items[is_chosen], data.train.target_idx[rows[is_chosen]])
    for row, item in zip(rows[~is_chosen], items[~is_chosen], strict=True):
        own = data.train.user_id == data.train.user_id[row]
        assert item not in {*data.train.history[own].ravel(), *data.train.target_idx[own]}
        assert 1 <= item <= data.n_items
    everybody = replace(data.train, user_id=np.repeat("u1", len(data.train)))
    with pytest.raises(InputError, match="user u1 has every item: none was not chosen"):
        drawn_windows(replace(data, train=everybody), 30)


def test_nothing_is_drawn_from_validation_or_test(tmp_path: Path) -> None:
    data = workbench().dataset
    scrambled = replace(data, valid=data.test.take(np.arange(3)), test=data.valid)
    for one, other in zip(drawn_windows(data, 30), drawn_windows(scrambled, 30), strict=True):
        np.testing.assert_array_equal(one, other)
    found = load_reasoned(step())
    found.check(data.train, n_items=data.n_items)
    for part in (data.valid, data.test):
        with pytest.raises(InputError, match="this training part"):
            found.check(part, n_items=data.n_items)


def test_the_vectors_are_those_of_titles_and_of_what_was_written() -> None:
    data, found, texts = workbench().dataset, load_reasoned(step()), step()["texts"]
    assert texts["row"].tolist() == found.rows.tolist()
    assert texts["text"].str.len().gt(0).all()
    encode = load_encoder(SETTINGS.reasoning.text, texts=data.titles, device="cpu")
    np.testing.assert_allclose(found.text[1:], encode(data.titles), atol=1e-5)
    np.testing.assert_allclose(found.reasoning, encode(texts["text"].tolist()), atol=1e-5)


def test_what_a_killed_run_wrote_is_not_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, asked = reasoning.generate_texts, []

    def noted(lm, prompts, **how):
        asked.append(len(prompts))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return written(lm, prompts, **how)

    monkeypatch.setattr(reasoning, "generate_texts", noted)
    with pytest.raises(KeyboardInterrupt):
        reason_step(SETTINGS, seed=0, workdir=tmp_path, bench=workbench())
    again = reason_step(SETTINGS, seed=0, workdir=tmp_path, bench=workbench())["texts"]
    assert asked == [3, 3, 1, 1]
    assert again["text"].tolist() == step()["texts"]["text"].tolist()
