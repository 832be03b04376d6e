"""Ranks and lists over the whole catalogue, in blocks: no (users, items) matrix is ever held.

B users, D width, N items, S history length. score = states @ items.T; row 0 of the items is padding and takes
no part.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

USERS_AT_ONCE = 512
ITEMS_AT_ONCE = 1024
OWN_AT_ONCE = 256  # users whose own score is computed at once, from a square of which the diagonal is used
WHOLE = 8, 64  # users and items of a product come in multiples: libraries round what is left over otherwise
LIST_BYTES = 32 * 2**20  # of scores held at once while lists are made
GROUP = 32  # items whose best score is looked at first when lists are made


class NotFiniteError(ValueError):
    """A state or an item that no score follows from; `what` is "row" or "item_idx", `index` the first."""

    def __init__(self, what: str, index: int) -> None:
        super().__init__(f"{what} {index} has a vector that is not finite: no score follows from it")
        self.what, self.index = what, index


def target_ranks(
    states: Tensor,
    items: Tensor,
    target: Tensor,
    *,
    cutoff: int | None = None,
    seen: Tensor | None = None,
    tile: tuple[int, int] = (USERS_AT_ONCE, ITEMS_AT_ONCE),
) -> Tensor:
    """Rank = 1 + |{i ≠ target : score_i ≥ score_target}| over all items that are not seen.

    Ties count against the target. With a `cutoff` K a user is dropped once K items beat the target: ranks
    up to K are exact, all others are K + 1. Items that score high for the mean user come first, so that
    most users are dropped early; the result does not depend on it.

    states: (B, D); items: (N+1, D); target: (B,) item_idx; seen: (B, S) item_idx to leave out, 0 for none,
    a target among them stays in. tile: users and items of a block. Returns (B,) int64.
    Raises NotFiniteError for a state or an item that is not finite, and ValueError for scores that would
    overflow.
    """
    check_finite(states, items)
    ranks = torch.ones_like(target)
    if not len(states) or len(items) < 2:
        return ranks
    order = 1 + torch.mv(items[1:], states.mean(dim=0)).argsort(descending=True)
    ordered = items.index_select(0, order)
    left_out = _LeftOut(target, seen, order, users_at_once=tile[0], items_at_once=tile[1])
    own = _own_scores(states, items, target)
    alive = torch.arange(len(states), device=states.device)
    counts = torch.zeros(len(states), dtype=states.dtype, device=states.device)  # of those alive
    room = tile[0] + WHOLE[0], tile[1] + WHOLE[1]
    block = torch.empty(room, dtype=states.dtype, device=states.device)
    users = _user_blocks(states, tile[0])
    for number, tile_items in enumerate(ordered.split(tile[1])):
        _count_better(
            users, tile_items, own.split(tile[0]), counts.split(tile[0]), left_out.of(number, alive), block
        )
        stays = counts < cutoff if cutoff is not None else None
        if stays is None or bool(stays.all()):
            continue
        ranks[alive[~stays]] = 1 + counts[~stays].long()
        states, own, counts, alive = states[stays], own[stays], counts[stays], alive[stays]
        if not len(alive):
            break
        users = _user_blocks(states, tile[0])
    ranks[alive] = 1 + counts.long()
    return ranks if cutoff is None else ranks.clamp_(max=cutoff + 1)


def _user_blocks(states: Tensor, users_at_once: int) -> list[Tensor]:
    """States in blocks, padded here so that this is not done again for every tile."""
    return [_padded(block, WHOLE[0]) for block in states.split(users_at_once)]


def _own_scores(states: Tensor, items: Tensor, target: Tensor) -> Tensor:
    """Scores of the targets, (B,), by the same kind of product as all others: equal vectors then tie."""
    parts = [
        _scores(state, items.index_select(0, own)).diagonal().clone()  # not a view that keeps the square
        for state, own in zip(states.split(OWN_AT_ONCE), target.split(OWN_AT_ONCE), strict=True)
    ]
    return torch.cat(parts)


def _scores(states: Tensor, items: Tensor, block: Tensor | None = None) -> Tensor:
    """Scores (b, n), each rounded alike whatever b and n; in the memory of a block if there is one."""
    left, right = _padded(states, WHOLE[0]), _padded(items, WHOLE[1])
    product = None if block is None else block[: len(left), : len(right)]
    return torch.mm(left, right.T, out=product)[: len(states), : len(items)]


def _padded(vectors: Tensor, multiple: int) -> Tensor:
    """The vectors, and zeros up to a multiple."""
    n_missing = -len(vectors) % multiple
    return F.pad(vectors, (0, 0, 0, n_missing)) if n_missing else vectors


def _count_better(
    users: Sequence[Tensor],
    tile_items: Tensor,
    own: Sequence[Tensor],
    counts: Sequence[Tensor],
    left_out: Sequence[tuple[Tensor, Tensor]],
    block: Tensor,
) -> None:
    """Add to the counts the items of a tile that score at least `own`, but for those left out.

    users, own, counts, left_out: of each block of users; block: memory for the scores of one
    Counts are floats, which are exact up to 2²⁴: comparing in place and adding up rows is several times
    faster than through booleans.
    """
    for states, least, count, (row, column) in zip(users, own, counts, left_out, strict=True):
        scores = _scores(states, tile_items, block)[: len(least)]
        scores[row, column] = -torch.inf
        torch.ge(scores, least[:, None], out=scores)
        count += scores.sum(dim=1)


class _LeftOut:
    """What does not count, tile by tile: each user's target and seen items, by their place in the order."""

    def __init__(
        self, target: Tensor, seen: Tensor | None, order: Tensor, *, users_at_once: int, items_at_once: int
    ) -> None:
        place = torch.empty(len(order) + 1, dtype=torch.long, device=order.device)
        place[order] = torch.arange(len(order), device=order.device)
        columns = target[:, None] if seen is None else torch.cat([target[:, None], seen.to(target)], dim=1)
        user, column = (columns > 0).nonzero(as_tuple=True)
        at = place[columns[user, column]]
        tile = at.div(items_at_once, rounding_mode="floor")
        by_tile = (tile * len(target) + user).argsort()
        self._user, self._column = user[by_tile], (at - tile * items_at_once)[by_tile]
        n_tiles = -(-len(order) // items_at_once)
        self._edges = [0, *torch.bincount(tile, minlength=n_tiles).cumsum(0).tolist()]
        self._row = torch.full_like(target, -1)
        self._users_at_once = users_at_once

    def of(self, tile: int, alive: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Rows and columns of a tile's block, for each block of users; `alive` are ascending."""
        inside = slice(self._edges[tile], self._edges[tile + 1])
        self._row.fill_(-1)
        self._row[alive] = torch.arange(len(alive), device=alive.device)
        row, column = self._row[self._user[inside]], self._column[inside]
        row, column = row[row >= 0], column[row >= 0]
        block = row.div(self._users_at_once, rounding_mode="floor")
        sizes = block.bincount(minlength=-(-len(alive) // self._users_at_once)).tolist()
        return list(zip((row - block * self._users_at_once).split(sizes), column.split(sizes), strict=True))


def top_items(states: Tensor, items: Tensor, k: int, *, seen: Tensor | None = None) -> Tensor:
    """The k items of the highest scores, best first, (B, k) item_idx; 0 where no more are left.

    The k best lie in the k groups of items with the best maxima, so only these are sorted. Equal scores
    stand in the order of item_idx within a list. states: (B, D); items: (N+1, D); seen: (B, S) to leave
    out, 0 for none. Raises ValueError as `target_ranks`, and for a k that is not in 1…N.
    """
    n_items = len(items) - 1
    if not 1 <= k <= n_items:
        raise ValueError(f"k is {k}, the catalogue has {n_items} items: choose 1 to {n_items}")
    check_finite(states, items)
    users_at_once = max(1, LIST_BYTES // (len(items) * items.element_size()))
    whole = _padded(items, WHOLE[1])  # once, not for every block of users
    lists = [
        _top_of(_scores(states[start : start + users_at_once], whole)[:, : len(items)], k, seen, start)
        for start in range(0, len(states), users_at_once)
    ]
    return torch.cat(lists) if lists else torch.empty(0, k, dtype=torch.long, device=states.device)


def _top_of(scores: Tensor, k: int, seen: Tensor | None, start: int) -> Tensor:
    """(b, k) best columns of a block of scores (b, N+1), which is overwritten."""
    if seen is not None:
        scores.scatter_(1, seen[start : start + len(scores)].long(), -torch.inf)
    scores[:, 0] = -torch.inf
    columns = _candidates(scores, k)
    best, order = scores.gather(1, columns).sort(dim=1, descending=True, stable=True)
    return columns.gather(1, order)[:, :k].masked_fill_(best[:, :k] == -torch.inf, 0)


def _candidates(scores: Tensor, k: int) -> Tensor:
    """Columns among which the k best are, (b, k·GROUP) ascending; all of them where there are few."""
    n_groups = scores.shape[1] // GROUP
    if n_groups <= 2 * k:
        return torch.arange(scores.shape[1], device=scores.device).expand(len(scores), -1)
    whole = scores[:, : n_groups * GROUP].view(len(scores), GROUP, n_groups)
    groups = whole.amax(dim=1).topk(k, dim=1, sorted=False).indices  # (b, k)
    step = n_groups * torch.arange(GROUP, device=scores.device)
    rest = torch.arange(n_groups * GROUP, scores.shape[1], device=scores.device).expand(len(scores), -1)
    columns = (groups[:, :, None] + step).flatten(1)
    return torch.cat([columns, rest], dim=1).sort(dim=1).values


def check_finite(states: Tensor, items: Tensor) -> None:
    """Refuse what would make a score NaN or infinite: comparisons with NaN hide that a ranking is void."""
    if not states.numel():
        return
    largest = [torch.stack(part.aminmax()).abs().amax() for part in (states, items)]
    bound = float(largest[0].double() * largest[1].double() * states.shape[1])
    if bound < torch.finfo(states.dtype).max:
        return
    for name, part in (("row", states), ("item_idx", items)):
        bad = ~part.isfinite().all(dim=1)
        if bad.any():
            raise NotFiniteError(name, int(bad.int().argmax()))
    raise ValueError(f"scores up to {bound:.1e} overflow {states.dtype}: the training has diverged")
