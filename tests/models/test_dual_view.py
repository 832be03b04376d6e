"""LLM-ESR's two views: both score, each moves the other, and neither looks ahead."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from reclib.models.dual_view import CrossAttention, DualView
from reclib.models.text_adapter import TextAdapter
from reclib.schema import InputError
from tests.training.sequence_toy import LastItem, LeftNeighbour, Table

N_ITEMS, WIDTH = 9, 4
HISTORY = torch.tensor([[0, 0, 3, 1, 7], [2, 9, 4, 4, 5]])


def make(*, is_causal: bool = True) -> DualView:
    text = np.random.default_rng(0).normal(size=(N_ITEMS + 1, 6)).astype(np.float32)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        backbone = LastItem(WIDTH, dropout=0.0) if is_causal else LeftNeighbour(WIDTH, max_length=6)
        adapter = TextAdapter(text, WIDTH, hidden=3)
        model = DualView(Table(N_ITEMS, WIDTH), adapter, backbone, d_model=WIDTH, n_heads=2, max_length=8)
    return model.eval()


def test_a_score_is_the_sum_of_both_views() -> None:
    model = make()
    collaborative, semantic = model.embedding_views()
    states = model.user_states(HISTORY)
    scores = states @ model.item_matrix().T
    torch.testing.assert_close(scores, states[:, :WIDTH] @ collaborative.T + states[:, WIDTH:] @ semantic.T)
    assert (states[:, :WIDTH] @ collaborative.T)[:, 1:].abs().min() > 0
    assert (states[:, WIDTH:] @ semantic.T)[:, 1:].abs().min() > 0
    torch.testing.assert_close(model.item_vectors(HISTORY), model.item_matrix()[HISTORY])
    assert not model.item_matrix()[0].any()


@pytest.mark.parametrize("moved", ["collaborative", "semantic"])
def test_cross_attention_moves_each_view_by_the_other(moved: str) -> None:
    model = make()
    before = model.user_states(HISTORY)
    with torch.no_grad():
        if moved == "collaborative":
            model.items.table.weight[1:] *= 3
        else:
            model.semantics.text *= 3
    change = (model.user_states(HISTORY) - before).abs()
    assert change[:, :WIDTH].max() > 1e-4
    assert change[:, WIDTH:].max() > 1e-4


def test_a_later_item_changes_no_earlier_state_and_padding_changes_none() -> None:
    model = make()
    states = model.states(HISTORY)
    other = HISTORY.clone()
    other[:, -1] = 6
    torch.testing.assert_close(model.states(other)[:, :-1], states[:, :-1])
    assert not torch.allclose(model.states(other)[:, -1], states[:, -1])
    torch.testing.assert_close(model.states(HISTORY[:1, 2:]), states[:1, 2:])
    torch.testing.assert_close(model.states(HISTORY, last_only=True), states[:, -1])
    assert not states[0, :2].any()


def test_a_position_is_told_from_another_that_holds_the_same_item() -> None:
    model, twice = make(), torch.tensor([[4, 4, 4]])
    states = model.states(twice)
    assert not torch.allclose(states[:, 1], states[:, 2], atol=1e-6, rtol=0)
    with torch.no_grad():
        model.positions.weight.zero_()
    states = model.states(twice)
    torch.testing.assert_close(states[:, 1], states[:, 2])


def test_a_cloze_hides_an_item_in_both_views() -> None:
    model = make(is_causal=False)
    masked = torch.zeros_like(HISTORY, dtype=torch.bool)
    masked[:, 3] = True
    states = model.masked_states(HISTORY, masked)
    other = HISTORY.clone()
    other[:, 3] = 8
    torch.testing.assert_close(model.masked_states(other, masked), states)
    other[:, 4] = 8
    assert not torch.allclose(model.masked_states(other, masked)[:, 3], states[:, 3])  # sees what follows
    assert model.user_states(HISTORY).shape == (2, 2 * WIDTH)


def test_a_history_of_padding_is_finite() -> None:
    model = make()
    nothing = torch.zeros(2, 3, dtype=torch.int64)
    assert not model.user_states(nothing).any()
    model.states(nothing).sum().backward()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in model.parameters())


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(InputError, match="d_model 4 does not divide into 3 heads"):
        CrossAttention(4, 3, is_causal=True)
