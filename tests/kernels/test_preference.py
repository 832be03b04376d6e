from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from reclib.kernels.preference import softmax_dpo_loss
from tests import reference


def draw(*shape: int, seed: int = 0) -> Tensor:
    return 3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("beta", [0.1, 1.0, 4.0])
@pytest.mark.parametrize("n_negatives", [1, 3, 8])
def test_softmax_dpo_equals_the_loop(beta: float, n_negatives: int) -> None:
    inputs = [draw(6).requires_grad_(), draw(6, n_negatives, seed=1).requires_grad_()]
    weight = draw(6, seed=2)
    found = softmax_dpo_loss(*inputs, beta=beta)
    expected = reference.softmax_dpo_losses(*inputs, beta=beta)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    for ours, theirs in zip(
        torch.autograd.grad((found * weight).sum(), inputs),
        torch.autograd.grad((expected * weight).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


def test_the_form_of_the_paper_is_the_same_number() -> None:
    positive, negative = draw(5), draw(5, 3, seed=1)
    inner = torch.exp(0.7 * negative - 0.7 * positive[:, None]).sum(dim=1).log()
    torch.testing.assert_close(softmax_dpo_loss(positive, negative, beta=0.7), -logsigmoid(-inner))


def test_one_negative_is_dpo() -> None:
    positive, negative = draw(5), draw(5, 1, seed=1)
    dpo = -logsigmoid(0.3 * (positive - negative[:, 0]))
    torch.testing.assert_close(softmax_dpo_loss(positive, negative, beta=0.3), dpo, rtol=0, atol=1e-12)


@pytest.mark.parametrize("n_negatives", [1, 3])
def test_a_policy_that_is_its_reference_has_the_loss_of_a_guess(n_negatives: int) -> None:
    loss = softmax_dpo_loss(torch.zeros(2), torch.zeros(2, n_negatives), beta=1.0)
    assert loss.tolist() == pytest.approx([math.log(1 + n_negatives)] * 2)


def test_far_log_ratios_are_finite_and_the_hardest_negative_counts() -> None:
    """Where one negative is far above, the loss is its distance and it alone is pushed down."""
    negative = torch.tensor([[900.0, 0.0, -900.0], [-900.0, -900.0, -900.0]], requires_grad=True)
    loss = softmax_dpo_loss(torch.zeros(2), negative, beta=2.0)
    loss.sum().backward()
    assert loss.tolist() == [1800.0, 0.0]
    assert negative.grad is not None
    assert negative.grad.tolist() == [[2.0, 0.0, 0.0], [0.0, 0.0, 0.0]]


def test_gradients_by_finite_differences() -> None:
    inputs = (draw(3).requires_grad_(), draw(3, 2, seed=1).requires_grad_())
    assert torch.autograd.gradcheck(lambda own, others: softmax_dpo_loss(own, others, beta=0.5), inputs)
