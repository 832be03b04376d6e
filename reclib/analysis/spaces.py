"""How alike two embeddings of the same items are: neighbourhoods, linear CKA, cosine, and a picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from reclib.kernels.neighbours import nearest_by_cosine
from reclib.schema import InputError
from reclib.seeding import derived_seed

PERPLEXITY = 30.0
_BLOCK = 4096  # items whose neighbour lists are compared at once


def cosine(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cosine of the two vectors of each item, (N,); 0 where one of them is zero.

    first, second: (N, D), of one width. Raises InputError for different shapes.
    """
    _check(first, second, same_width=True)
    dots = np.einsum("nd,nd->n", first, second, dtype=np.float64)
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return np.divide(dots, lengths, out=np.zeros_like(dots), where=lengths > 0)


def knn_overlap(first: np.ndarray, second: np.ndarray, *, k: int) -> np.ndarray:
    """Jaccard index of each item's k nearest neighbours by cosine in the two spaces, (N,).

    |A ∩ B| / |A ∪ B| = c / (2k − c) for c common neighbours. first: (N, D), second: (N, E); k is lowered to
    N − 1, and an item alone has 1. In blocks, without a similarity of all pairs. Raises InputError for
    different numbers of items.
    """
    _check(first, second)
    near = [
        nearest_by_cosine(torch.from_numpy(np.ascontiguousarray(rows, dtype=np.float32)), k)
        for rows in (first, second)
    ]
    k = near[0].shape[1]
    if not k:
        return np.ones(len(first))
    blocks = zip(near[0].split(_BLOCK), near[1].split(_BLOCK), strict=True)
    common = torch.cat([(one[:, :, None] == two[:, None, :]).sum(dim=(1, 2)) for one, two in blocks])
    common = common.double()
    return (common / (2 * k - common)).numpy()


def linear_cka(first: np.ndarray, second: np.ndarray) -> float:
    """Linear centred kernel alignment, between 0 and 1: ‖XᵀY‖² / (‖XᵀX‖ ‖YᵀY‖) in Frobenius norms.

    X (N, D), Y (N, E): centred. Rotation and one scale for all dimensions leave it as it is; no (N, N)
    kernel is made. 0 where all items of a space have one vector. Raises InputError for different numbers of
    items. Source: Kornblith et al., ICML 2019, §3.
    """
    _check(first, second)
    x, y = (rows.astype(np.float64) - rows.mean(axis=0, dtype=np.float64) for rows in (first, second))
    own = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    return float(np.linalg.norm(x.T @ y) ** 2 / own) if own else 0.0


def tsne(points: np.ndarray, *, seed: int) -> np.ndarray:
    """Coordinates (N, 2) of points (N, D) by t-SNE, from the first two principal components; N ≥ 4.

    Perplexity 30, lowered where there are few points. Distances between far groups mean nothing.
    """
    from sklearn.manifold import TSNE

    if len(points) < 4:
        raise InputError(f"t-SNE of {len(points)} points: give it at least 4")
    perplexity = min(PERPLEXITY, (len(points) - 1) / 3)
    state = derived_seed(seed, "t-SNE") % 2**32
    flat = TSNE(perplexity=perplexity, init="pca", random_state=state, n_jobs=1).fit_transform(
        np.asarray(points, dtype=np.float32)
    )
    return np.asarray(flat)


def embedding_views(model: Any) -> tuple[np.ndarray, np.ndarray]:
    """The ID and the LLM embedding of every item in one width, (N+1, D) each, row 0 padding.

    model: says what its two spaces are by `embedding_views()` → two tensors, itself or its item module.
    Raises InputError for a model of one space.
    """
    for part in (model, model.items):
        if hasattr(part, "embedding_views"):
            id_rows, llm_rows = (view.detach().float().cpu().numpy() for view in part.embedding_views())
            return id_rows, llm_rows
    raise InputError(f"{type(model.items).__name__} has no embedding of texts beside that of IDs")


def _check(first: np.ndarray, second: np.ndarray, *, same_width: bool = False) -> None:
    """Refuse spaces that are not of the same items."""
    if len(first) != len(second) or (same_width and first.shape != second.shape):
        raise InputError(
            f"spaces of shapes {first.shape} and {second.shape}: give both embeddings of the same items in"
            " one order" + (" and one width" if same_width else "")
        )
