"""Numbers on two spaces of the same items: naive versions, limits, and what leaves them as they are."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from reclib.analysis import spaces
from reclib.kernels.neighbours import nearest_by_cosine
from reclib.models.items import IdItems
from reclib.schema import InputError


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    first = generator.normal(size=(60, 6))
    return first, first @ generator.normal(size=(6, 6)) + generator.normal(size=(60, 6))


def rotation(width: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(1).normal(size=(width, width)))[0]


def naive_neighbours(rows: np.ndarray, k: int) -> list[set[int]]:
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -np.inf)
    return [set(row[:k]) for row in np.argsort(-similarity, axis=1)]


def test_overlap_equals_a_naive_version(pair: tuple[np.ndarray, np.ndarray]) -> None:
    sets = zip(*(naive_neighbours(rows, 7) for rows in pair), strict=True)
    expected = [len(one & two) / len(one | two) for one, two in sets]
    assert 0 < np.mean(expected) < 1
    np.testing.assert_allclose(spaces.knn_overlap(*pair, k=7), expected, rtol=1e-12)


def test_cka_equals_the_kernel_form(pair: tuple[np.ndarray, np.ndarray]) -> None:
    centring = np.eye(60) - 1 / 60
    kernels = [centring @ rows @ rows.T @ centring for rows in pair]
    hsic = [[float((one * two).sum()) for two in kernels] for one in kernels]
    expected = hsic[0][1] / np.sqrt(hsic[0][0] * hsic[1][1])
    assert 0 < expected < 1
    assert spaces.linear_cka(*pair) == pytest.approx(expected, rel=1e-9)


def test_one_space_agrees_with_itself_and_with_its_rotation(pair: tuple[np.ndarray, np.ndarray]) -> None:
    first = pair[0]
    for other in (first, 3 * first @ rotation(6)):
        np.testing.assert_array_equal(spaces.knn_overlap(first, other, k=5), 1)
        assert spaces.linear_cka(first, other) == pytest.approx(1, abs=1e-9)
    np.testing.assert_allclose(spaces.cosine(first, 2 * first), 1, rtol=1e-12)
    np.testing.assert_allclose(spaces.cosine(first, -first), -1, rtol=1e-12)
    assert spaces.cosine(first, first @ rotation(6)).mean() < 0.9


def test_unrelated_spaces_agree_by_chance_only() -> None:
    generator = np.random.default_rng(2)
    first, second = generator.normal(size=(2, 2000, 8))
    assert spaces.knn_overlap(first, second, k=10).mean() < 0.02
    assert spaces.linear_cka(first, second) < 0.02
    assert abs(spaces.cosine(first, second).mean()) < 0.03


def test_neighbours_are_the_same_in_blocks_of_any_size(pair: tuple[np.ndarray, np.ndarray]) -> None:
    rows = torch.from_numpy(pair[0])
    whole = nearest_by_cosine(rows, 4)
    for entries in (1, 60, 7 * 60):
        torch.testing.assert_close(nearest_by_cosine(rows, 4, entries=entries), whole)
    assert [set(row) for row in whole.tolist()] == naive_neighbours(pair[0], 4)


def test_few_items_and_collapsed_spaces_are_defined() -> None:
    rows = np.eye(3)
    assert nearest_by_cosine(torch.eye(3), 10).shape == (3, 2)
    np.testing.assert_array_equal(spaces.knn_overlap(rows, rows[:, ::-1], k=10), 1)
    np.testing.assert_array_equal(spaces.knn_overlap(rows[:1], rows[:1], k=10), 1)
    assert spaces.linear_cka(rows, np.ones((3, 2))) == 0
    np.testing.assert_array_equal(spaces.cosine(np.zeros((2, 3)), rows[:2]), 0)


def test_spaces_of_other_items_or_widths_are_refused(pair: tuple[np.ndarray, np.ndarray]) -> None:
    first, second = pair
    for compare in (spaces.linear_cka, lambda one, two: spaces.knn_overlap(one, two, k=3), spaces.cosine):
        with pytest.raises(InputError, match=r"\(60, 6\) and \(59, 6\)"):
            compare(first, second[1:])
    with pytest.raises(InputError, match="one width"):
        spaces.cosine(first, second[:, 1:])


def test_the_picture_is_the_same_for_one_seed_and_keeps_groups_together() -> None:
    generator = np.random.default_rng(3)
    points = np.concatenate([centre + generator.normal(size=(20, 5)) for centre in (0.0, 30.0)])
    flat = spaces.tsne(points, seed=1)
    np.testing.assert_array_equal(flat, spaces.tsne(points, seed=1))
    centres = flat[:20].mean(axis=0), flat[20:].mean(axis=0)
    assert all(
        np.linalg.norm(flat[:20] - centres[0], axis=1) < np.linalg.norm(flat[:20] - centres[1], axis=1)
    )
    with pytest.raises(InputError, match="at least 4"):
        spaces.tsne(points[:3], seed=1)


def test_a_model_says_what_its_two_spaces_are() -> None:
    rows = torch.from_numpy(np.random.default_rng(4).normal(size=(9, 3)))
    both = SimpleNamespace(embedding_views=lambda: (rows, 2 * rows), items=None)
    of_items = SimpleNamespace(items=both)
    for model in (both, of_items):
        id_rows, llm_rows = spaces.embedding_views(model)
        np.testing.assert_allclose(id_rows, rows, rtol=1e-6)
        np.testing.assert_allclose(llm_rows, 2 * rows, rtol=1e-6)
    with pytest.raises(InputError, match="IdItems has no embedding of texts"):
        spaces.embedding_views(SimpleNamespace(items=IdItems(3, 2)))
