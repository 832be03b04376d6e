"""Negatives of preference tuning: titles that the user has not met, drawn once for all epochs."""

from __future__ import annotations

import numpy as np
import torch

from reclib.config import PreferenceConfig
from reclib.data.dataset import Dataset, Windows
from reclib.schema import InputError
from reclib.seeding import torch_generator
from reclib.text.ragged import row_starts, spans
from reclib.text.tokenization import ItemTokens
from reclib.text.trie import ItemTrie
from reclib.training.negatives import unseen_items

WINDOWS_AT_ONCE = 1024


def draw_negatives(
    dataset: Dataset,
    windows: Windows,
    trie: ItemTrie,
    item_tokens: ItemTokens,
    config: PreferenceConfig,
    *,
    seed: int,
) -> np.ndarray:
    """Negatives of each window, (W, n_negatives) int64 item_idx, drawn evenly, none of them twice.

    What is drawn is a title: items that share one answer alike, and the first of them stands for all. Left
    out are the titles of the window's history and target and, with `unseen_by` "user", of every training
    window of its user; validation and test windows are not looked at.

    Raises InputError where fewer titles are left than are to be drawn.
    """
    title_of, first_item = _titles(trie, item_tokens)
    generator = torch_generator(seed, "preference negatives")
    drawn = np.empty((len(windows), config.n_negatives), np.int64)
    users = _UserTitles(dataset.train, title_of) if config.unseen_by == "user" else None
    for first in range(0, len(windows), WINDOWS_AT_ONCE):
        rows = np.arange(first, min(first + WINDOWS_AT_ONCE, len(windows)))
        part = windows.take(rows)
        seen = title_of[np.column_stack([part.history, part.target_idx])]
        if users is not None:
            seen = np.hstack([seen, users.of(part)])
        drawn[rows] = _draw(seen, config.n_negatives, n_titles=len(first_item) - 1, generator=generator)
    return first_item[drawn]


def _titles(trie: ItemTrie, item_tokens: ItemTokens) -> tuple[np.ndarray, np.ndarray]:
    """Title 1…G of each item_idx, (N+1,), and the first item of each title, (G+1,); 0 is padding's."""
    before_end = trie.path(item_tokens)[item_tokens.start[2:] - 1]
    _, first, title = np.unique(before_end, return_index=True, return_inverse=True)
    return np.append(0, title + 1), np.append(0, first + 1)


class _UserTitles:
    """The titles that each user of some windows has there."""

    def __init__(self, windows: Windows, title_of: np.ndarray) -> None:
        self._users, user = np.unique(windows.user_id.astype(str), return_inverse=True)
        titles = title_of[np.column_stack([windows.history, windows.target_idx])]
        pairs = np.unique(np.repeat(user, titles.shape[1]) * len(title_of) + titles.ravel())
        self._titles = pairs % len(title_of)
        self._start = row_starts(np.bincount(pairs // len(title_of), minlength=len(self._users)))

    def of(self, windows: Windows) -> np.ndarray:
        """Titles of each window's user, padded with 0."""
        user = np.searchsorted(self._users, windows.user_id.astype(str))
        first, length = self._start[user], self._start[user + 1] - self._start[user]
        padded = np.zeros((len(windows), length.max(initial=0)), np.int64)
        padded[np.arange(padded.shape[1]) < length[:, None]] = self._titles[spans(first, length)]
        return padded


def _draw(seen: np.ndarray, n_draws: int, *, n_titles: int, generator: torch.Generator) -> np.ndarray:
    """Distinct titles out of 1…G that are not seen, one column after the other; seen: (B, M), 0 is none."""
    ordered = np.sort(seen, axis=1)
    is_first = np.diff(ordered, axis=1, prepend=0) > 0
    n_left = n_titles - is_first.sum(axis=1)
    if len(seen) and n_left.min() < n_draws:
        raise InputError(
            f"a user has met all but {n_left.min()} of {n_titles} titles, and n_negatives is {n_draws}: "
            "lower it, or set preference.unseen_by to 'window'"
        )
    met = torch.from_numpy(np.where(is_first, ordered, 0))
    for _ in range(n_draws):
        drawn = unseen_items(met, 1, n_items=n_titles, generator=generator)
        met = torch.cat([met, drawn], dim=1)
    return met[:, seen.shape[1] :].numpy()
