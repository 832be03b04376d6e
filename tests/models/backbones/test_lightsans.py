from __future__ import annotations

import pytest
import torch
from torch import Tensor

from reclib.models.backbones.lightsans import LightAttention, LightSANs, PrefixInterests
from reclib.schema import InputError


def published_pooling(interests: PrefixInterests, values: Tensor) -> Tensor:
    """softmax over positions of XΘ, transposed, times X: (B, S, D) → (B, k, D)."""
    return (values @ interests.theta).softmax(dim=1).transpose(1, 2) @ values


def published_attention(attention: LightAttention, values: Tensor, positions: Tensor) -> Tensor:
    """The layer of the paper, a head at a time, without padding or causality."""
    d_head = values.shape[-1] // attention.n_heads
    normed = attention.position_norm(positions)
    value = attention.value(values)
    keys = published_pooling(attention.key_interests, attention.key(values))
    interests = published_pooling(attention.value_interests, value)
    heads = []
    for head in range(attention.n_heads):
        part = slice(head * d_head, (head + 1) * d_head)
        logits = attention.query(values)[..., part] @ keys[..., part].transpose(1, 2)
        by_item = (logits / d_head**0.5).softmax(-1) @ interests[..., part]
        query, key = attention.position_query(normed)[:, part], attention.position_key(normed)[:, part]
        by_position = (query @ key.T / d_head**0.5).softmax(-1) @ value[..., part]
        heads.append(by_item + by_position)
    return attention.norm(values + attention.outward(torch.cat(heads, dim=-1)))


@pytest.fixture
def values() -> Tensor:
    return torch.randn(2, 7, 6, generator=torch.Generator().manual_seed(1))


def seen_from(mask: Tensor) -> Tensor:
    """Items up to each position, (B, 1, S, S)."""
    return (mask[:, None] & torch.ones(mask.shape[1], mask.shape[1], dtype=torch.bool).tril())[:, None]


def test_interests_of_a_prefix_are_the_published_ones_of_the_prefix(values: Tensor) -> None:
    interests, seen = PrefixInterests(6, 3), seen_from(torch.ones(2, 7, dtype=torch.bool))
    weights = interests(values, seen)
    for i in range(7):
        pooled = weights[:, i] @ values
        torch.testing.assert_close(pooled, published_pooling(interests, values[:, : i + 1]))
    torch.testing.assert_close(interests(values, seen[:, :, -1:]), weights[:, -1:])


def test_interests_leave_padding_out_and_stay_exact_for_large_logits(values: Tensor) -> None:
    """At any scale: a later item of a far larger logit takes nothing from the prefixes before it."""
    interests, seen = PrefixInterests(6, 3), seen_from(torch.arange(7).expand(2, 7) >= 3)
    for scale in (1.0, 1000.0):
        weights = interests(scale * values, seen)
        assert weights.isfinite().all()
        for i in range(3, 7):
            expected = published_pooling(interests, scale * values[:, 3 : i + 1])
            torch.testing.assert_close(weights[:, i] @ (scale * values), expected)


def test_the_layer_is_the_published_one_at_the_last_position(values: Tensor) -> None:
    attention = LightAttention(6, 2, 0.0, 3)
    positions = torch.randn(7, 6, generator=torch.Generator().manual_seed(2))
    made = attention(values, positions, torch.ones(2, 7, dtype=torch.bool))
    torch.testing.assert_close(made[:, -1], published_attention(attention, values, positions)[:, -1])
    for i in range(7):
        prefix = published_attention(attention, values[:, : i + 1], positions[: i + 1])
        torch.testing.assert_close(made[:, i], prefix[:, -1])


def test_heads_must_share_the_width() -> None:
    with pytest.raises(InputError, match="d_model 8 does not divide into 3 heads"):
        LightSANs(d_model=8, n_layers=1, n_heads=3, dropout=0.0, max_length=5)


def test_parameters_are_those_of_the_public_code() -> None:
    """d=64, 2 layers, S=50, k=5: q, k, v, two of positions, output; two Θ; norms; a 4D feed-forward."""
    attention = 6 * (64 * 64 + 64) + 2 * 64 * 5 + 2 * 128
    layer = attention + (64 * 256 + 256) + (256 * 64 + 64) + 128
    backbone = LightSANs(d_model=64, n_layers=2, n_heads=2, dropout=0.5, max_length=50)
    assert sum(parameter.numel() for parameter in backbone.parameters()) == 2 * layer + 50 * 64 + 128
