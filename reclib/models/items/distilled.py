"""A trained vector for each item, beside a teacher's vector brought to its width."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from reclib.models.items.ids import IdItems
from reclib.schema import PAD_IDX


class DistilledItems(nn.Module):
    """e_i = o_i + w (W z_i + b): o (N+1, D) and the projection W, b are trained, the teacher's z is not.

    o keeps what the data say of an item beside what the teacher says. With w = 0 it is o. Padding is zero.

    offsets: o; teacher: z, (N+1, E), row 0 padding, see `even_scale`; weight: w
    Source: [DLLM2Rec], public code.
    """

    teacher: Tensor

    def __init__(self, offsets: IdItems, teacher: np.ndarray, *, weight: float) -> None:
        super().__init__()
        self.n_items = offsets.n_items
        self.offsets = offsets
        self.weight = weight
        self.register_buffer("teacher", torch.from_numpy(teacher).float(), persistent=False)
        self.projection = nn.Linear(teacher.shape[1], offsets.matrix().shape[1])

    def forward(self, item_idx: Tensor) -> Tensor:
        """Item vectors, (...) → (..., D); zeros for padding. Each distinct item is projected once."""
        distinct, place = item_idx.unique(return_inverse=True)
        return embedding(place, self._rows(distinct, self.offsets(distinct)))

    def matrix(self) -> Tensor:
        """The vectors of all items, (N+1, D); row 0 is zero."""
        every = torch.arange(self.n_items + 1, device=self.teacher.device)
        return self._rows(every, self.offsets.matrix())

    def embedding_views(self) -> tuple[Tensor, Tensor]:
        """The trained part o and the projection W z + b of all items, (N+1, D) each; rows 0 are zero."""
        every = torch.arange(self.n_items + 1, device=self.teacher.device)
        return self.offsets.matrix(), self._projected(every)

    def _rows(self, item_idx: Tensor, offsets: Tensor) -> Tensor:
        return offsets + self.weight * self._projected(item_idx)

    def _projected(self, item_idx: Tensor) -> Tensor:
        return self.projection(self.teacher[item_idx]) * (item_idx != PAD_IDX)[:, None]


def even_scale(vectors: np.ndarray) -> np.ndarray:
    """Vectors less their mean over items, over the root mean square of what is left; (N+1, E) float32.

    Hidden states of a language model share a long common part, and their scale differs by model: without
    both a projection starts alike from any of them. Row 0 stays zero; vectors that are all equal become 0.
    """
    rows = np.asarray(vectors, dtype=np.float64)[PAD_IDX + 1 :]
    rows = rows - rows.mean(axis=0)
    scale = np.sqrt((rows**2).mean())
    rows = rows / scale if scale > 1e-9 * np.abs(vectors).max(initial=1.0) else np.zeros_like(rows)
    return np.concatenate([np.zeros_like(rows[:1]), rows]).astype(np.float32)
