"""SASRec and BERT4Rec against torch's own encoder layer, and the two ways to attend."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from reclib.models.backbones.bert4rec import BERT4Rec
from reclib.models.backbones.blocks import AttentionBlock, SelfAttention, allowed_keys
from reclib.models.backbones.sasrec import SASRec
from reclib.models.dropout import Dropout
from reclib.schema import InputError

WIDTH, HEADS, LENGTH = 8, 2, 6
OPTIONS = {"d_model": WIDTH, "n_layers": 2, "n_heads": HEADS, "dropout": 0.0, "max_length": LENGTH}


@pytest.fixture(autouse=True)
def _own_draws() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def histories() -> tuple[Tensor, Tensor]:
    mask = torch.arange(LENGTH) >= LENGTH - torch.tensor([6, 3, 1])[:, None]
    return torch.randn(3, LENGTH, WIDTH), mask


def torch_layer(block: AttentionBlock) -> nn.TransformerEncoderLayer:
    """A layer of torch's with the weights of ours."""
    layer = nn.TransformerEncoderLayer(
        WIDTH, HEADS, 4 * WIDTH, 0.0, "gelu", layer_norm_eps=block.norm.eps, batch_first=True
    )
    attention, feed_forward = block.attention, block.feed_forward
    pairs = [
        (layer.self_attn.out_proj, attention.output),
        (layer.linear1, feed_forward.inner),
        (layer.linear2, feed_forward.outer),
        (layer.norm1, block.norm),
        (layer.norm2, feed_forward.norm),
    ]
    for theirs, ours in pairs:
        theirs.load_state_dict(ours.state_dict())
    layer.self_attn.in_proj_weight = attention.query_key_value.weight
    layer.self_attn.in_proj_bias = attention.query_key_value.bias
    return layer


def by_torch(backbone: SASRec | BERT4Rec, values: Tensor, mask: Tensor) -> Tensor:
    """States of the blocks, each history alone and without its padding."""
    states = torch.zeros_like(values)
    for row, n_items in enumerate(mask.sum(1).tolist()):
        kept = values[row : row + 1, -n_items:]
        later = torch.ones(n_items, n_items, dtype=torch.bool).triu(1) if backbone.is_causal else None
        for block in backbone.stack.blocks:
            kept = torch_layer(block)(kept, src_mask=later)
        states[row, -n_items:] = kept
    return states


def test_sasrec_is_a_causal_transformer_encoder() -> None:
    backbone, (vectors, mask) = SASRec(**OPTIONS), histories()
    expected = by_torch(backbone, backbone.norm(vectors + backbone.positions.weight), mask)
    assert torch.allclose(backbone(vectors, mask), expected, atol=1e-5)


def test_bert4rec_is_a_transformer_encoder_and_a_projection() -> None:
    backbone, (vectors, mask) = BERT4Rec(**OPTIONS), histories()
    states = by_torch(backbone, vectors + backbone.positions.weight, mask)
    expected = nn.functional.gelu(backbone.projection(states)) * mask[..., None]
    assert torch.allclose(backbone(vectors, mask), expected, atol=1e-5)


@pytest.mark.parametrize("n_queries", [1, 4, LENGTH])
def test_attention_equals_that_of_torch(n_queries: int) -> None:
    attention, (values, mask) = SelfAttention(WIDTH, HEADS, 0.0), histories()
    oracle = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    oracle.in_proj_weight, oracle.in_proj_bias = (
        attention.query_key_value.weight,
        attention.query_key_value.bias,
    )
    oracle.out_proj.load_state_dict(attention.output.state_dict())
    allowed = allowed_keys(mask, is_causal=True)[:, :, -n_queries:]
    hidden = ~allowed.expand(-1, HEADS, -1, -1).flatten(0, 1)
    expected, _ = oracle(values[:, -n_queries:], values, values, attn_mask=hidden)
    assert torch.allclose(attention(values, allowed), expected, atol=1e-6)


def test_attention_that_drops_on_a_cpu_is_the_same_function() -> None:
    """A dropout too rare to occur takes the way of training and drops nothing."""
    attention, (values, mask) = SelfAttention(WIDTH, HEADS, 0.0), histories()
    allowed = allowed_keys(mask, is_causal=True)
    fused = attention(values, allowed)
    attention.dropout = Dropout(1e-9)
    assert torch.allclose(attention.train()(values, allowed), fused, atol=1e-6)


def test_dropped_attention_is_right_in_the_mean() -> None:
    attention, (values, mask) = SelfAttention(WIDTH, HEADS, 0.5).double(), histories()
    values, allowed = values.double(), allowed_keys(mask, is_causal=False)
    draws = torch.stack([attention.train()(values, allowed) for _ in range(2000)])
    errors = (draws.mean(0) - attention.eval()(values, allowed)).abs() / (draws.std(0) / 2000**0.5 + 1e-12)
    assert errors.max() < 5, "standard errors"


def test_bert4rec_looks_ahead() -> None:
    backbone, (vectors, mask) = BERT4Rec(**OPTIONS), histories()
    changed = vectors.clone()
    changed[:, -1] = torch.randn(3, WIDTH)
    moved = (backbone(changed, mask) - backbone(vectors, mask)).abs().amax(-1)
    assert (moved[mask] > 0).all()


def test_the_mask_vector_is_a_weight_of_the_items_width() -> None:
    assert dict(BERT4Rec(**OPTIONS).named_parameters())["mask_vector"].shape == (WIDTH,)


@pytest.mark.parametrize("backbone", [SASRec, BERT4Rec])
def test_more_positions_than_it_has_are_refused(backbone: type[nn.Module]) -> None:
    with pytest.raises(InputError, match="7 positions.*max_length 6"):
        backbone(**OPTIONS)(torch.zeros(1, 7, WIDTH), torch.ones(1, 7, dtype=torch.bool))


def test_heads_that_do_not_divide_are_refused() -> None:
    with pytest.raises(InputError, match="d_model 8 does not divide into 3 heads"):
        SASRec(**{**OPTIONS, "n_heads": 3})
