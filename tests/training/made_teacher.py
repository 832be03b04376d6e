"""A teacher of the toy data set who knows the next item, and one who knows nothing."""

from __future__ import annotations

import numpy as np

from reclib.data.dataset import Windows
from reclib.training.teacher import Teacher

K, WIDTH = 4, 6


def teacher_of(windows: Windows, n_items: int, *, knows: bool = True, seed: int = 0) -> Teacher:
    """Lists of K items drawn at random; who knows puts the target first, with all confidence."""
    generator = np.random.default_rng(seed)
    items = np.stack(
        [generator.choice(np.arange(1, n_items + 1), K, replace=False) for _ in windows.target_idx]
    )
    distance = np.full(items.shape, 3.0, dtype=np.float32)
    if knows:
        items = [
            [target, *(i for i in row if i != target)][:K]
            for target, row in zip(windows.target_idx, items, strict=True)
        ]
        items = np.array(items)
        distance[:, 0] = 0.0
    vectors = generator.normal(size=(n_items + 1, WIDTH)).astype(np.float32)
    vectors[0] = 0
    return Teacher(items.astype(np.int32), distance, vectors, windows.fingerprint, "made")
