from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from reclib.training.negatives import shared_items, unseen_items


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(n_items=st.integers(1, 12), seed=st.integers(0, 500), columns=st.integers(1, 8))
def test_nothing_seen_is_drawn_unless_all_is_seen(n_items: int, seed: int, columns: int) -> None:
    seen = torch.randint(0, n_items + 1, (4, columns), generator=generator(seed))
    drawn = unseen_items(seen, 50, n_items=n_items, generator=generator(seed))
    assert drawn.shape == (4, 50)
    for row, own in zip(drawn.tolist(), seen.tolist(), strict=True):
        free = set(range(1, n_items + 1)) - set(own)
        assert set(row) <= (free or set(range(1, n_items + 1)))


def test_unseen_items_are_drawn_evenly() -> None:
    seen = torch.tensor([[2, 5, 5, 0]])
    drawn = unseen_items(seen, 60_000, n_items=8, generator=generator())
    counts = drawn[0].bincount(minlength=9).tolist()
    assert [counts[item] for item in (0, 2, 5)] == [0, 0, 0]
    for item in (1, 3, 4, 6, 7, 8):
        assert abs(counts[item] - 10_000) < 400  # 4 standard deviations


def test_shared_items_follow_their_chances() -> None:
    chances = torch.tensor([0.1, 0.0, 0.6, 0.3], dtype=torch.float64)
    drawn = shared_items(50_000, n_items=4, generator=generator(), chances=chances.cumsum(0))
    share = drawn.bincount(minlength=5)[1:] / 50_000
    assert torch.allclose(share.double(), chances, atol=0.01)
    assert share[1] == 0
    even = shared_items(50_000, n_items=4, generator=generator())
    assert torch.allclose(even.bincount(minlength=5)[1:] / 50_000, torch.full((4,), 0.25), atol=0.01)
