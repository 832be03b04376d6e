"""Neighbours by text and by users, counted one item at a time; and tables that differ in geometry alone."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from reclib.analysis.tf_llmer.misalignment import neighbour_overlap, with_spectrum_of
from reclib.data.cooccurrence import training_graph
from reclib.schema import InputError
from reclib.training.item_projection import ProjectionOptions, TextGeometry
from tests.kernels.made_graph import adjacency
from tests.training.methods.made_setup import text_matrix
from tests.training.sequence_toy import dataset


def test_overlap_is_counted_by_item() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(21, 4))
    vectors[[0, 7]] = 0
    weights = np.zeros((21, 21))
    weights[1:, 1:] = adjacency(20, share=0.4, isolated=2)
    overlap, k = neighbour_overlap(vectors, csr_array(weights), k=3), 3
    for item in range(21):
        partners = sorted(np.flatnonzero(weights[item]), key=lambda j: (-weights[item, j], j))[:k]
        if not partners or not vectors[item].any():
            assert np.isnan(overlap[item])
            continue
        unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
        cosine = unit @ unit[item]
        cosine[[0, 7, item]] = -2
        near = np.argsort(-cosine)[:k]
        assert overlap[item] == pytest.approx(len(set(near) & set(partners)) / len(partners))


def test_texts_that_users_follow_overlap_wholly() -> None:
    angle = np.linspace(0, 3, 12)
    vectors = np.concatenate([np.zeros((1, 2)), np.stack([np.cos(angle), np.sin(angle)], axis=1)])
    weights = np.zeros((13, 13))
    for item in range(2, 12):
        weights[item, [item - 1, item + 1]] = 1
    assert np.nanmin(neighbour_overlap(vectors, csr_array(weights), k=2)) == 1


def test_only_the_geometry_differs() -> None:
    space = TextGeometry(text_matrix(), training_graph(dataset()))
    plain, aligned = (
        space.fit(6, ProjectionOptions(weight=weight, length="as_is")).table for weight in (0.0, 0.7)
    )
    made = with_spectrum_of(aligned, plain)
    values = np.linalg.svd(plain, compute_uv=False)
    np.testing.assert_allclose(np.linalg.svd(made, compute_uv=False), values, rtol=1e-4)
    assert not made[0].any()
    left, span = (np.linalg.qr(table)[0] for table in (made, aligned))
    assert np.linalg.norm(left.T @ span) ** 2 / 6 == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(with_spectrum_of(plain, plain), plain, atol=1e-5)


def test_spaces_of_different_items_are_refused() -> None:
    with pytest.raises(InputError, match="for 3 vectors"):
        neighbour_overlap(np.ones((3, 2)), csr_array(np.zeros((4, 4))))
    with pytest.raises(InputError, match=r"shapes \(3, 2\) and \(3, 3\)"):
        with_spectrum_of(np.ones((3, 2)), np.ones((3, 3)))
