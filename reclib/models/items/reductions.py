"""Text embeddings brought to the width of item vectors, to start a table of IDs from.

All take (N+1, E) with a row of zeros for padding and give (N+1, d_model) float32 with the same. Texts are
first scaled to a mean length of one, so that encoders of any scale start a table alike; [FAERec]'s are unit
vectors. The mean over items is taken off: what all items share tells none from another.
"""

from __future__ import annotations

import numpy as np

from reclib.schema import PAD_IDX, InputError


def pca(text: np.ndarray, d_model: int) -> np.ndarray:
    """Scores on the first d_model principal components, x ↦ (x − x̄) V. Source: [FAERec] §4.1."""
    centred = _centred(text, d_model)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    directions = vectors[:, ::-1][:, :d_model]  # of the largest variance first
    # An eigenvector's sign is free: the largest entry of each is made positive, on every machine alike.
    signs = np.sign(directions[np.abs(directions).argmax(axis=0), np.arange(d_model)])
    return _with_padding(centred @ (directions * signs))


def truncated(text: np.ndarray, d_model: int) -> np.ndarray:
    """The first d_model dimensions, as encoders trained for it allow."""
    return _with_padding(_centred(text, d_model)[:, :d_model])


def largest_variance(text: np.ndarray, d_model: int) -> np.ndarray:
    """The d_model dimensions of the largest variance over items, in their order."""
    centred = _centred(text, d_model)
    kept = np.sort(np.argsort(-(centred**2).mean(axis=0), kind="stable")[:d_model])
    return _with_padding(centred[:, kept])


def _centred(text: np.ndarray, d_model: int) -> np.ndarray:
    rows = np.asarray(text, dtype=np.float64)[PAD_IDX + 1 :]
    if d_model > rows.shape[1]:
        raise InputError(
            f"text embeddings have {rows.shape[1]} dimensions, fewer than the d_model of {d_model}: lower "
            "backbone.d_model or take a wider encoder"
        )
    bad = ~np.isfinite(rows).all(axis=1)
    if bad.any():
        raise InputError(f"the text embedding of item_idx {int(bad.argmax()) + 1} is not finite")
    length = np.linalg.norm(rows, axis=1).mean()
    return (rows - rows.mean(axis=0)) / (length if length > 0 else 1.0)


def _with_padding(rows: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros_like(rows[:1]), rows]).astype(np.float32)
