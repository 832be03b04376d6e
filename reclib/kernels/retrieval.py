"""The examples nearest to a query, as many of each of two kinds; and how well vectors are rebuilt."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

NONE = -1  # where there is no example


def nearest_of_both(
    query: Tensor, keys: Tensor, is_first: Tensor, k: int, *, allowed: Tensor | None = None
) -> Tensor:
    """Places of the ⌈k/2⌉ examples of one kind and ⌊k/2⌋ of the other with the largest q·key, nearest last.

    = for each query: the k best by q·key, ⌈k/2⌉ among those with is_first and ⌊k/2⌋ among the others

    query: (B, E); keys: (M, E); is_first: (M,) bool; allowed: (B, M) bool, where an example may be used.
    Returns (B, k) int64; NONE in front where fewer are allowed. Source: [LLM-CF], public code.
    """
    scores = query @ keys.T
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -torch.inf)
    best, places = [], []
    for kind, wanted in ((is_first, k - k // 2), (~is_first, k // 2)):
        of_kind = kind.nonzero()[:, 0]
        found = scores[:, of_kind].topk(min(wanted, len(of_kind)), dim=1)
        best.append(found.values)
        places.append(of_kind[found.indices])
    score, place = torch.cat(best, dim=1), torch.cat(places, dim=1)
    place = place.masked_fill(score == -torch.inf, NONE)
    order = score.argsort(dim=1, stable=True)
    missing = place.new_full((len(query), k - place.shape[1]), NONE)
    return torch.cat([missing, place.gather(1, order)], dim=1)


def rebuilding_loss(rebuilt: Tensor, vectors: Tensor, is_there: Tensor) -> Tensor:
    """1 − mean over the vectors that are there of cos(rebuilt, vector); 0 where there is none.

    rebuilt, vectors: (B, K, E); is_there: (B, K) bool. Returns a scalar. Source: [LLM-CF], public code.
    """
    similarity = cosine_similarity(rebuilt, vectors, dim=-1) * is_there
    n_there = is_there.sum()
    return (n_there - similarity.sum()) / n_there.clamp_min(1)
