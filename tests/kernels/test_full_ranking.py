from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from reclib.kernels.full_ranking import NotFiniteError, target_ranks, top_items
from reclib.models.products import float32_products
from tests import reference


def whole_numbers(*shape: int, seed: int, high: int = 3) -> Tensor:
    """Small whole numbers: products are exact in float32, and ties are many."""
    return torch.randint(-high, high + 1, shape, generator=torch.Generator().manual_seed(seed)).float()


def case(n_users: int, n_items: int, *, seed: int, width: int = 3) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    states, items = whole_numbers(n_users, width, seed=seed), whole_numbers(n_items + 1, width, seed=seed + 1)
    items[0] = 100.0  # padding never takes part, whatever it scores
    generator = torch.Generator().manual_seed(seed + 2)
    target = torch.randint(1, n_items + 1, (n_users,), generator=generator)
    seen = torch.randint(0, n_items + 1, (n_users, 4), generator=generator)
    return states, items, target, seen


def expected(states: Tensor, items: Tensor, target: Tensor, seen: Tensor | None) -> list[int]:
    left_out = [set()] * len(states) if seen is None else [set(row) for row in seen.tolist()]
    scores = (states @ items.T).tolist()
    return [reference.rank_of(*row) for row in zip(scores, target.tolist(), left_out, strict=True)]


@given(
    n_users=st.integers(1, 9),
    n_items=st.integers(1, 30),
    seed=st.integers(0, 1000),
    tile=st.tuples(st.integers(1, 10), st.integers(1, 32)),
    cutoff=st.one_of(st.none(), st.integers(1, 30)),
    removed=st.booleans(),
)
def test_ranks_are_those_of_looking_at_every_item(
    n_users: int, n_items: int, seed: int, tile: tuple[int, int], cutoff: int | None, removed: bool
) -> None:
    states, items, target, seen = case(n_users, n_items, seed=seed)
    ranks = target_ranks(states, items, target, cutoff=cutoff, seen=seen if removed else None, tile=tile)
    full = expected(states, items, target, seen if removed else None)
    assert ranks.tolist() == [rank if cutoff is None else min(rank, cutoff + 1) for rank in full]


def test_ties_count_against_the_target() -> None:
    assert target_ranks(torch.zeros(2, 3), torch.zeros(11, 3), torch.tensor([1, 10])).tolist() == [10, 10]


Products = Callable[[], contextlib.AbstractContextManager[None]]
both_products = pytest.mark.parametrize("products", [contextlib.nullcontext, float32_products])


@both_products
@pytest.mark.parametrize("n_items", [1, 2, 1024, 1025, 1682, 3000])
@pytest.mark.parametrize("n_users", [1, 2, 513, 700])
def test_a_catalogue_of_one_vector_ties_whatever_the_rounding(
    n_users: int, n_items: int, products: Products
) -> None:
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(n_users, 64, generator=generator)
    items = torch.randn(1, 64, generator=generator).expand(n_items + 1, -1).contiguous()
    target = torch.randint(1, n_items + 1, (n_users,), generator=generator)
    seen = torch.randint(0, n_items + 1, (n_users, 5), generator=generator)
    others = [set(row) - {0, own} for row, own in zip(seen.tolist(), target.tolist(), strict=True)]
    with products():
        assert target_ranks(states, items, target).tolist() == [n_items] * n_users
        assert target_ranks(states, items, target, cutoff=20).tolist() == [min(n_items, 21)] * n_users
        without = target_ranks(states, items, target, seen=seen)
    assert without.tolist() == [n_items - len(row) for row in others]


@both_products
@pytest.mark.parametrize("n_items", [1682, 3000])
def test_items_of_one_vector_tie_whatever_the_rounding(n_items: int, products: Products) -> None:
    generator = torch.Generator().manual_seed(0)
    half = n_items // 2
    states = torch.randn(700, 64, generator=generator)
    items = torch.randn(n_items, 64, generator=generator)
    items[half:] = items[:half]  # row `half` is padding's, which takes no part
    target = torch.randint(1, half, (700,), generator=generator)
    with products():
        twin = target_ranks(states, items, target + half)
        assert torch.equal(target_ranks(states, items, target), twin)
        without = target_ranks(states, items, target, seen=target[:, None] + half)
    assert torch.equal(without + 1, twin)


@both_products
def test_ties_hold_whatever_the_number_of_users_left_by_a_cutoff(products: Products) -> None:
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(600, 64, generator=generator)
    items = torch.randn(3001, 64, generator=generator)
    items[1501:] = items[1]  # most items are the target, which stays in the ranking to the last tile
    target = torch.full((600,), 1501)
    with products():
        full = target_ranks(states, items, target)
        assert (full >= 1501).all()
        for n_left in [*range(1, 40), 100, 255, 513]:
            assert torch.equal(target_ranks(states[:n_left], items, target[:n_left]), full[:n_left])
            cutoff = int(full.kthvalue(n_left).values)
            cut = target_ranks(states, items, target, cutoff=cutoff)
            assert torch.equal(cut, full.clamp(max=cutoff + 1))


def test_the_target_stays_in_the_ranking_where_it_was_seen() -> None:
    states, items = torch.ones(1, 1), torch.tensor([[0.0], [3.0], [2.0], [1.0]])
    assert target_ranks(states, items, torch.tensor([2]), seen=torch.tensor([[2, 1]])).tolist() == [1]


def test_items_seen_twice_are_left_out_once() -> None:
    states, items = torch.ones(1, 1), torch.tensor([[0.0], [3.0], [2.0], [1.0]])
    assert target_ranks(states, items, torch.tensor([3]), seen=torch.tensor([[1, 1, 0]])).tolist() == [2]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_is_refused_by_name(bad: float) -> None:
    states, items, target, _ = case(5, 8, seed=0)
    broken = items.clone()
    broken[6, 1] = bad
    with pytest.raises(NotFiniteError, match="item_idx 6"):
        target_ranks(states, broken, target)
    broken = states.clone()
    broken[3, 0] = bad
    with pytest.raises(NotFiniteError, match="row 3"):
        top_items(broken, items, 2)


def test_scores_that_overflow_are_refused() -> None:
    with pytest.raises(ValueError, match="overflow"):
        target_ranks(torch.full((2, 4), 1e30), torch.full((3, 4), 1e30), torch.tensor([1, 2]))


def test_no_user_has_no_rank() -> None:
    states, target = torch.empty(0, 3), torch.empty(0, dtype=torch.long)
    assert target_ranks(states, torch.zeros(4, 3), target).tolist() == []
    assert top_items(states, torch.zeros(4, 3), 2).shape == (0, 2)


@given(
    n_users=st.integers(1, 5),
    n_items=st.integers(1, 300),
    seed=st.integers(0, 1000),
    removed=st.booleans(),
    data=st.data(),
)
def test_lists_hold_the_best_scores(
    n_users: int, n_items: int, seed: int, removed: bool, data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, min(n_items, 5)))
    states, items, _, seen = case(n_users, n_items, seed=seed)
    lists = top_items(states, items, k, seen=seen if removed else None)
    scores = states @ items.T
    for row, own, was_seen in zip(lists.tolist(), scores.tolist(), seen.tolist(), strict=True):
        open_items = [i for i in range(1, n_items + 1) if not (removed and i in was_seen)]
        best = sorted((own[i] for i in open_items), reverse=True)[:k]
        assert [own[i] for i in row if i] == best
        assert row[len(best) :] == [0] * (k - len(best))
        assert not {i for i in row if i} - set(open_items)
        assert len({i for i in row if i}) == len(best)


def test_a_list_longer_than_the_catalogue_is_refused() -> None:
    with pytest.raises(ValueError, match="k is 4"):
        top_items(torch.zeros(1, 2), torch.zeros(4, 2), 4)


@both_products
@pytest.mark.parametrize("n_items", [5, 10, 300])  # of more, which of the equal are listed is open
@pytest.mark.parametrize("n_users", [1, 3, 70])
def test_lists_of_equal_items_are_in_the_order_of_the_catalogue(
    n_users: int, n_items: int, products: Products
) -> None:
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(n_users, 64, generator=generator)
    items = torch.randn(1, 64, generator=generator).expand(n_items + 1, -1).contiguous()
    with products():
        lists = top_items(states, items, 5)
    assert lists.tolist() == [[1, 2, 3, 4, 5]] * n_users
