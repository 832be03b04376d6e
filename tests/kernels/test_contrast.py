"""InfoNCE by cosine against a loop, and at its limits."""

from __future__ import annotations

import math

import pytest
import torch

from reclib.kernels.contrast import info_nce


def test_it_equals_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    anchors = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    candidates = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    positive = torch.tensor([0, 2, 2, 1, 0])
    for row, loss in enumerate(info_nce(anchors, candidates, positive, temperature=0.3)):
        cosines = [float(torch.cosine_similarity(anchors[row], one, dim=0)) / 0.3 for one in candidates]
        expected = math.log(sum(map(math.exp, cosines))) - cosines[positive[row]]
        assert float(loss) == pytest.approx(expected, rel=1e-12)


def test_gradients_are_right() -> None:
    generator = torch.Generator().manual_seed(1)
    anchors, candidates = (
        torch.randn(3, 4, generator=generator, dtype=torch.float64, requires_grad=True) for _ in range(2)
    )
    positive = torch.tensor([1, 0, 2])
    assert torch.autograd.gradcheck(
        lambda one, two: info_nce(one, two, positive, temperature=0.5), (anchors, candidates)
    )


def test_limits() -> None:
    rows = torch.eye(4)
    alone = info_nce(rows, rows[:1], torch.zeros(4, dtype=torch.int64), temperature=0.1)
    torch.testing.assert_close(alone, torch.zeros(4))
    matched = info_nce(rows, 5 * rows, torch.arange(4), temperature=0.01)
    torch.testing.assert_close(matched, torch.zeros(4), atol=1e-6, rtol=0)
    blind = info_nce(torch.zeros(1, 4), rows, torch.tensor([2]), temperature=0.1)
    assert float(blind) == pytest.approx(math.log(4))
    assert not len(info_nce(rows[:0], rows, torch.zeros(0, dtype=torch.int64), temperature=0.1))
