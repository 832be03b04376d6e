"""A tiny LM that reads vectors: what the tests of hybrid prompts share."""

from __future__ import annotations

import numpy as np

from reclib.data.dataset import Dataset, joined
from reclib.models.causal_lm import CausalLM
from reclib.models.hybrid_prompt import (
    Users,
    VectorTable,
    a_llmrec_projector,
    add_vectors,
    llara_projector,
)

WIDTH = 6


def item_vectors(n_items: int, *, seed: int = 0) -> np.ndarray:
    """(N+1, WIDTH) vectors; row 0 is zero."""
    drawn = np.random.default_rng(seed).normal(size=(n_items + 1, WIDTH)).astype(np.float32)
    drawn[0] = 0
    return drawn


def with_items(lm: CausalLM, n_items: int, *, seed: int = 0) -> CausalLM:
    """The LM, in place, with LLaRA's projector over made vectors."""
    projector = llara_projector(WIDTH, lm.output_embedding.shape[1], seed=seed)
    add_vectors(lm.network, VectorTable(item_vectors(n_items), projector))
    return lm


def with_items_and_users(lm: CausalLM, dataset: Dataset, *, seed: int = 0) -> CausalLM:
    """The LM, in place, with A-LLMRec's projectors; a user's vector is the mean of its items'."""
    width = lm.output_embedding.shape[1]
    vectors = item_vectors(dataset.n_items)
    history = joined(joined(dataset.train, dataset.valid), dataset.test).history
    users = Users(history, vectors[history].mean(axis=1))
    add_vectors(
        lm.network,
        VectorTable(vectors, a_llmrec_projector(WIDTH, width, of="items", seed=seed)),
        (users, VectorTable(users.vectors, a_llmrec_projector(WIDTH, width, of="users", seed=seed))),
    )
    return lm
