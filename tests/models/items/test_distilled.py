"""Items that a teacher's vectors are part of: what is trained, what is frozen, and where it starts."""

from __future__ import annotations

import numpy as np
import torch

from reclib.models.items import DistilledItems, IdItems, even_scale

N, E, D = 6, 5, 3


def vectors(seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(N + 1, E)).astype(np.float32)
    rows[0] = 0
    return rows


def made(weight: float) -> DistilledItems:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return DistilledItems(IdItems(N, D), vectors(), weight=weight)


def test_a_vector_is_the_trained_one_plus_the_weighted_projection() -> None:
    items = made(0.4)
    weight, bias = items.projection.weight, items.projection.bias
    for item in range(1, N + 1):
        expected = items.offsets.matrix()[item] + 0.4 * (weight @ torch.from_numpy(vectors()[item]) + bias)
        torch.testing.assert_close(items.matrix()[item], expected)
    asked = torch.tensor([[3, 0, 3], [6, 1, 0]])
    torch.testing.assert_close(items(asked), items.matrix()[asked])
    assert not items(torch.tensor([0])).any(), "padding is zero, its projection too"


def test_without_weight_it_is_the_trained_vector() -> None:
    torch.testing.assert_close(made(0.0).matrix(), made(0.0).offsets.matrix())


def test_offsets_and_projection_are_trained_and_the_teacher_is_not() -> None:
    items = made(0.4)
    items(torch.tensor([2, 5])).sum().backward()
    names = {name for name, _ in items.named_parameters()}
    assert names == {"offsets.table.weight", "projection.weight", "projection.bias"}
    assert items.offsets.table.weight.grad[[2, 5]].all()
    assert not items.offsets.table.weight.grad[[0, 1, 3, 4, 6]].any()
    assert items.projection.weight.grad.any()
    assert "teacher" not in items.state_dict(), "frozen vectors are not written to checkpoints"
    first, second = items.embedding_views()
    torch.testing.assert_close(first + 0.4 * second, items.matrix())


def test_vectors_of_any_scale_and_common_part_start_alike() -> None:
    other = 250 * vectors()
    other[1:] += 1e4
    np.testing.assert_allclose(even_scale(other), even_scale(vectors()), atol=1e-3)
    scaled = even_scale(vectors())[1:]
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose((scaled**2).mean(), 1, rtol=1e-5)
    assert not even_scale(vectors())[0].any()


def test_vectors_that_are_all_equal_say_nothing() -> None:
    alike = np.full((N + 1, E), 0.1, dtype=np.float32)
    alike[0] = 0
    assert not even_scale(alike).any()
