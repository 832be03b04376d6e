"""Windows of a history and its target, and their division into training, validation and test."""

from __future__ import annotations

import numpy as np
import pandas as pd

from reclib.data.dataset import Windows
from reclib.schema import PAD_IDX, TIMESTAMP, USER_ID, InputError


def sliding_windows(
    interactions: pd.DataFrame, *, history_length: int, min_length: int
) -> tuple[Windows, int]:
    """Every window of `history_length` + 1 consecutive items of a user.

    A user with fewer items, but at least `min_length`, gives one window of all of them.
    interactions: grouped by user, oldest first, with user_id, user (a code), item_idx and timestamp.
    Returns the windows, by user, and the number of users that were too short. Source: [MSL] §5.1.1.
    """
    start, length = _runs(interactions["user"].to_numpy())
    position = np.arange(len(interactions)) - np.repeat(start, length)
    lengths = np.repeat(length, length)
    is_target = (position >= np.minimum(history_length, lengths - 1)) & (lengths >= max(2, min_length))
    windows = _windows_at(interactions, np.flatnonzero(is_target), position, history_length)
    return windows, int((length < max(2, min_length)).sum())


def split_by_time(windows: Windows) -> tuple[Windows, Windows, Windows]:
    """Training, validation and test windows, 8:1:1 in the order of the targets' times (stable).

    Raises InputError where a time is unknown. Source: [MSL] §5.1.1.
    """
    unknown = np.isnan(windows.timestamp)
    if unknown.any():
        raise InputError(
            f"{int(unknown.sum()):,} of {len(windows):,} targets have no timestamp, so windows cannot be split "
            f'by time; set split="leave_one_out"'
        )
    order = np.argsort(windows.timestamp, kind="stable")
    first, second = len(windows) * 8 // 10, len(windows) * 9 // 10
    train, valid, test = np.split(order, [first, second])
    return windows.take(train), windows.take(valid), windows.take(test)


def leave_one_out(
    interactions: pd.DataFrame, *, history_length: int, min_length: int
) -> tuple[Windows, Windows, Windows, int]:
    """Each user's last item is the test target, the one before it the validation target.

    Training windows slide over what is before these two (`sliding_windows` with at least two items).
    Users with fewer than max(3, `min_length`) items give none. Returns train, valid, test and their number.
    """
    start, length = _runs(interactions["user"].to_numpy())
    position = np.arange(len(interactions)) - np.repeat(start, length)
    from_end = np.repeat(length, length) - position  # 1 is the last item
    is_kept = np.repeat(length >= max(3, min_length), length)
    test, valid = (
        _windows_at(interactions, np.flatnonzero(is_kept & (from_end == place)), position, history_length)
        for place in (1, 2)
    )
    earlier = interactions[is_kept & (from_end > 2)].reset_index(drop=True)
    train, _ = sliding_windows(earlier, history_length=history_length, min_length=2)
    return train, valid, test, int((length < max(3, min_length)).sum())


def _runs(user: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Start and length of each run of equal user codes."""
    start = np.flatnonzero(np.r_[True, user[1:] != user[:-1]]) if len(user) else np.empty(0, int)
    return start, np.diff(np.r_[start, len(user)])


def _windows_at(
    interactions: pd.DataFrame, target: np.ndarray, position: np.ndarray, history_length: int
) -> Windows:
    """Windows whose targets are the given rows; `position` is each row's place in its user's sequence."""
    item = interactions["item_idx"].to_numpy(np.int32)
    offset = np.arange(-history_length, 0)
    rows = target[:, None] + offset  # (W, S)
    is_there = position[target][:, None] + offset >= 0
    history = np.where(is_there, item[np.maximum(rows, 0)], PAD_IDX).astype(np.int32)
    return Windows(
        user_id=interactions[USER_ID].to_numpy()[target],
        history=history,
        target_idx=item[target],
        timestamp=interactions[TIMESTAMP].to_numpy(np.float64)[target],
    )
