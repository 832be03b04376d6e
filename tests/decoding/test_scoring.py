"""Probabilities over the whole vocabulary from narrow weights: those that wide weights would give."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from reclib.decoding.node_scores import full_edges
from reclib.decoding.scoring import score_children
from reclib.decoding.search_trie import SearchTrie
from reclib.kernels import masked_softmax
from reclib.text.trie import ItemTrie
from tests.decoding.made import END, item_tokens

VOCABULARY, WIDTH = 300, 16
TRIE = SearchTrie.build(ItemTrie.build(item_tokens([[token, END] for token in range(1, VOCABULARY)])))


@pytest.fixture(params=[torch.bfloat16, torch.float16, torch.float32])
def weights(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, Tensor]:
    """Two nearly certain tokens a row; narrow embeddings are widened in several blocks."""
    monkeypatch.setattr(masked_softmax, "BLOCK_BYTES", 4 * WIDTH * 70)
    generator = torch.Generator().manual_seed(0)
    embedding = torch.randn(VOCABULARY, WIDTH, generator=generator)
    embedding[7] = embedding[5] * 1.004
    hidden = 4 * (embedding[[5, 20, 40]] + 0.1 * torch.randn(3, WIDTH, generator=generator))
    return hidden.to(request.param), embedding.to(request.param)


def exact(hidden: Tensor, embedding: Tensor) -> Tensor:
    return (hidden.double() @ embedding.double().T).log_softmax(-1)


def test_children_have_the_probability_of_wide_weights(weights: tuple[Tensor, Tensor]) -> None:
    children = score_children(
        *weights, torch.zeros(3, dtype=torch.long), TRIE, total=3 * (VOCABULARY - 1), full=True
    )
    assert children.log_prob.max() <= 1e-5
    found = children.log_prob.view(3, -1).double()
    torch.testing.assert_close(found, exact(*weights)[:, 1:], rtol=1e-5, atol=1e-4)


def test_edges_have_the_probability_of_wide_weights_and_the_best_is_theirs(
    weights: tuple[Tensor, Tensor],
) -> None:
    hidden, embedding = weights
    edges = full_edges(hidden[:, None], np.array([0]), embedding, TRIE)
    expected = exact(hidden, embedding)
    np.testing.assert_allclose(edges.log_prob, expected[:, 1:].numpy(), rtol=1e-5, atol=1e-4)
    assert (edges.is_best.argmax(axis=1) + 1).tolist() == expected.argmax(dim=1).tolist()
