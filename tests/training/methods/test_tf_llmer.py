"""TF-LLMER starts from Rec-PCA and stays on the sphere; what it is compared with starts as it says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from reclib.data.cooccurrence import training_graph
from reclib.models.items import NormalisedItems
from reclib.models.unit_states import UnitStates
from reclib.schema import InputError
from reclib.training.item_projection import ProjectionOptions, TextGeometry
from reclib.training.methods import METHODS, item_tables, llm_esr, llmemb, text_adapters, tf_llmer
from reclib.training.methods.item_norm import ItemNorm
from tests.training.methods.made_setup import TEXT_WIDTH, context, setup, some_batch, text_matrix
from tests.training.sequence_toy import WIDTH, dataset

SHORT: dict[str, Any] = {"epochs": 1, "loss": "cross_entropy"}
ADDED = (
    "random_init",
    "llminit_dimensions",
    "projected_init",
    "frozen_adapter",
    "alpharec",
    "llmemb",
    "llm_esr_items",
    "tf_llmer",
)


def options_of(method: str) -> Any:
    """The defaults of a method, with a λ that is feasible for made texts."""
    options = METHODS[method].options()
    return replace(options, weight=0.4) if method == "tf_llmer" else options


def start_of(method: str, options: Any, tmp_path: Path) -> np.ndarray:
    """The table that a method starts from: learning so slow that nothing moves."""
    given = setup(**SHORT, learning_rate=1e-9)
    model = METHODS[method].train(given, options, seed=0, workdir=tmp_path).model
    items = model.items.items if isinstance(model.items, NormalisedItems) else model.items
    return items.matrix().detach().numpy()


@pytest.mark.parametrize("method", ADDED)
@pytest.mark.parametrize("norm", [None, ItemNorm(scale=4.0)])
def test_item_vectors_have_the_length_of_the_scale_before_and_after_training(
    method: str, norm: ItemNorm | None, tmp_path: Path
) -> None:
    options = replace(options_of(method), norm=norm)
    model = METHODS[method].train(setup(**SHORT), options, seed=0, workdir=tmp_path).model
    every = torch.arange(dataset().n_items + 1)
    scored, read = model.item_matrix().detach(), model.item_vectors(every).detach()
    torch.testing.assert_close(read, scored)
    assert not scored[0].any()
    views = scored[1:].split(WIDTH, dim=1)  # LLM-ESR has two, side by side
    spread = max(float(view.norm(dim=1).std()) for view in views)
    if norm is None:
        assert spread > 1e-4
    else:
        for view in views:
            torch.testing.assert_close(view.norm(dim=1), torch.full((dataset().n_items,), 4.0))


def test_it_starts_from_rec_pca_of_the_training_graph(tmp_path: Path) -> None:
    graph = training_graph(dataset())
    expected = TextGeometry(text_matrix(), graph).fit(WIDTH, ProjectionOptions(weight=0.5)).table
    options = tf_llmer.TFLLMEROptions(weight=0.5)
    np.testing.assert_allclose(start_of("tf_llmer", options, tmp_path / "a"), expected, atol=1e-5)
    placebo = start_of("tf_llmer", replace(options, is_shuffled=True), tmp_path / "b")
    assert np.abs(placebo - expected).max() > 0.01


def test_without_a_penalty_it_is_pca_and_a_placebo_changes_nothing() -> None:
    given = setup()
    free = tf_llmer.TFLLMEROptions(weight=0.0)
    tables = [
        tf_llmer.projected(given, options, seed=0).table
        for options in (free, replace(free, is_shuffled=True))
    ]
    pca = TextGeometry(text_matrix(), None).fit(WIDTH, ProjectionOptions(method="pca")).table
    for table in tables:
        np.testing.assert_allclose(np.abs(table), np.abs(pca), atol=1e-5)


def test_a_held_out_event_does_not_reach_the_start() -> None:
    given, options = setup(), tf_llmer.TFLLMEROptions(weight=0.5)
    before = tf_llmer.projected(given, options, seed=0).table
    data = given.dataset
    leaked = replace(data, valid=replace(data.valid, target_idx=np.ones_like(data.valid.target_idx)))
    given = replace(
        given, dataset=replace(leaked, test=replace(data.test, target_idx=np.ones_like(data.test.target_idx)))
    )
    np.testing.assert_array_equal(tf_llmer.projected(given, options, seed=0).table, before)


def test_frozen_tables_do_not_move_and_states_may_be_of_one_length(tmp_path: Path) -> None:
    options = tf_llmer.TFLLMEROptions(weight=0.5, is_trained=False, temperature=0.2, norm=ItemNorm(scale=1.0))
    model = METHODS["tf_llmer"].train(setup(**SHORT), options, seed=0, workdir=tmp_path).model
    table = tf_llmer.projected(setup(), options, seed=0).table
    np.testing.assert_array_equal(model.items.items.matrix().numpy(), table)
    assert isinstance(model.backbone, UnitStates)
    with torch.no_grad():
        states = model.user_states(torch.from_numpy(dataset().test.history[:5]).long())
    torch.testing.assert_close(states.norm(dim=1), torch.full((5,), 5.0))


def test_an_infeasible_weight_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lower λ"):
        tf_llmer.train(setup(), tf_llmer.TFLLMEROptions(weight=50.0), seed=0, workdir=tmp_path)


def test_starts_are_drawn_chosen_and_projected_as_they_say(tmp_path: Path) -> None:
    drawn = start_of("random_init", item_tables.RandomInitOptions(std=0.5), tmp_path / "a")
    assert drawn[1:].std() == pytest.approx(0.5, rel=0.1)
    even = start_of("llminit_dimensions", item_tables.DimensionsOptions(choice="even"), tmp_path / "b")
    np.testing.assert_allclose(even, text_matrix()[:, :WIDTH], atol=1e-6)
    scaled = item_tables.ProjectedInitOptions(scale=2.0)
    pca = start_of("projected_init", scaled, tmp_path / "c")[1:]
    assert np.linalg.norm(pca, axis=1).mean() == pytest.approx(2.0, rel=1e-4)
    white = start_of("projected_init", replace(scaled, start="whitened"), tmp_path / "d")[1:]
    variances = np.linalg.svd(white, compute_uv=False)
    assert variances[0] / variances[-1] == pytest.approx(1.0, rel=1e-3)
    assert np.linalg.svd(pca, compute_uv=False)[0] > 1.2 * np.linalg.svd(pca, compute_uv=False)[-1]


def test_an_adapter_maps_frozen_texts_linearly_and_alpharec_does_not(tmp_path: Path) -> None:
    for method, is_linear in (("frozen_adapter", True), ("alpharec", False)):
        model = METHODS[method].train(
            setup(**SHORT), METHODS[method].options(), seed=0, workdir=tmp_path / method
        )
        items = model.model.items
        assert not any(weight.shape == (dataset().n_items + 1, TEXT_WIDTH) for weight in items.parameters())
        text = np.asarray(items.text)[1:]
        with torch.no_grad():
            made = items.matrix().numpy()[1:]
        design = np.concatenate([text, np.ones((len(text), 1))], axis=1)
        rest = made - design @ np.linalg.lstsq(design, made, rcond=None)[0]
        assert (np.abs(rest).max() < 1e-4) == is_linear


def test_texts_of_any_scale_start_an_adapter_alike() -> None:
    text = text_matrix()
    np.testing.assert_allclose(
        text_adapters.even_length(7 * text), text_adapters.even_length(text), rtol=1e-5
    )
    assert not text_adapters.even_length(np.zeros((3, 2))).any()


def test_llmemb_trains_by_ids_first_and_pulls_the_adapter_to_its_vectors(tmp_path: Path) -> None:
    found = {
        weight: llmemb.train(
            setup(epochs=6, loss="cross_entropy"),
            llmemb.LLMEmbOptions(alignment_weight=weight, temperature=1.0),
            seed=0,
            workdir=tmp_path / str(weight),
        )
        for weight in (0.0, 3.0)
    }
    trace = found[3.0].trace
    stages = trace.groupby("name")["epoch"].agg(["min", "max"])
    assert tuple(stages.loc["collaborative cross_entropy"]) == (0, 5)
    assert tuple(stages.loc["cross_entropy"]) == (6, 11)
    ends = {
        weight: fitted.trace.query("name == 'alignment'")["value"].iloc[-1]
        for weight, fitted in found.items()
    }
    assert ends[3.0] < ends[0.0]


def test_the_adaptation_passes_no_gradient_to_the_kept_vectors() -> None:
    model = nn.Module()
    model.items = nn.Embedding(dataset().n_items + 1, WIDTH)
    kept = torch.randn(dataset().n_items + 1, WIDTH, generator=torch.Generator().manual_seed(0))
    term = llmemb.Adaptation(kept, llmemb.LLMEmbOptions(alignment_weight=0.5))
    loss, parts = term(model, some_batch(), context())
    assert float(loss.detach()) == pytest.approx(0.5 * float(parts["alignment"]))
    loss.backward()
    moved = model.items.weight.grad.any(dim=1)
    batch = some_batch()
    held = torch.cat([batch.history.flatten(), batch.target]).unique()
    assert moved.nonzero()[:, 0].tolist() == held[held > 0].tolist()


def test_llm_esr_normalises_both_places_or_none() -> None:
    with pytest.raises(InputError, match="scoring alone"):
        llm_esr.LLMESRItemsOptions(norm=ItemNorm(where="scoring"))


@pytest.mark.parametrize("method", ADDED[1:])
def test_texts_are_asked_for(method: str, tmp_path: Path) -> None:
    given = setup(**SHORT)
    given = replace(given, text=None)
    with pytest.raises(InputError, match="text embeddings"):
        METHODS[method].train(given, METHODS[method].options(), seed=0, workdir=tmp_path)
