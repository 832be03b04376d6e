from __future__ import annotations

import numpy as np
import torch

from reclib.kernels.grounding import reweighted_distances, unit_range


def slow(distances: np.ndarray, known: np.ndarray, gamma: float) -> np.ndarray:
    """The formula, number by number."""
    found = np.zeros_like(distances)
    for row in range(len(distances)):
        d, w = distances[row], known[row if len(known) > 1 else 0]
        for item in range(len(d)):
            near = (d[item] - d.min()) / (d.max() - d.min())
            weight = (w[item] - w.min()) / (w.max() - w.min())
            found[row, item] = near / (1 + weight) ** gamma
    return found


def test_distances_are_scaled_and_divided_by_what_is_known() -> None:
    draw = np.random.default_rng(0)
    distances = draw.uniform(1, 9, size=(4, 7))
    for known in (draw.normal(size=(4, 7)), draw.integers(0, 90, size=(1, 7)).astype(float)):
        for gamma in (0.0, 0.5, 30.0):
            found = reweighted_distances(torch.from_numpy(distances), torch.from_numpy(known), gamma=gamma)
            np.testing.assert_allclose(found.numpy(), slow(distances, known, gamma), rtol=1e-12)


def test_gamma_zero_keeps_the_order_and_the_nearest_stays_first_under_any() -> None:
    draw = torch.Generator().manual_seed(0)
    distances, known = (torch.rand(5, 9, generator=draw) for _ in range(2))
    plain = reweighted_distances(distances, known, gamma=0.0)
    assert torch.equal(plain.argsort(dim=1), distances.argsort(dim=1))
    strong = reweighted_distances(distances, known, gamma=50.0)
    assert torch.equal(strong.argmin(dim=1), distances.argmin(dim=1))
    assert not torch.equal(strong.argsort(dim=1), distances.argsort(dim=1))


def test_a_row_of_equal_values_says_nothing() -> None:
    equal = torch.full((1, 4), 3.0)
    assert torch.equal(unit_range(equal), torch.zeros(1, 4))
    distances = torch.tensor([[1.0, 4.0, 2.0, 3.0]])
    assert torch.equal(reweighted_distances(distances, equal, gamma=7.0), unit_range(distances))
