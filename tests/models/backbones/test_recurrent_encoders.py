"""GRU4Rec against packed sequences, NARM's attention against its sums."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence, pad_packed_sequence

from reclib.models.backbones import narm
from reclib.models.backbones.gru4rec import GRU4Rec
from reclib.models.backbones.narm import NARM, AdditiveAttention

WIDTH, LENGTH = 6, 8
OPTIONS = {"d_model": WIDTH, "n_layers": 2, "n_heads": 1, "dropout": 0.0, "max_length": LENGTH}


@pytest.fixture(autouse=True)
def _own_draws() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def test_gru4rec_equals_a_gru_over_packed_histories() -> None:
    backbone, lengths = GRU4Rec(**OPTIONS), [8, 3, 5, 1]
    vectors = torch.randn(4, LENGTH, WIDTH)
    mask = torch.arange(LENGTH) >= LENGTH - torch.tensor(lengths)[:, None]
    oracle = nn.GRU(WIDTH, WIDTH, 2, bias=False, batch_first=True)
    oracle.load_state_dict(backbone.recurrence.gru.state_dict())
    packed = pack_sequence([row[kept] for row, kept in zip(vectors, mask, strict=True)], enforce_sorted=False)
    expected, _ = pad_packed_sequence(oracle(packed)[0], batch_first=True)
    states = backbone(vectors, mask)
    for row, length in enumerate(lengths):
        assert torch.allclose(states[row, -length:], expected[row, :length], atol=1e-6)


def test_weights_start_within_their_bound() -> None:
    weights = torch.cat([weight.flatten() for weight in GRU4Rec(**OPTIONS).recurrence.parameters()])
    bound = (6 / (2 * WIDTH)) ** 0.5
    assert 0.95 * bound < weights.abs().max() <= bound


def attended(attention: AdditiveAttention, states: Tensor) -> Tensor:
    """Position by position, as the paper writes it."""
    first, second, v = attention.query.weight, attention.key.weight, attention.score.weight[0]
    rows = []
    for t in range(states.shape[1]):
        alpha = [torch.sigmoid(states[:, t] @ first.T + states[:, j] @ second.T) @ v for j in range(t + 1)]
        rows.append(sum(a[:, None] * states[:, j] for j, a in enumerate(alpha)))
    return torch.stack(rows, dim=1)


@pytest.mark.parametrize("block", [1, 3, 32])
@pytest.mark.parametrize("n_queries", [1, 5, LENGTH])
def test_narm_attends_to_earlier_states_in_blocks_of_any_size(
    block: int, n_queries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(narm, "QUERY_BLOCK", block)
    attention, states = AdditiveAttention(WIDTH), torch.randn(3, LENGTH, WIDTH)
    expected = attended(attention, states)[:, -n_queries:]
    assert torch.allclose(attention(states, n_queries), expected, atol=1e-6)


def test_narm_joins_its_two_encoders_by_a_bilinear_map() -> None:
    backbone, vectors = NARM(**OPTIONS), torch.randn(2, LENGTH, WIDTH)
    mask = torch.ones(2, LENGTH, dtype=torch.bool)
    hidden = backbone.recurrence.gru(vectors)[0]
    both = torch.cat([hidden, attended(backbone.attention, hidden)], dim=-1)
    assert torch.allclose(backbone(vectors, mask), both @ backbone.decoder.weight.T, atol=1e-6)


def test_narm_keeps_no_block_of_all_pairs_for_the_backward_pass() -> None:
    attention, states = AdditiveAttention(WIDTH), torch.randn(2, 64, WIDTH, requires_grad=True)
    largest = 0

    def measure(saved: Tensor) -> Tensor:
        nonlocal largest
        largest = max(largest, saved.numel())
        return saved

    with torch.autograd.graph.saved_tensors_hooks(measure, lambda saved: saved):
        attention(states, 64)
    assert largest < 2 * 64 * 64 * WIDTH
