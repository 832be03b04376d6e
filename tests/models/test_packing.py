from __future__ import annotations

import numpy as np
import pytest
import torch

from reclib.config import LMConfig
from reclib.models.causal_lm import CausalLM, load_lm
from reclib.models.packing import pack

TITLES = ["The Red House", "The Red River", "Blue Moon (1999)"]


def tiny() -> CausalLM:
    return load_lm(LMConfig(name="random", dtype="float64"), seed=0, titles=TITLES)


@pytest.mark.parametrize("head_length", [0, 4])
def test_branches_are_the_sequences_run_alone(head_length: int) -> None:
    """Rows of one to three branches, one of them empty: each token as in head, trunk and own branch alone."""
    lm = tiny()
    generator = np.random.default_rng(0)
    lengths = [[3, 2, 4], [1, 5], [6, 0, 1, 3]]  # of the trunk, then of the branches
    head = generator.integers(0, lm.vocabulary_size, head_length)
    rows = [[generator.integers(0, lm.vocabulary_size, length) for length in row] for row in lengths]
    tokens = np.concatenate([piece for row in rows for piece in row])
    branch = np.concatenate([np.full(len(piece), at) for row in rows for at, piece in enumerate(row)])
    start = np.cumsum([0, *map(sum, lengths)])
    inputs, _ = pack(head, tokens, start, branch=branch)
    found = lm(**inputs, asked=torch.arange(len(head) + len(tokens)))

    place = len(head)
    for row in rows:
        for at, piece in enumerate(row):
            before = [head] if at == 0 else [head, row[0]]
            alone = torch.from_numpy(np.concatenate([*before, piece]))
            expected = lm.network.base_model(input_ids=alone[None]).last_hidden_state[0]
            expected = expected[len(alone) - len(piece) :]
            torch.testing.assert_close(found[place : place + len(piece)], expected, rtol=1e-5, atol=1e-6)
            place += len(piece)
    assert place == len(found)
