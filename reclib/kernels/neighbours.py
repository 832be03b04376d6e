"""Nearest neighbours by cosine among the rows of one matrix, in blocks."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

BLOCK_ENTRIES = 2**24  # similarities held at once, 64 MB in float32


def nearest_by_cosine(vectors: Tensor, k: int, *, entries: int = BLOCK_ENTRIES) -> Tensor:
    """The k rows most similar to each row, itself left out, most similar first.

    vectors: (U, E); a row of zeros has similarity 0 to all. Returns (U, min(k, U − 1)) int64.
    Holds a block of `entries` similarities at a time and never a (U, U) matrix.
    """
    n_rows = len(vectors)
    k = min(k, n_rows - 1)
    if k < 1:
        return torch.zeros((n_rows, 0), dtype=torch.int64, device=vectors.device)
    unit = normalize(vectors, dim=1)
    found = []
    for rows in torch.arange(n_rows, device=vectors.device).split(max(1, entries // n_rows)):
        similarity = unit[rows] @ unit.T
        similarity[torch.arange(len(rows), device=rows.device), rows] = -torch.inf
        found.append(similarity.topk(k, dim=1).indices)
    return torch.cat(found)
