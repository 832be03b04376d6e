"""HSTU against its equations, one position at a time."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import layer_norm, silu

from reclib.models.backbones.hstu import HSTU
from reclib.schema import InputError

WIDTH, HEADS, LENGTH = 8, 2, 6
OPTIONS = {"d_model": WIDTH, "n_layers": 2, "n_heads": HEADS, "dropout": 0.0, "max_length": LENGTH}


def made() -> HSTU:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        backbone = HSTU(**OPTIONS)
        with torch.no_grad():
            for parameter in backbone.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
    return backbone.double().eval()


def vectors(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def by_position(backbone: HSTU, items: Tensor) -> Tensor:
    """States of one history without padding, (S, D)."""
    n_items, width = len(items), WIDTH // HEADS
    values = math.sqrt(WIDTH) * items + backbone.positions.weight[LENGTH - n_items :]
    for block in backbone.blocks:
        mapped = silu(layer_norm(values, [WIDTH], eps=1e-6) @ block.inward)
        gate, value, query, key = mapped.split(WIDTH, dim=1)
        attended = torch.zeros_like(value)
        for i in range(n_items):
            for head in range(HEADS):
                part = slice(head * width, (head + 1) * width)
                for j in range(i + 1):
                    weight = silu(query[i, part] @ key[j, part] + block.distance[i - j]) / LENGTH
                    attended[i, part] += weight * value[j, part]
        values = values + block.outward(layer_norm(attended, [WIDTH], eps=1e-6) * gate)
    return backbone.norm(values)


@pytest.mark.parametrize("n_items", [1, 4, LENGTH])
def test_states_are_those_of_the_equations(n_items: int) -> None:
    backbone, items = made(), vectors(n_items, WIDTH)
    padded = torch.cat([vectors(LENGTH - n_items, WIDTH), items])[None]
    mask = (torch.arange(LENGTH) >= LENGTH - n_items)[None]
    torch.testing.assert_close(backbone(padded, mask)[0, -n_items:], by_position(backbone, items))


def test_weights_need_not_sum_to_one() -> None:
    """The same item twice says more than once, which a softmax would hide but for positions."""
    backbone = made()
    block = backbone.blocks[0]
    with torch.no_grad():
        block.distance.fill_(1.0)
    item = vectors(1, 1, WIDTH).expand(1, 2, WIDTH)
    mask = torch.ones(1, 2, dtype=torch.bool)
    seen: list[Tensor] = []
    normalise = block._norm
    block._norm = lambda rows: (seen.append(rows), normalise(rows))[1]  # type: ignore[method-assign]
    block(item, mask)
    attended = seen[-1][0]
    torch.testing.assert_close(attended[1], 2 * attended[0])


def test_a_state_does_not_depend_on_how_far_a_batch_was_trimmed() -> None:
    backbone, items = made(), vectors(1, 3, WIDTH)
    mask = torch.ones(1, 3, dtype=torch.bool)
    longer = torch.cat([vectors(1, 2, WIDTH), items], dim=1)
    padded = torch.cat([torch.zeros(1, 2, dtype=torch.bool), mask], dim=1)
    torch.testing.assert_close(backbone(longer, padded)[:, 2:], backbone(items, mask))


def test_parameters_are_counted() -> None:
    """d=64, 2 layers, 50 positions: U, V, Q, K of width D, distances, W_o with its bias; the layer norm."""
    backbone = HSTU(d_model=64, n_layers=2, n_heads=2, dropout=0.2, max_length=50)
    layer = 64 * 4 * 64 + 50 + 64 * 64 + 64
    assert sum(parameter.numel() for parameter in backbone.parameters()) == 50 * 64 + 2 * layer + 128


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="7 positions.*max_length 6"):
        made()(torch.zeros(1, 7, WIDTH).double(), torch.ones(1, 7, dtype=torch.bool))
    with pytest.raises(InputError, match="d_model 8 does not divide into 3 heads"):
        HSTU(**{**OPTIONS, "n_heads": 3})
