"""Where items occur, and what is around them there."""

from __future__ import annotations

import numpy as np
import torch

from reclib.training.item_contexts import ItemContexts, item_contexts
from tests.data.test_cooccurrence import windows_of

SEQUENCES = [[1, 2, 3, 4, 5, 6], [7, 2, 8], [3, 3, 9]]


def contexts() -> ItemContexts:
    return item_contexts(windows_of(SEQUENCES), 10, np.random.default_rng(0))


def test_drawn_occurrences_are_different_and_of_the_item() -> None:
    found, generator = contexts(), torch.Generator().manual_seed(0)
    item_idx = torch.tensor([2, 3, 9, 10])  # twice, three times, once, never
    for _ in range(20):
        place, is_there = found.draw(item_idx, 3, generator)
        assert is_there.sum(dim=1).tolist() == [2, 3, 1, 0]
        for item, places, there in zip(item_idx, place, is_there, strict=True):
            assert (found.item_idx[places[there]] == item).all()
            assert len(places[there].unique()) == int(there.sum())


def test_all_occurrences_are_drawn_sooner_or_later() -> None:
    found, generator = contexts(), torch.Generator().manual_seed(0)
    drawn = {int(found.draw(torch.tensor([3]), 1, generator)[0]) for _ in range(40)}
    assert len(drawn) == 3


def at(found: ItemContexts, user: int, position: int) -> torch.Tensor:
    """The row of a position of a user's sequence."""
    return (found.user == user).nonzero().flatten()[position]


def test_around_stays_within_the_user_and_leaves_the_item_out() -> None:
    found = contexts()
    place = torch.stack([at(found, 0, 2), at(found, 1, 0), at(found, 2, 0)])
    expected = [[1, 2, 4, 5], [0, 0, 2, 8], [0, 0, 0, 9]]  # the last item stands there twice
    assert found.around(place, 2).tolist() == expected


def test_histories_end_with_the_item_forwards_and_backwards() -> None:
    found = contexts()
    place = torch.stack([at(found, 0, 2), at(found, 0, 2), at(found, 1, 1)])
    backward = torch.tensor([False, True, True])
    expected = [[0, 1, 2, 3], [6, 5, 4, 3], [0, 0, 8, 2]]
    assert found.up_to(place, 4, is_backward=backward).tolist() == expected
