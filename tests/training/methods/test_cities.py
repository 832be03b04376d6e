"""CITIES gives an item that was never trained a useful vector, from the items around it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from reclib.models.context_inference import ContextInference
from reclib.schema import InputError
from reclib.training.item_contexts import ItemContexts, item_contexts
from reclib.training.methods import cities
from tests.data.test_cooccurrence import windows_of
from tests.training.methods.made_setup import built, setup
from tests.training.sequence_toy import dataset, train_config

N_ITEMS, N_KINDS, D = 60, 4, 16


def kind_of(item_idx: np.ndarray) -> np.ndarray:
    return item_idx % N_KINDS


def made_contexts() -> ItemContexts:
    """Users who stay within one kind of items; the last ten items occur three times each."""
    draw = np.random.default_rng(0)
    head = np.arange(1, N_ITEMS - 9)
    sequences = [draw.choice(head[kind_of(head) == u % N_KINDS], size=9).tolist() for u in range(160)]
    for item in range(N_ITEMS - 9, N_ITEMS + 1):
        for user in draw.choice(np.flatnonzero(np.arange(160) % N_KINDS == kind_of(np.array(item))), 3):
            sequences[user].insert(4, item)
    return item_contexts(windows_of(sequences, length=12), N_ITEMS, draw)


def trained_vectors() -> torch.Tensor:
    """Vectors near the centre of their kind; those of the tail are noise, as if never trained."""
    draw = np.random.default_rng(1)
    centre, noise = draw.normal(size=(N_KINDS, D)), draw.normal(size=(N_ITEMS + 1, D))
    matrix = centre[kind_of(np.arange(N_ITEMS + 1))] + 0.2 * noise
    matrix[N_ITEMS - 9 :] = noise[N_ITEMS - 9 :]
    matrix[0] = 0
    return torch.from_numpy(matrix).float()


def options(**fields: Any) -> cities.CitiesOptions:
    values = {"epochs": 25, "batch_size": 16, "learning_rate": 3e-3, "reach": 3, "n_contexts": 5}
    return cities.CitiesOptions(**(values | fields))


def made_run() -> Any:
    return SimpleNamespace(train=train_config(), device="cpu")


def test_an_item_never_trained_lies_with_its_kind(tmp_path: Path) -> None:
    contexts, matrix = made_contexts(), trained_vectors()
    fitted = cities.train_inference(matrix, contexts, made_run(), options(), seed=0, workdir=tmp_path)
    updated = cities.replaced(matrix, cast(cities.Inference, fitted.model), contexts, 5)
    tail = np.arange(N_ITEMS - 9, N_ITEMS + 1)
    head = np.arange(1, N_ITEMS - 9)
    nearest = (normalize(updated[tail], dim=1) @ normalize(updated[head], dim=1).T).argmax(dim=1)
    before = (normalize(matrix[tail], dim=1) @ normalize(matrix[head], dim=1).T).argmax(dim=1)
    assert (kind_of(head[nearest.numpy()]) == kind_of(tail)).mean() > 0.9
    assert (kind_of(head[before.numpy()]) == kind_of(tail)).mean() < 0.7
    torch.testing.assert_close(updated[: N_ITEMS - 9], matrix[: N_ITEMS - 9])  # the head keeps its own


def test_the_error_on_held_out_items_falls(tmp_path: Path) -> None:
    fitted = cities.train_inference(
        trained_vectors(), made_contexts(), made_run(), options(), seed=0, workdir=tmp_path
    )
    validation = fitted.trace.query("name == 'validation'")["value"]
    assert validation.iloc[-1] > 0.5 * validation.iloc[0]  # minus the error: it has halved at least


def test_an_item_without_a_context_keeps_its_vector(tmp_path: Path) -> None:
    contexts, matrix = made_contexts(), trained_vectors()
    unseen = contexts._replace(counts=contexts.counts.clone())
    unseen.counts[N_ITEMS] = 0
    fitted = cities.train_inference(matrix, contexts, made_run(), options(epochs=1), seed=0, workdir=tmp_path)
    updated = cities.replaced(matrix, cast(cities.Inference, fitted.model), unseen, 5)
    torch.testing.assert_close(updated[N_ITEMS], matrix[N_ITEMS])
    assert not torch.equal(updated[N_ITEMS - 1], matrix[N_ITEMS - 1])


def make_function() -> ContextInference:
    return built(lambda: ContextInference(D, reach=3, n_layers=1, n_heads=4, dropout=0.0)).eval()


def test_the_inference_reads_contexts_as_a_set_and_skips_what_is_not_there() -> None:
    function = make_function()
    draw = torch.Generator().manual_seed(0)
    vectors = torch.randn(5, 4, 6, D, generator=draw)
    mask = torch.rand(5, 4, 6, generator=draw) < 0.7
    mask[:, 0, 0] = True
    given = function(vectors, mask)
    swapped = function(vectors[:, [2, 0, 3, 1]], mask[:, [2, 0, 3, 1]])
    torch.testing.assert_close(swapped, given, atol=1e-5, rtol=1e-4)
    junk = torch.where(mask[..., None], vectors, 99.0)
    torch.testing.assert_close(function(junk, mask), given, atol=1e-5, rtol=1e-4)
    more = torch.cat([vectors, torch.randn(5, 2, 6, D, generator=draw)], dim=1)
    none = torch.zeros(5, 2, 6, dtype=torch.bool)
    torch.testing.assert_close(function(more, torch.cat([mask, none], dim=1)), given, atol=1e-5, rtol=1e-4)


def test_without_any_context_the_vector_is_finite() -> None:
    vector = make_function()(torch.randn(2, 3, 6, D), torch.zeros(2, 3, 6, dtype=torch.bool))
    assert vector.isfinite().all()


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(InputError, match="d_model 16 does not divide into 3 heads"):
        cities.Inference(trained_vectors(), made_contexts(), options(n_heads=3))


def test_without_a_head_item_the_remedy_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lower cities.tail_count"):
        cities.train_inference(
            trained_vectors(),
            made_contexts(),
            made_run(),
            options(tail_count=1000),
            seed=0,
            workdir=tmp_path,
        )


@pytest.mark.parametrize("backbone", ["gru4rec", "bert4rec"])
def test_all_stages_give_a_model_that_ranks(tmp_path: Path, backbone: str) -> None:
    run = setup(backbone=backbone, epochs=2)
    few = int(np.median(dataset().counts[1:]))
    chosen = cities.CitiesOptions(tail_count=few, epochs=3, batch_size=8)
    fitted = cities.train(run, chosen, seed=0, workdir=tmp_path)
    again = cities.train(run, chosen, seed=0, workdir=tmp_path)  # from the checkpoints of both stages
    torch.testing.assert_close(fitted.model.item_matrix(), again.model.item_matrix())
    assert run.validate(fitted.model) >= 0
    names = set(fitted.trace["name"])
    assert {"validation", "inference validation", "inference error"} <= names
    assert fitted.best_epoch in fitted.trace["epoch"].to_numpy()
    assert not fitted.model.item_matrix()[0].any()


def test_the_grid_begins_with_the_defaults() -> None:
    assert cities.GRID[0] == cities.CitiesOptions()
    assert len(set(cities.GRID)) == 6
