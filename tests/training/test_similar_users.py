"""Similar users are those whose items read alike."""

from __future__ import annotations

import numpy as np
import torch

from reclib.data.dataset import Windows
from reclib.training.similar_users import similar_users


def made(histories: list[list[int]], target: list[int], users: list[str]) -> Windows:
    history = np.array([[0] * (4 - len(one)) + one for one in histories], dtype=np.int32)
    return Windows(np.array(users), history, np.array(target, dtype=np.int32), np.zeros(len(users)))


TEXT = np.zeros((7, 2), dtype=np.float32)
TEXT[1:4] = (1.0, 0.1)  # items 1–3 read alike, and so do 4–6
TEXT[4:] = (0.1, 1.0)


def test_users_of_one_taste_find_each_other() -> None:
    histories = [[1], [1, 2], [4], [4, 5], [3, 1], [6]]
    windows = made(histories, [2, 3, 5, 6, 2, 4], ["a", "a", "b", "b", "c", "d"])
    users = similar_users(windows, TEXT, 1)
    assert users.user_of_row.tolist() == [0, 0, 1, 1, 2, 3]
    assert users.similar.tolist() == [[2], [3], [0], [1]]
    assert users.histories.tolist()[:2] == [[0, 0, 1, 2], [0, 0, 4, 5]]  # of each user's last window


def test_they_are_the_nearest_by_the_mean_text_of_their_items() -> None:
    generator = np.random.default_rng(0)
    text = generator.normal(size=(31, 5)).astype(np.float32)
    histories = [generator.integers(1, 31, size=generator.integers(1, 5)).tolist() for _ in range(25)]
    target = generator.integers(1, 31, size=25).tolist()
    users = similar_users(made(histories, target, [f"u{row}" for row in range(25)]), text, 4)
    mean = np.stack([text[[*one, last]].mean(axis=0) for one, last in zip(histories, target, strict=True)])
    unit = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -np.inf)
    np.testing.assert_array_equal(users.similar.numpy(), np.argsort(-similarity, axis=1)[:, :4])


def test_a_user_alone_resembles_nobody() -> None:
    users = similar_users(made([[1], [1, 2]], [2, 3], ["a", "a"]), TEXT, 3)
    assert users.similar.shape == (1, 0)
    assert users.to(torch.device("cpu")).histories.shape == (1, 4)
