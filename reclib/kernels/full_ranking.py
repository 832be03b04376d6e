"""Ranks and lists over the whole catalogue, in blocks: no (users, items) matrix is ever held.

B users, D width, N items, S history length. score = states @ items.T; row 0 of the items is padding and takes
no part.
"""

from __future__ import annotations

import torch
from torch import Tensor

USERS_AT_ONCE = 512
ITEMS_AT_ONCE = 1024
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
    _check_finite(states, items)
    order = 1 + torch.mv(items[1:], states.mean(dim=0)).argsort(descending=True) if len(states) else None
    ranks = torch.ones_like(target)
    if order is None:
        return ranks
    place = torch.empty(len(items), dtype=torch.long, device=items.device)
    place[order] = torch.arange(len(order), device=items.device)
    ordered = items.index_select(0, order)
    for start in range(0, len(states), tile[0]):
        users = slice(start, start + tile[0])
        left_out = _left_out(target[users], None if seen is None else seen[users], place)
        own = (states[users] @ items[target[users]].T).diagonal()
        ranks[users] = 1 + _count_better(states[users], ordered, own, left_out, cutoff, tile[1])
    return ranks


def _left_out(target: Tensor, seen: Tensor | None, place: Tensor) -> tuple[Tensor, Tensor]:
    """Users and places of what does not count, (M,) each, in the order of places: targets and seen items."""
    columns = target[:, None] if seen is None else torch.cat([target[:, None], seen.to(target.dtype)], dim=1)
    user, column = (columns > 0).nonzero(as_tuple=True)
    at = place[columns[user, column]]
    at, by_place = at.sort()
    return user[by_place], at


def _count_better(
    states: Tensor,
    ordered: Tensor,
    own: Tensor,
    left_out: tuple[Tensor, Tensor],
    cutoff: int | None,
    items_at_once: int,
) -> Tensor:
    """For each user the items that score at least `own`, no more than `cutoff` of them; (B,)."""
    counts = torch.zeros(len(states), dtype=torch.long, device=states.device)
    alive = torch.arange(len(states), device=states.device)
    row = alive.clone()  # of each user among those alive, −1 once dropped
    starts = range(0, len(ordered), items_at_once)
    edges = torch.searchsorted(left_out[1], torch.tensor([*starts, len(ordered)], device=states.device))
    for number, start in enumerate(starts):
        scores = states @ ordered[start : start + items_at_once].T
        inside = slice(*edges[number : number + 2].tolist())
        of, at = row[left_out[0][inside]], left_out[1][inside] - start
        scores[of[of >= 0], at[of >= 0]] = -torch.inf
        counts[alive] += (scores >= own[:, None]).sum(dim=1)
        if cutoff is None:
            continue
        stays = counts[alive] < cutoff
        if int(stays.sum()) < len(alive):
            states, own, alive = states[stays], own[stays], alive[stays]
            if not len(alive):
                break
            row.fill_(-1)
            row[alive] = torch.arange(len(alive), device=row.device)
    return counts if cutoff is None else counts.clamp_(max=cutoff)


def top_items(states: Tensor, items: Tensor, k: int, *, seen: Tensor | None = None) -> Tensor:
    """The k items of the highest scores, best first, (B, k) item_idx; 0 where no more are left.

    The k best lie in the k groups of items with the best maxima, so only these are sorted. Equal scores
    stand in the order of item_idx within a list. states: (B, D); items: (N+1, D); seen: (B, S) to leave
    out, 0 for none. Raises ValueError as `target_ranks`, and for a k that is not in 1…N.
    """
    n_items = len(items) - 1
    if not 1 <= k <= n_items:
        raise ValueError(f"k is {k}, the catalogue has {n_items} items: choose 1 to {n_items}")
    _check_finite(states, items)
    users_at_once = max(1, LIST_BYTES // (len(items) * items.element_size()))
    lists = [
        _top_of(states[start : start + users_at_once] @ items.T, k, seen, start)
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


def _check_finite(states: Tensor, items: Tensor) -> None:
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
