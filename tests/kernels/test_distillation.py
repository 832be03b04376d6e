"""What each entry of a list counts: by its place, the teacher's confidence and the student's consent."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from reclib.kernels.distillation import (
    confidence_weights,
    importance_weights,
    listed_cross_entropy,
    paired_distillation,
    position_weights,
)
from reclib.kernels.sequence_losses import catalogue_cross_entropy

SHARES = {"position_share": 0.3, "confidence_share": 0.5, "consistency_share": 0.1, "decay": 1.0}


def only(name: str, **changes: float) -> dict[str, float]:
    return {share: 1.0 if share == name else 0.0 for share in SHARES} | {"decay": 1.0} | changes


def naive(distance: list[float], listed: int, agrees: list[bool], shares: dict[str, float]) -> list[float]:
    """One list, of which the first `listed` places hold an item."""
    places = range(listed)
    position = [math.exp(-(r + 1) / shares["decay"]) for r in places]
    confidence = [math.exp(-distance[r]) for r in places]
    weight = [
        shares["position_share"] * position[r] / sum(position)
        + shares["confidence_share"] * confidence[r] / sum(confidence)
        + shares["consistency_share"] * (1.0 if agrees[r] else 1e-8)
        for r in places
    ]
    return [each / sum(weight) for each in weight] + [0.0] * (len(distance) - listed)


@given(
    seed=st.integers(0, 999),
    listed=st.integers(1, 5),
    shares=st.tuples(*[st.sampled_from([0.0, 0.3, 1.0])] * 2, st.sampled_from([0.1, 1.0])),
    decay=st.sampled_from([0.5, 1.0, 4.0]),
)
def test_weights_equal_a_loop_over_the_list(
    seed: int, listed: int, shares: tuple[float, float, float], decay: float
) -> None:
    generator = np.random.default_rng(seed)
    distance, agrees = generator.exponential(2.0, 5), generator.random(5) < 0.4
    names = ("position_share", "confidence_share", "consistency_share")
    chosen = dict(zip(names, shares, strict=True)) | {"decay": decay}
    is_listed = torch.arange(5)[None] < listed
    shown = torch.from_numpy(np.where(is_listed.numpy()[0], distance, np.inf))[None]
    found = importance_weights(shown, is_listed, torch.from_numpy(agrees)[None] & is_listed, **chosen)
    np.testing.assert_allclose(found[0], naive(list(distance), listed, list(agrees), chosen), rtol=1e-6)
    assert float(found.sum()) == pytest.approx(1.0)


def test_each_weight_alone_says_what_it_is_about() -> None:
    is_listed = torch.ones(1, 4, dtype=torch.bool)
    distance = torch.tensor([[3.0, 0.5, 3.0, 9.0]])
    agrees = torch.tensor([[False, False, True, True]])
    by_place = importance_weights(distance, is_listed, agrees, **only("position_share"))[0]
    torch.testing.assert_close(by_place[1:] / by_place[:-1], torch.full((3,), math.exp(-1)))
    by_confidence = importance_weights(distance, is_listed, agrees, **only("confidence_share"))[0]
    assert by_confidence.argmax() == 1
    assert by_confidence[0] == by_confidence[2] > by_confidence[3]
    by_consent = importance_weights(distance, is_listed, agrees, **only("consistency_share"))[0]
    torch.testing.assert_close(by_consent, torch.tensor([0, 0, 0.5, 0.5]), atol=1e-7, rtol=0)
    nobody = importance_weights(distance, is_listed, agrees & False, **only("consistency_share"))[0]
    torch.testing.assert_close(nobody, torch.full((4,), 0.25))


def test_confidence_is_the_share_of_probability_and_a_common_distance_changes_nothing() -> None:
    probability = torch.tensor([[0.2, 0.1, 0.05]])
    is_listed = torch.ones(1, 3, dtype=torch.bool)
    expected = probability / probability.sum()
    torch.testing.assert_close(confidence_weights(-probability.log(), is_listed), expected)
    torch.testing.assert_close(
        confidence_weights(500 - probability.log(), is_listed), expected, rtol=1e-4, atol=0
    )


def test_the_slower_the_decay_the_evener_the_places() -> None:
    is_listed = torch.tensor([[True] * 5, [True, True, False, False, False]])
    sharp, even = (position_weights(is_listed, decay=decay) for decay in (0.3, 1e6))
    assert sharp[0, 0] > 0.96
    torch.testing.assert_close(even[0], torch.full((5,), 0.2), atol=1e-5, rtol=0)
    torch.testing.assert_close(even[1], torch.tensor([0.5, 0.5, 0, 0, 0]), atol=1e-5, rtol=0)


def test_an_empty_list_weighs_and_costs_nothing() -> None:
    empty = torch.zeros(1, 3, dtype=torch.bool)
    distance = torch.full((1, 3), torch.inf)
    weight = importance_weights(distance, empty, empty, **SHARES)
    assert not weight.any()
    positive = torch.randn(1, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    first = torch.tensor([2.0], requires_grad=True)
    loss = paired_distillation(positive, torch.ones(1, 2), weight) + listed_cross_entropy(
        positive, first, weight
    )
    loss.sum().backward()
    assert float(loss.detach()) == 0
    assert not positive.grad.any()
    assert not first.grad.any()


def scored() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    positive, negative, weight = (
        torch.randn(4, n, generator=generator, dtype=torch.float64) for n in (5, 2, 5)
    )
    return positive.requires_grad_(), negative.requires_grad_(), weight.softmax(dim=1)


def test_pairs_equal_a_loop_and_their_gradients_are_right() -> None:
    positive, negative, weight = scored()

    def log_sigmoid(x: float) -> float:
        return -math.log1p(math.exp(-x))

    expected = [
        -sum(
            w * (log_sigmoid(s) + sum(log_sigmoid(-n) for n in drawn))
            for w, s in zip(row_weight, row, strict=True)
        )
        for row, drawn, row_weight in zip(positive.tolist(), negative.tolist(), weight.tolist(), strict=True)
    ]
    np.testing.assert_allclose(paired_distillation(positive, negative, weight).detach(), expected)
    assert torch.autograd.gradcheck(lambda p, n: paired_distillation(p, n, weight), (positive, negative))


def test_all_weight_on_one_item_is_the_loss_of_that_target() -> None:
    generator = torch.Generator().manual_seed(4)
    states = torch.randn(3, 4, generator=generator, dtype=torch.float64).requires_grad_()
    items = torch.randn(9, 4, generator=generator, dtype=torch.float64)
    listed = torch.tensor([[2, 5, 7], [8, 1, 3], [4, 6, 2]])
    positive = torch.einsum("bd,bkd->bk", states, items[listed])
    first = catalogue_cross_entropy(states, items, listed[:, 0])
    for place in range(3):
        weight = torch.zeros(3, 3, dtype=torch.float64)
        weight[:, place] = 1
        found = listed_cross_entropy(positive, first, weight)
        torch.testing.assert_close(found, catalogue_cross_entropy(states, items, listed[:, place]))


def test_a_list_costs_the_weighted_mean_of_its_items_with_the_same_gradient() -> None:
    generator = torch.Generator().manual_seed(5)
    states = torch.randn(3, 4, generator=generator, dtype=torch.float64).requires_grad_()
    items = torch.randn(9, 4, generator=generator, dtype=torch.float64).requires_grad_()
    listed = torch.tensor([[2, 5, 7], [8, 1, 3], [4, 6, 2]])
    weight = torch.rand(3, 3, generator=generator, dtype=torch.float64).softmax(dim=1)
    positive = torch.einsum("bd,bkd->bk", states, items[listed])
    ours = listed_cross_entropy(positive, catalogue_cross_entropy(states, items, listed[:, 0]), weight)
    slow = sum(
        weight[:, place]
        * torch.nn.functional.cross_entropy(states @ items[1:].T, listed[:, place] - 1, reduction="none")
        for place in range(3)
    )
    torch.testing.assert_close(ours, slow)
    found = torch.autograd.grad(ours.mean(), (states, items))
    torch.testing.assert_close(found, torch.autograd.grad(slow.mean(), (states, items)))
