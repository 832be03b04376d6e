"""InfoNCE by cosine, for pairs of vectors that should agree."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cross_entropy, normalize


def info_nce(anchors: Tensor, candidates: Tensor, positive: Tensor, *, temperature: float) -> Tensor:
    """−log of the softmax of cos(anchor, candidate) / τ at the candidate that belongs to each anchor, (P,).

    anchors: (P, D); candidates: (K, D), distinct, all but one of them the others an anchor is told from
    positive: (P,) int64 rows of `candidates`; with K = 1 the loss is 0. Unreduced. Vectors of zeros have
    cosine 0 to all.
    """
    similarity = normalize(anchors, dim=1) @ normalize(candidates, dim=1).T
    return cross_entropy(similarity / temperature, positive, reduction="none")
