"""Retrieval of examples of both kinds against a loop, and the loss of rebuilt vectors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from reclib.kernels.retrieval import NONE, nearest_of_both, rebuilding_loss


def slow(
    query: np.ndarray, keys: np.ndarray, is_first: np.ndarray, k: int, allowed: np.ndarray
) -> list[list[int]]:
    rows = []
    for place, vector in enumerate(query):
        found: list[int] = []
        for kind, wanted in ((True, k - k // 2), (False, k // 2)):
            usable = [m for m in range(len(keys)) if is_first[m] == kind and allowed[place, m]]
            found += sorted(usable, key=lambda m: -float(vector @ keys[m]))[:wanted]
        found.sort(key=lambda m: float(vector @ keys[m]))
        rows.append([NONE] * (k - len(found)) + found)
    return rows


@pytest.mark.parametrize("k", [1, 4, 5, 30])
@pytest.mark.parametrize("share", [1.0, 0.3, 0.0])
def test_half_of_each_kind_nearest_last(k: int, share: float) -> None:
    generator = np.random.default_rng(k)
    query, keys = generator.normal(size=(7, 3)), generator.normal(size=(20, 3))
    is_first, allowed = generator.random(20) < 0.4, generator.random((7, 20)) < share
    found = nearest_of_both(
        torch.from_numpy(query),
        torch.from_numpy(keys),
        torch.from_numpy(is_first),
        k,
        allowed=torch.from_numpy(allowed),
    )
    assert found.tolist() == slow(query, keys, is_first, k, allowed)


def test_one_kind_alone_fills_its_half() -> None:
    keys = torch.eye(3)
    assert nearest_of_both(keys[:1], keys, torch.tensor([True] * 3), 4).tolist()[0][:2] == [NONE, NONE]


def test_rebuilding_counts_what_is_there() -> None:
    vectors = torch.tensor([[[1.0, 0.0], [0.0, 2.0]], [[3.0, 0.0], [0.0, 1.0]]])
    rebuilt = torch.tensor([[[2.0, 0.0], [5.0, 0.0]], [[-1.0, 0.0], [9.0, 9.0]]])
    is_there = torch.tensor([[True, True], [True, False]])
    assert float(rebuilding_loss(rebuilt, vectors, is_there)) == pytest.approx(1 - (1 + 0 - 1) / 3)
    assert float(rebuilding_loss(vectors * 4, vectors, is_there)) == pytest.approx(0, abs=1e-6)
    assert float(rebuilding_loss(rebuilt, vectors, torch.zeros(2, 2, dtype=torch.bool))) == 0
