from __future__ import annotations

import pytest
import torch

from reclib.models.dropout import Dropout


def seeded(p: float, values: torch.Tensor, *, seed: int = 0) -> torch.Tensor:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Dropout(p)(values)


@pytest.mark.parametrize("p", [0.1, 0.2, 0.5, 0.9])
def test_the_share_dropped_and_the_mean_are_right(p: float) -> None:
    made = seeded(p, torch.ones(1000, 100))
    assert (made == 0).float().mean().item() == pytest.approx(p, abs=0.005)  # 3 standard errors
    assert made.mean().item() == pytest.approx(1, abs=0.03)
    assert made.unique().numel() == 2


def test_neighbours_are_dropped_independently() -> None:
    """Four values share one random number: each pair of them is dropped together with chance p²."""
    kept = (seeded(0.5, torch.ones(100_000, 4)) == 0).double()
    assert torch.allclose(torch.cov(kept.T), 0.25 * torch.eye(4, dtype=torch.double), atol=0.005)


def test_a_seed_repeats_the_draw() -> None:
    values = torch.randn(7, 3, generator=torch.Generator().manual_seed(1))
    assert torch.equal(seeded(0.3, values), seeded(0.3, values))
    assert not torch.equal(seeded(0.3, values), seeded(0.3, values, seed=1))


@pytest.mark.parametrize("shape", [(0,), (1,), (5,), (3, 7, 2)])
def test_any_shape_and_its_gradient(shape: tuple[int, ...]) -> None:
    values = torch.ones(shape, requires_grad=True)
    made = seeded(0.4, values)
    made.sum().backward()
    assert made.shape == shape
    assert torch.equal(values.grad, made.detach()), "the gradient passes where the value did, as much larger"


def test_nothing_is_dropped_in_evaluation_or_at_zero() -> None:
    values = torch.ones(10)
    assert Dropout(0.5).eval()(values) is values
    assert Dropout(0.0)(values) is values


def test_a_share_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"dropout p is 1\.0"):
        Dropout(1.0)
