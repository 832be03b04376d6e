"""FAERec aligns what it fuses, each part can be switched off; the backbone and LLMInit are what is left."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from reclib.analysis.spaces import cosine, embedding_views, knn_overlap
from reclib.kernels.alignment import feature_alignment, item_alignment
from reclib.models.items import FusedItems, IdItems, pca
from reclib.models.items.fused import distinct_items
from reclib.models.sequence_model import SequenceModel
from reclib.models.text_adapter import TextAdapter
from reclib.schema import InputError
from reclib.training.methods import METHODS, base, faerec, llminit
from reclib.training.methods.faerec import Alignment, FAERecOptions
from tests.training.methods.made_setup import (
    TEXT_WIDTH,
    Recurrent,
    built,
    context,
    setup,
    some_batch,
    text_matrix,
)
from tests.training.sequence_toy import WIDTH, dataset

SMALL = FAERecOptions(alignment_weight=0.3, period=8)


def fused_model() -> SequenceModel:
    def model() -> SequenceModel:
        adapter = TextAdapter(text_matrix(), WIDTH, hidden=TEXT_WIDTH)
        ids = IdItems.from_matrix(pca(text_matrix(), WIDTH))
        return SequenceModel(FusedItems(ids, adapter, d_model=WIDTH), Recurrent())

    return built(model)


def counts() -> torch.Tensor:
    return torch.from_numpy(dataset().counts)


def test_scores_as_released_are_of_ids_in_training_and_of_no_length_afterwards(tmp_path) -> None:
    options = replace(faerec.RELEASED_SCORES, period=8)
    model = METHODS["faerec"].train(setup(), options, seed=0, workdir=tmp_path).model
    some = torch.tensor([3, 0, 1])
    model.train()
    assert torch.equal(model.item_matrix(), model.items.id_items.matrix())
    assert torch.equal(model.item_vectors(some), model.items.id_items(some))
    model.eval()
    id_embedding, llm_embedding = model.items.embedding_views()
    expected = torch.nn.functional.layer_norm(id_embedding + llm_embedding, (WIDTH,))
    torch.testing.assert_close(model.item_matrix()[1:], expected[1:], rtol=1e-4, atol=1e-4)
    assert not model.item_matrix()[0].any()
    torch.testing.assert_close(model.item_vectors(some), model.item_matrix()[some])
    length = model.item_matrix()[1:].norm(dim=1)
    torch.testing.assert_close(length, torch.full_like(length, WIDTH**0.5), rtol=1e-3, atol=0)


@pytest.mark.parametrize("epoch", [0, 2, 4])
def test_the_term_is_the_printed_sum(epoch: int) -> None:
    model, batch = fused_model(), some_batch()
    items = distinct_items(batch.history, batch.target)
    views = model.items.id_items(items), model.items.llm_items(items)
    order = counts()[items].argsort(stable=True)
    halves = order[: len(order) - len(order) // 2], order[len(order) - len(order) // 2 :]
    by_item = item_alignment(*views, temperature=0.2).mean()
    by_feature = sum(
        feature_alignment(views[0][half], views[1][half], redundancy_weight=0.01) for half in halves
    )
    weight = {0: 0.9, 2: 0.5, 4: 0.1}[epoch]
    total, parts = Alignment(SMALL, counts())(model, batch, context()._replace(epoch=epoch))
    torch.testing.assert_close(total, 0.3 * (weight * by_item + (1 - weight) * by_feature))
    torch.testing.assert_close(parts["item_alignment"], by_item.detach())
    torch.testing.assert_close(parts["feature_alignment"], by_feature.detach())


def test_each_part_can_be_switched_off() -> None:
    model, batch = fused_model(), some_batch()

    def total(**changes: bool) -> tuple[float, set[str]]:
        value, parts = Alignment(replace(SMALL, **changes), counts())(model, batch, context())
        return value.item(), set(parts)

    whole, names = total()
    assert names == {"item_alignment", "feature_alignment"}
    assert total(item_alignment=False)[1] == {"feature_alignment"}
    assert total(feature_alignment=False)[1] == {"item_alignment"}
    assert total(item_alignment=False, feature_alignment=False) == (0.0, set())
    assert total(popularity_groups=False)[0] != pytest.approx(whole)
    assert total(curriculum=False)[0] != pytest.approx(whole)
    assert [replace(SMALL, curriculum=False).item_weight(t) for t in (0, 3, 9)] == [0.5] * 3


def test_training_brings_the_two_spaces_together(tmp_path: Path) -> None:
    """With the alignment the two views of an item agree, item by item and in their neighbours."""
    agreement = {}
    for name, weight in (("aligned", 0.3), ("apart", 0.0)):
        fitted = faerec.train(
            setup(epochs=8, learning_rate=1e-2),
            replace(SMALL, alignment_weight=weight),
            seed=0,
            workdir=tmp_path / name,
        )
        first, second = (view[1:] for view in embedding_views(fitted.model))
        agreement[name] = cosine(first, second).mean(), knn_overlap(first, second, k=5).mean()
    for aligned, apart in zip(agreement["aligned"], agreement["apart"], strict=True):
        assert aligned > apart + 0.1


@pytest.mark.parametrize("name", ["base", "llminit", "faerec"])
def test_methods_learn_what_follows_what(name: str, tmp_path: Path) -> None:
    given = setup(epochs=15, learning_rate=1e-2)
    fitted = METHODS[name].train(given, METHODS[name].options(), seed=0, workdir=tmp_path)
    assert given.validate(fitted.model) > 0.5


def test_a_method_gives_the_same_from_the_same_seed_and_another_from_another(tmp_path: Path) -> None:
    tables = [
        faerec.train(setup(epochs=2), SMALL, seed=seed, workdir=tmp_path / str(run)).model.item_matrix()
        for run, seed in enumerate((0, 0, 1))
    ]
    assert torch.equal(tables[0], tables[1])
    assert not torch.equal(tables[0], tables[2])


def test_llminit_starts_from_the_texts_and_the_backbone_does_not(tmp_path: Path) -> None:
    still = setup(epochs=1, learning_rate=1e-9)
    options = llminit.LLMInitOptions(scale=0.5)
    fitted = llminit.train(still, options, seed=0, workdir=tmp_path / "a")
    np.testing.assert_allclose(
        fitted.model.item_matrix().detach(), 0.5 * pca(text_matrix(), WIDTH), atol=1e-6
    )
    plain = base.train(still, base.BaseOptions(), seed=0, workdir=tmp_path / "b").model.item_matrix()
    assert plain[1:].detach().std().item() == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize("reduction", ["pca", "truncated", "largest_variance"])
def test_the_llm_space_of_llminit_is_what_its_own_table_started_from(reduction: str, tmp_path: Path) -> None:
    options = llminit.LLMInitOptions(reduction=reduction, scale=3.0)
    fitted = llminit.train(setup(epochs=2, learning_rate=1e-3), options, seed=0, workdir=tmp_path)
    ids, texts = embedding_views(fitted.model)
    start = 3.0 * llminit.REDUCTIONS[reduction](text_matrix(), WIDTH)
    np.testing.assert_allclose(texts, start, atol=1e-6)
    np.testing.assert_array_equal(ids, fitted.model.item_matrix().detach())
    assert not np.allclose(ids, texts, atol=1e-4)


def test_the_budget_of_the_backbone_goes_to_dropout(tmp_path: Path) -> None:
    for share in (0.0, 0.4):
        options = base.BaseOptions(dropout=share)
        fitted = base.train(setup(epochs=1), options, seed=0, workdir=tmp_path / str(share))
        shares = {float(module.p) for module in fitted.model.modules() if hasattr(module, "p")}
        assert shares <= {share}


def test_every_method_tunes_over_as_many_settings_and_starts_at_its_defaults() -> None:
    assert len({len(method.grid) for method in METHODS.values()}) == 1
    for name, method in METHODS.items():
        assert len(set(method.grid)) == len(method.grid), name
        if name != "base":  # whose default is the dropout of the setting
            assert method.grid[0] == method.options(), name


def test_texts_must_be_given(tmp_path: Path) -> None:
    given = setup(epochs=1)
    given = replace(given, text=None)
    for method in (faerec, llminit):
        options = FAERecOptions() if method is faerec else llminit.LLMInitOptions()
        with pytest.raises(InputError, match="reads item texts"):
            method.train(given, options, seed=0, workdir=tmp_path)
