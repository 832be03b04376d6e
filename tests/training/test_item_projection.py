"""Texts of a catalogue come to the width of its items; what cannot be projected is named, with its remedy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.decomposition import PCA

from reclib.data.cooccurrence import training_graph
from reclib.schema import InputError
from reclib.training.item_projection import ProjectionOptions, TextGeometry
from tests.training.methods.made_setup import text_matrix
from tests.training.sequence_toy import dataset

D = 6
TEXT = text_matrix()
GRAPH = training_graph(dataset())
N = dataset().n_items
METHODS = ("rec_pca", "pca", "whitened", "truncated", "locality_preserving")


def geometry(text: np.ndarray = TEXT, graph: csr_array | None = GRAPH) -> TextGeometry:
    return TextGeometry(text, graph)


def light(method: str = "rec_pca", **options: object) -> ProjectionOptions:
    return ProjectionOptions(**({"method": method, "weight": 0.5} | options))


def test_no_penalty_is_scikit_learns_pca_of_unit_texts() -> None:
    made = geometry().fit(D, light(weight=0.0, length="as_is"))
    unit = TEXT[1:] / np.linalg.norm(TEXT[1:], axis=1, keepdims=True)
    expected = PCA(D, svd_solver="full").fit_transform(unit)
    np.testing.assert_allclose(np.abs(made.table[1:]), np.abs(expected), atol=1e-4)
    np.testing.assert_array_equal(made.table, geometry().fit(D, light("pca", length="as_is")).table)


@pytest.mark.parametrize("method", METHODS)
def test_a_table_starts_items_of_one_mean_length_with_padding_at_zero(method: str) -> None:
    made = geometry().fit(D, light(method))
    assert made.table.shape == (N + 1, D)
    assert made.table.dtype == np.float32
    assert not made.table[0].any()
    assert np.linalg.norm(made.table[1:], axis=1).mean() == pytest.approx(1, rel=1e-5)
    assert 0 < made.measures["retained_variance"] < 1
    assert np.isfinite(list(made.measures.values())).all()


@pytest.mark.parametrize("method", METHODS)
def test_cold_items_are_projected_by_the_same_map(method: str) -> None:
    made = geometry().fit(D, light(method))
    np.testing.assert_allclose(made.project(3 * TEXT[[5, 2]]), made.table[[5, 2]], atol=1e-5)
    cold = np.random.default_rng(1).normal(size=(4, TEXT.shape[1])).astype(np.float32)
    unit = cold / np.linalg.norm(cold, axis=1, keepdims=True)
    directions, mean = made.projection.directions.numpy(), made.projection.mean.numpy()
    np.testing.assert_allclose(made.project(cold), made.scale * (unit - mean) @ directions, atol=1e-5)


@pytest.mark.parametrize("method", ["rec_pca", "pca", "whitened"])
def test_both_solvers_give_one_table(method: str) -> None:
    tables = [geometry().fit(D, light(method, solver=solver)).table for solver in ("dense", "lanczos")]
    np.testing.assert_allclose(*tables, atol=1e-4)


def test_a_penalty_brings_neighbours_together() -> None:
    space = geometry()
    plain, penalised = (space.fit(D, light(weight=weight)).measures for weight in (0.0, 0.7))
    assert penalised["total_variation"] < plain["total_variation"]
    assert penalised["edge_cosine"] > plain["edge_cosine"]
    assert penalised["kernel_target_alignment"] > plain["kernel_target_alignment"]
    assert penalised["retained_variance"] < plain["retained_variance"]


def test_an_item_without_a_text_counts_nowhere_and_starts_at_random() -> None:
    text = TEXT.copy()
    text[[3, 8]] = 0
    rest = np.delete(np.arange(N + 1), [3, 8])
    without = geometry(text, None).fit(D, light("pca", length="as_is"))
    alone = geometry(text[rest], None).fit(D, light("pca", length="as_is"))
    np.testing.assert_allclose(without.table[rest], alone.table, atol=1e-5)
    made = geometry(text).fit(D, light())
    assert not made.table[[0, 3, 8]].any()
    assert made.measures["n_without_text"] == 2
    start = made.starting_table(np.random.default_rng(0))
    assert not start[0].any()
    length = np.linalg.norm(start[[3, 8]], axis=1)
    np.testing.assert_allclose(length, 1, rtol=1e-5)
    np.testing.assert_array_equal(start[rest], made.table[rest])


def test_equal_texts_stay_equal_and_are_counted() -> None:
    text = TEXT.copy()
    text[[4, 9]] = text[2]
    made = geometry(text).fit(D, light())
    assert made.measures["n_repeated"] == 3
    np.testing.assert_allclose(made.table[[4, 9]], made.table[[2, 2]], atol=1e-6)


def test_an_isolated_item_pays_no_penalty_and_keeps_its_text() -> None:
    weights = GRAPH.toarray()
    weights[5] = weights[:, 5] = 0
    made = geometry(TEXT, csr_array(weights)).fit(D, light())
    expected = int((weights[1:].sum(axis=1) == 0).sum())
    assert made.measures["n_isolated"] == expected >= 1
    assert made.table[5].any()
    alone = geometry(TEXT, csr_array(np.zeros_like(weights))).fit(D, light(weight=50.0, length="as_is"))
    plain = geometry(TEXT, None).fit(D, light("pca", length="as_is"))
    np.testing.assert_allclose(alone.table, plain.table, atol=1e-5)


def test_a_weight_that_is_not_feasible_names_the_remedy() -> None:
    with pytest.raises(
        InputError, match=r"rec_pca to 20 dimensions: λ = 1: \d+ of 20 .* take at most \d+ .*lower λ"
    ):
        geometry().fit(20, light(weight=1.0))


def test_a_graph_of_another_catalogue_is_refused() -> None:
    with pytest.raises(InputError, match=f"graph of {N - 1} items for text embeddings of {N}: build it"):
        geometry(TEXT, csr_array(GRAPH.toarray()[:-1, :-1]))
    moved = np.roll(GRAPH.toarray(), (-1, -1), axis=(0, 1))  # items from 0: another numbering
    with pytest.raises(InputError, match="edges at item_idx 0"):
        geometry(TEXT, csr_array(moved))


def test_what_cannot_be_projected_is_named() -> None:
    broken = TEXT.copy()
    broken[7, 1] = np.inf
    with pytest.raises(InputError, match="row 7 is not finite"):
        geometry(broken)
    with pytest.raises(InputError, match="row 0 of text embeddings"):
        geometry(TEXT + 1)
    with pytest.raises(InputError, match="all text embeddings are zero"):
        geometry(0 * TEXT)
    with pytest.raises(InputError, match="all items have the same text embedding"):
        geometry(np.where(TEXT.any(axis=1, keepdims=True), TEXT[1], 0)).fit(2, light())
    with pytest.raises(InputError, match="24 dimensions: choose a width of 1 to that many, not 25"):
        geometry().fit(25)
    with pytest.raises(InputError, match="rec_pca reads a graph"):
        geometry(TEXT, None).fit(D)
    with pytest.raises(InputError, match="locality_preserving reads a graph"):
        geometry(TEXT, None).fit(D, light("locality_preserving", weight=0.0))
    with pytest.raises(InputError, match=r"truncated to 20 dimensions: \d+ principal directions"):
        geometry().fit(20, light("truncated", share=0.3))
    made = geometry().fit(D, light())
    with pytest.raises(InputError, match=r"shape \(2, 5\): the projection was fitted to \(…, 24\)"):
        made.project(np.ones((2, 5)))
    with pytest.raises(InputError, match="projection.share is 1.5"):
        ProjectionOptions(share=1.5)
