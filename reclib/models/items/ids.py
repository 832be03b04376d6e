"""A trained vector for each item."""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from reclib.schema import PAD_IDX, InputError

ID_STD = 0.02  # of the normal distribution that vectors start from; that of BERT4Rec's code


class IdItems(nn.Module):
    """e_i = E[i], E (N+1, D) trained; row 0, padding, is zero and stays so.

    Vectors start from N(0, 0.02²), or from the rows of `from_matrix`.
    """

    def __init__(self, n_items: int, d_model: int) -> None:
        super().__init__()
        self.n_items = n_items
        # padding_idx keeps the gradient of row 0 at zero, so that no optimiser moves it
        self.table = nn.Embedding(n_items + 1, d_model, padding_idx=PAD_IDX)
        with torch.no_grad():
            self.table.weight[1:].normal_(std=ID_STD)

    @classmethod
    def from_matrix(cls, matrix: np.ndarray) -> Self:
        """Vectors that start from the rows of (N+1, D), such as `pca` gives; row 0 must be zero.

        Raises InputError for a value that is not finite and for a padding row that is not zero.
        """
        bad = ~np.isfinite(matrix).all(axis=1)
        if bad.any():
            raise InputError(f"the starting vector of item_idx {int(bad.argmax())} is not finite")
        if matrix[PAD_IDX].any():
            raise InputError("row 0 of the starting vectors is padding: it must be zero")
        items = cls(len(matrix) - 1, matrix.shape[1])
        with torch.no_grad():
            items.table.weight.copy_(torch.from_numpy(np.asarray(matrix, dtype=np.float32)))
        return items

    def forward(self, item_idx: Tensor) -> Tensor:
        """Item vectors, (...) → (..., D); zeros for padding."""
        return self.table(item_idx)

    def matrix(self) -> Tensor:
        """The vectors of all items, (N+1, D); row 0 is zero, and no loss gives it a gradient."""
        return self.table.weight


class TextStartedItems(IdItems):
    """An ID table that keeps the text vectors it started from, so that both spaces can be compared."""

    start: Tensor

    @classmethod
    def from_matrix(cls, matrix: np.ndarray) -> Self:
        """As `IdItems.from_matrix`; the rows are kept too, and are no part of what training writes."""
        items = super().from_matrix(matrix)
        items.register_buffer("start", items.table.weight.detach().clone(), persistent=False)
        return items

    def embedding_views(self) -> tuple[Tensor, Tensor]:
        """The ID embedding e_i and what it started from, (N+1, D) each."""
        return self.table.weight, self.start
