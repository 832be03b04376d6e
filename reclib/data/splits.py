"""Windows of a history and its target, and their division into training, validation and test."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from reclib.data.dataset import Windows
from reclib.schema import InputError


class Sequences(NamedTuple):
    """Interactions in order: the n rows of a user lie together, oldest first.

    user_id: (n,) the source's identifiers; item_idx: (n,) int32; timestamp: (n,) float64, NaN where unknown
    """

    user_id: np.ndarray
    item_idx: np.ndarray
    timestamp: np.ndarray

    def where(self, keep: np.ndarray) -> Sequences:
        """The rows where a mask is true."""
        return Sequences(self.user_id[keep], self.item_idx[keep], self.timestamp[keep])


def sliding_windows(sequences: Sequences, *, length: int, min_length: int = 5) -> Windows:
    """Every window of `length` consecutive items of a user; the last item of each is its target.

    A user with n ≥ `length` items gives n − length + 1 windows, one with fewer but at least `min_length`
    one window of all, one with fewer than that (or with a single item) none. The order is by user.
    Source: [MSL] §5.1.1.
    """
    start, size, place = _runs(sequences.user_id)
    is_target = (place >= np.minimum(length, size) - 1) & (size >= max(2, min_length))
    return _windows_at(sequences, np.flatnonzero(is_target), start, length - 1)


def split_by_time(
    windows: Windows, parts: tuple[int, int, int] = (8, 1, 1)
) -> tuple[Windows, Windows, Windows]:
    """Training, validation and test windows: consecutive parts in the order of the targets' times (stable).

    A part ends at ⌊W · (parts up to it) / (all parts)⌋, which are the published sizes of [MSL]'s sets.
    Raises InputError where a time is unknown or a part is empty. Source: [MSL] §5.1.1.
    """
    unknown = np.isnan(windows.timestamp)
    if unknown.any():
        raise InputError(
            f"{int(unknown.sum()):,} of {len(windows):,} targets have no timestamp, so windows cannot be "
            f'split by time; set split="leave_one_out"'
        )
    first, second, _ = np.cumsum(parts) * len(windows) // sum(parts)
    if not 0 < first < second < len(windows):
        raise InputError(
            f"{len(windows)} windows are too few to split {parts}; lower history_length or min_interactions, "
            f"or give more data"
        )
    train, valid, test = np.split(np.argsort(windows.timestamp, kind="stable"), [first, second])
    return windows.take(train), windows.take(valid), windows.take(test)


def leave_one_out(
    sequences: Sequences, *, length: int, min_length: int = 5
) -> tuple[Windows, Windows, Windows]:
    """Training, validation and test windows: a user's last two items are the targets of test and validation.

    Training windows slide over what is before these two (`sliding_windows` from two items on).
    A user with fewer than max(3, `min_length`) items gives none. Raises InputError where a part is empty.
    """
    start, size, place = _runs(sequences.user_id)
    is_kept = size >= max(3, min_length)
    test, valid = (
        _windows_at(sequences, np.flatnonzero(is_kept & (size - place == back)), start, length - 1)
        for back in (1, 2)
    )
    train = sliding_windows(sequences.where(is_kept & (size - place > 2)), length=length, min_length=2)
    if not (len(train) and len(test)):
        raise InputError(
            f"no user has the {max(4, min_length)} interactions that leave-one-out needs; "
            f"lower min_interactions, or give more data"
        )
    return train, valid, test


def _runs(user_id: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each row, the first row of its user, how many rows the user has, and the row's place among them."""
    is_first = np.ones(len(user_id), dtype=bool)
    is_first[1:] = user_id[1:] != user_id[:-1]
    first = np.flatnonzero(is_first)
    size = np.diff(first, append=len(user_id))
    start = np.repeat(first, size)
    return start, np.repeat(size, size), np.arange(len(user_id)) - start


def _windows_at(sequences: Sequences, target: np.ndarray, start: np.ndarray, history_length: int) -> Windows:
    """Windows whose targets are the given rows; one column of histories at a time bounds the memory."""
    history = np.zeros((len(target), history_length), dtype=np.int32)
    for back in range(1, history_length + 1):
        row = target - back
        is_there = row >= start[target]
        history[is_there, -back] = sequences.item_idx[row[is_there]]
    return Windows(
        user_id=sequences.user_id[target],
        history=history,
        target_idx=sequences.item_idx[target].astype(np.int32),
        timestamp=sequences.timestamp[target].astype(np.float64),
    )
