"""Windows of the toy data set with a reasoning of made vectors, half of them about an item not chosen."""

from __future__ import annotations

import numpy as np

from reclib.data.dataset import Windows
from reclib.training.reasoned import ReasonedWindows

TEXT_WIDTH = 6


def examples_of(windows: Windows, n_items: int, *, n: int = 24, seed: int = 0) -> ReasonedWindows:
    """Examples spread over the windows; the reasoning is the text of the item, turned where not chosen."""
    generator = np.random.default_rng(seed)
    rows = np.linspace(0, len(windows) - 1, n).astype(np.int64)
    is_chosen = np.arange(n) % 2 == 0
    others = windows.target_idx[rows] % n_items + 1
    items = np.where(is_chosen, windows.target_idx[rows], others).astype(np.int32)
    text = generator.normal(size=(n_items + 1, TEXT_WIDTH)).astype(np.float32)
    text[0] = 0
    reasoning = np.where(is_chosen[:, None], text[items], -text[items])
    return ReasonedWindows(rows, windows.history[rows], items, is_chosen, reasoning, text)
