"""Where items occur in training sequences, and what stands around them there."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from reclib.data.cooccurrence import training_sequences
from reclib.data.dataset import Windows
from reclib.schema import PAD_IDX


class ItemContexts(NamedTuple):
    """The n training interactions, and the places of each item among them.

    user, item_idx: (n,) those of a user together, oldest first; place: (n,) rows of both, by item
    first, counts: (N+1,) an item's run in `place`
    """

    user: Tensor
    item_idx: Tensor
    place: Tensor
    first: Tensor
    counts: Tensor

    def to(self, device: torch.device | str) -> ItemContexts:
        """The same on another device."""
        return ItemContexts(*(values.to(device) for values in self))

    def draw(
        self, item_idx: Tensor, n_contexts: int, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Up to `n_contexts` different occurrences of items, (M,) → places and which are there, (M, k) each.

        A run of the item's occurrences, in the random order of `place`, from a drawn one on; without a
        generator from the first on.
        """
        count = self.counts[item_idx][:, None]
        step = torch.arange(n_contexts, device=count.device)
        start = torch.zeros_like(count)
        if generator is not None:
            start = (torch.rand(count.shape, generator=generator, device=count.device) * count).long()
        run = self.first[item_idx][:, None] + (start + step) % count.clamp(min=1)
        return self.place[run.clamp(max=max(0, len(self.place) - 1))], step < count

    def around(self, place: Tensor, reach: int) -> Tensor:
        """The `reach` items before and after each place, (...) → (..., 2 · reach); 0 where there is none.

        The item of the place itself is left out, also where it occurs once more.
        """
        offset = torch.arange(-reach, reach + 1, device=place.device)
        found = self._items(place, offset[offset != 0])
        return found.masked_fill(found == self.item_idx[place][..., None], PAD_IDX)

    def up_to(self, place: Tensor, length: int, *, is_backward: Tensor) -> Tensor:
        """Histories that end with the item of each place, (...) → (..., length), padded on the left.

        Forward: what the user did before; where `is_backward` (...), what came after, latest first.
        """
        back = torch.arange(length - 1, -1, -1, device=place.device)
        return self._items(place, torch.where(is_backward[..., None], back, -back))

    def _items(self, place: Tensor, offset: Tensor) -> Tensor:
        """Items at an offset from places; 0 beyond the user's sequence."""
        row = place[..., None] + offset
        inside = row.clamp(0, max(0, len(self.item_idx) - 1))
        is_there = (row == inside) & (self.user[inside] == self.user[place][..., None])
        return torch.where(is_there, self.item_idx[inside], PAD_IDX)


def item_contexts(windows: Windows, n_items: int, generator: np.random.Generator) -> ItemContexts:
    """The contexts of training windows; the generator shuffles the occurrences of each item."""
    user, item_idx = training_sequences(windows)
    place = generator.permutation(len(item_idx))
    place = place[np.argsort(item_idx[place], kind="stable")]
    count = np.bincount(item_idx, minlength=n_items + 1)
    first = np.cumsum(count) - count
    return ItemContexts(*(torch.from_numpy(values) for values in (user, item_idx, place, first, count)))
