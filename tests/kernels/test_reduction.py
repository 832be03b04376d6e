from __future__ import annotations

import pytest
import torch

from reclib.kernels.reduction import denominator, reduce_positions, sum_by_sample


@pytest.mark.parametrize(("reduction", "expected"), [("unforced", 3), ("tokens", 8), ("samples", 2)])
def test_each_reduction_divides_by_its_own_count(reduction: str, expected: int) -> None:
    assert denominator(reduction, n_counted=3, n_tokens=8, n_samples=2) == expected


def test_an_unknown_reduction_is_refused_with_the_choices() -> None:
    with pytest.raises(ValueError, match="'mean'.*unforced, tokens, samples"):
        denominator("mean", n_counted=1, n_tokens=1, n_samples=1)


def test_nothing_counted_is_zero_with_a_gradient() -> None:
    losses = torch.empty(0, requires_grad=True)
    total = reduce_positions(losses, normaliser=0.0)
    total.backward()
    assert total.item() == 0.0


def test_losses_are_summed_by_sample() -> None:
    losses = torch.tensor([1.0, 2.0, 4.0])
    assert sum_by_sample(losses, torch.tensor([0, 2, 2]), n_samples=4).tolist() == [1.0, 0.0, 6.0, 0.0]
