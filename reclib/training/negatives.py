"""Items drawn as negatives: evenly among those a window does not hold, or once for a whole batch."""

from __future__ import annotations

import torch
from torch import Tensor

from reclib.schema import PAD_IDX


def unseen_items(seen: Tensor, n_draws: int, *, n_items: int, generator: torch.Generator) -> Tensor:
    """Items drawn evenly among those that are not seen, with replacement.

    The r-th unseen item is r plus the number of seen items before it, so nothing is drawn twice over. Where
    every item is seen, all may be drawn. seen: (B, M) item_idx, 0 for none. Returns (B, n_draws) int64.
    """
    ordered = seen.sort(dim=1).values
    is_extra = ordered == PAD_IDX
    is_extra[:, 1:] |= ordered[:, 1:] == ordered[:, :-1]
    n_free = n_items - (~is_extra).sum(dim=1, keepdim=True)  # (B, 1)
    is_extra |= n_free < 1
    n_free = torch.where(n_free < 1, n_items, n_free)
    beyond = n_items + 1
    distinct = ordered.masked_fill(is_extra, beyond).sort(dim=1).values
    unseen_before = distinct - 1 - torch.arange(seen.shape[1], device=seen.device)
    unseen_before = unseen_before.masked_fill(distinct == beyond, beyond)
    drawn = torch.rand(len(seen), n_draws, generator=generator, device=seen.device)
    place = (drawn * n_free).long().minimum(n_free - 1)
    return place + 1 + torch.searchsorted(unseen_before, place, right=True)


def shared_items(
    n_draws: int, *, n_items: int, generator: torch.Generator, chances: Tensor | None = None
) -> Tensor:
    """Items drawn once for a batch, with replacement, (n_draws,) int64.

    chances: (N,) cumulative probabilities of items 1…N; None draws evenly.
    """
    drawn = torch.rand(n_draws, generator=generator, device=generator.device)
    if chances is None:
        return 1 + (drawn * n_items).long().clamp_(max=n_items - 1)
    return 1 + torch.searchsorted(chances, drawn.to(chances.dtype), right=True).clamp_(max=n_items - 1)
