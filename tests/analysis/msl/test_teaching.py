"""A teacher is what decoding says of the windows that it was asked about, in the place of each window."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch

from reclib import artifacts, config
from reclib.analysis.msl.teaching import (
    load_teacher,
    make_teacher,
    teacher_config,
    teacher_step,
    title_vectors,
)
from reclib.artifacts import Artifact
from reclib.config import DecodingConfig
from reclib.data.dataset import joined
from reclib.decoding.exact import exact_scores
from reclib.models.causal_lm import adapter_state
from reclib.schema import InputError
from tests.analysis.bench import PROFILE, workbench

EXACT = DecodingConfig(top_k=5)
VECTORS = np.zeros((41, 3), dtype=np.float32)


@lru_cache
def step() -> Artifact:
    """A teacher of 12 of the windows, from the cache or made now."""
    settings = teacher_config(config.override(PROFILE, **{"decoding.top_k": 5}), n_windows=12)
    return artifacts.get_or_compute(
        "make_teacher", teacher_step, settings, seed=0, bench=workbench(), adapter=None
    )


def test_lists_stand_at_their_windows_and_distances_are_log_probabilities() -> None:
    bench = workbench()
    windows, rows = bench.dataset.train.take(np.arange(9)), np.array([7, 1, 4])
    lm, prompts = bench.with_adapter(None), bench.prompts(windows.take(rows))
    teacher = make_teacher(
        lm, windows, prompts, bench.trie, EXACT, vectors=VECTORS, rows=rows, progress=False
    )
    scores = exact_scores(lm, prompts, bench.trie)
    for place, row in enumerate(rows):
        listed = teacher.items[row]
        np.testing.assert_allclose(teacher.distance[row], -scores[place][listed], atol=1e-4)
        left_out = np.delete(scores[place], [0, *listed])
        assert left_out.max() <= scores[place][listed].min() + 1e-5
    others = np.setdiff1d(np.arange(9), rows)
    assert not teacher.items[others].any()
    assert np.isinf(teacher.distance[others]).all()
    teacher.check(windows, n_items=40)


def test_scores_over_the_whole_vocabulary_are_distances_too() -> None:
    bench = workbench()
    windows = bench.dataset.train.take(np.arange(3))
    beam = DecodingConfig(protocol="constrained_beam", scoring="full", top_k=4, num_beams=6)
    teacher = make_teacher(
        bench.with_adapter(None),
        windows,
        bench.prompts(windows),
        bench.trie,
        beam,
        vectors=VECTORS,
        progress=False,
    )
    assert (teacher.distance > 0).all()
    assert (np.diff(teacher.distance, axis=1) >= 0).all()


def test_a_prompt_for_each_window_is_needed() -> None:
    bench = workbench()
    windows = bench.dataset.train.take(np.arange(3))
    with pytest.raises(InputError, match="2 prompts for 3 windows to teach"):
        make_teacher(
            bench.with_adapter(None),
            windows,
            bench.prompts(windows.take(np.arange(2))),
            bench.trie,
            EXACT,
            vectors=VECTORS,
        )


def test_a_vector_is_the_mean_state_of_its_title_by_the_tuned_model(tmp_path: Path) -> None:
    bench, titles = workbench(), workbench().dataset.titles
    lm = bench.with_adapter(None)
    vectors = title_vectors(lm, titles, name="random", workdir=tmp_path)
    assert vectors.shape[0] == len(titles) + 1
    tokens = lm.tokenizer(titles[4], return_tensors="pt")["input_ids"]
    with torch.no_grad():
        expected = lm.hidden_states(tokens)[0][0].mean(dim=0)
    np.testing.assert_allclose(vectors[5], expected, atol=1e-5)
    for weight in adapter_state(lm).values():
        weight.data += 0.05
    bench.reset_adapter()
    tuned = title_vectors(lm, titles, name="random", workdir=tmp_path)
    assert np.abs(tuned - vectors).max() > 1e-3, "the adapter is part of the teacher"


def test_the_step_keeps_a_teacher_of_training_and_validation_windows() -> None:
    data, teacher, about = workbench().dataset, load_teacher(step()), step()["about"]
    both = joined(data.train, data.valid)
    teacher.check(both, n_items=data.n_items)
    assert about["taught"] == 12 == int((teacher.items > 0).any(axis=1).sum())
    assert about["windows"] == len(both)
    hits = (teacher.items == both.target_idx[:, None]).any(axis=1).sum()
    assert about["hit_rate"] == pytest.approx(hits / 12)
