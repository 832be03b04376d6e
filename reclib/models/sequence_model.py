"""A sequence recommender: items as vectors, an encoder of histories, and scores as inner products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from reclib.schema import PAD_IDX

N_PARTS = 8  # of histories that are read in like lengths


class ItemModule(Protocol):
    """Items as vectors.

    n_items: N; forward: item_idx of any shape (...) → (..., D), zeros for padding; matrix: (N+1, D), row 0
    zero. Where a vector is dear to make, forward makes those of the distinct items only. A module that
    scores with other vectors than those it reads has a method `scoring`, the rows of `matrix`, beside
    `forward`.
    """

    n_items: int

    def __call__(self, item_idx: Tensor) -> Tensor: ...  # noqa: D102
    def matrix(self) -> Tensor: ...  # noqa: D102


class SequenceModel(nn.Module):
    """What every method trains and every evaluation ranks with: score = user_states @ item_matrix.T.

    items: an `ItemModule`; backbone: an encoder of `models.backbones`. Histories are (B, S) item_idx, padded
    with 0 on the left, oldest first. A method that scores otherwise overrides `states`, `user_states`,
    `item_vectors` and `item_matrix` together; what is trained beside the loss, such as a projection of an
    alignment, is a submodule too, so that the optimiser and the checkpoints know of it.
    """

    def __init__(self, items: nn.Module, backbone: nn.Module) -> None:
        super().__init__()
        self.items = items
        self.backbone = backbone

    @property
    def n_items(self) -> int:
        """N, items of the catalogue."""
        return cast(Any, self.items).n_items

    @property
    def is_causal(self) -> bool:
        """Whether a state sees earlier items only; otherwise items are predicted in place of a mask."""
        return bool(cast(Any, self.backbone).is_causal)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    def states(self, history: Tensor, *, last_only: bool = False) -> Tensor:
        """States of the positions, (B, S, D), or (B, D) of the last one; history: (B, S) int64."""
        return self.backbone(self.items(history), history != PAD_IDX, last_only=last_only)

    def masked_states(self, sequence: Tensor, masked: Tensor, *, last_only: bool = False) -> Tensor:
        """States where the mask vector stands in place of some items; of the last position if asked for.

        sequence: (B, S); masked: (B, S) bool, may be true at padding, which then counts as an item.
        Returns (B, S, D) or (B, D). For a backbone that is not causal: it has a `mask_vector` (D,).
        """
        mask_vector = cast(Tensor, self.backbone.mask_vector)
        vectors = torch.where(masked[..., None], mask_vector, self.items(sequence))
        return self.backbone(vectors, (sequence != PAD_IDX) | masked, last_only=last_only)

    def user_states(self, history: Tensor) -> Tensor:
        """The state that scores the next item, (B, D).

        Without causality: the history moved one place to the left, so that the mask stands last; the oldest
        item falls out where the backbone has no more positions.
        """
        if self.is_causal:
            return self.states(history, last_only=True)
        sequence = torch.cat([history, torch.full_like(history[:, :1], PAD_IDX)], dim=1)
        sequence = sequence[:, -cast(Any, self.backbone).max_length :]
        masked = torch.zeros_like(sequence, dtype=torch.bool)
        masked[:, -1] = True
        return self.masked_states(sequence, masked, last_only=True)

    def item_vectors(self, item_idx: Tensor) -> Tensor:
        """What scores some items: (...) → (..., D); the rows of `item_matrix`, in training as well."""
        score_vectors = getattr(self.items, "scoring", self.items)
        return score_vectors(item_idx)

    def item_matrix(self) -> Tensor:
        """What scores all items, (N+1, D); row 0 is zero."""
        return cast(Any, self.items).matrix()


def states_in_like_lengths(
    read: Callable[[Tensor], Tensor], history: Tensor, *, n_parts: int = N_PARTS
) -> Tensor:
    """`read(history)`, (B, S) → (B, D), in parts of like length, each cut to its longest history.

    For histories that no batch has put together by length: what is read of them is little more than items.
    """
    length = (history != PAD_IDX).sum(dim=1)
    order = length.argsort()
    parts = [
        read(history[rows, -max(1, int(length[rows[-1]])) :]) for rows in order.chunk(n_parts) if len(rows)
    ]
    return torch.cat(parts)[order.argsort()] if parts else read(history)
