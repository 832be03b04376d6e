"""Frozen texts through a small network: one vector an item, zeros for padding, text never trained."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from reclib.models.text_adapter import TextAdapter


@pytest.fixture
def adapter() -> TextAdapter:
    text = np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return TextAdapter(text, 3, hidden=5, between=nn.LeakyReLU())


def test_vectors_are_those_of_the_matrix_and_padding_is_zero(adapter: TextAdapter) -> None:
    item_idx = torch.tensor([[0, 2, 2], [5, 0, 1]])
    torch.testing.assert_close(adapter(item_idx), adapter.matrix()[item_idx])
    assert not adapter.matrix()[0].any()
    assert adapter.matrix()[1:].all(dim=1).all()
    assert adapter(item_idx[:, :1]).shape == (2, 1, 3)


def test_only_the_network_is_trained_and_written(adapter: TextAdapter) -> None:
    assert {name for name, _ in adapter.named_parameters()} == set(adapter.state_dict())
    assert sum(weight.numel() for weight in adapter.parameters()) == (8 + 1) * 5 + (5 + 1) * 3
    adapter(torch.tensor([1, 4])).sum().backward()
    assert adapter.text.grad is None
    assert all(weight.grad is not None for weight in adapter.parameters())
