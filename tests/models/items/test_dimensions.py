"""LLMInit's choices of dimensions: columns of the texts as they are."""

from __future__ import annotations

import numpy as np
import pytest

from reclib.models.items.dimensions import chosen_dimensions
from reclib.schema import InputError
from reclib.seeding import numpy_generator

N, E = 40, 12
COUNTS = np.arange(N + 1)  # the last items are the popular ones
TEXT = np.random.default_rng(3).normal(size=(N + 1, E)).astype(np.float32)
TEXT[0] = 0
TEXT[33:, [1, 4, 10]] *= 9  # vary most among the popular fifth
TEXT[1:33, 7] *= 50  # varies most over all


def columns(choice: str, d_model: int, seed: int = 0) -> list[int]:
    """Which columns were taken; each stands unchanged in the table."""
    table = chosen_dimensions(
        TEXT, d_model, choice=choice, counts=COUNTS, generator=numpy_generator(seed, "x")
    )
    same = [np.flatnonzero((column[:, None] == TEXT).all(axis=0)) for column in table.T]
    assert all(len(found) == 1 for found in same)
    return [int(found[0]) for found in same]


def test_the_most_varying_of_popular_items_the_evenly_spaced_and_drawn_ones() -> None:
    assert columns("variance", 3) == [1, 4, 10]
    assert columns("even", 5) == [0, 2, 4, 6, 8]
    drawn = columns("random", 5)
    assert drawn == sorted(set(drawn))
    assert drawn == columns("random", 5) != columns("random", 5, seed=1)


def test_texts_that_are_too_narrow_are_refused() -> None:
    with pytest.raises(InputError, match="12 dimensions, fewer than the d_model of 13"):
        columns("even", 13)
