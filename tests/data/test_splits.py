from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reclib.data.dataset import Windows
from reclib.data.splits import Sequences, leave_one_out, sliding_windows, split_by_time
from reclib.schema import InputError

# Users as lists of items; an item occurs once in all, so that a window names its interactions.
user_lengths = st.lists(st.integers(1, 9), min_size=1, max_size=6)


def sequences(lengths: list[int], *, times: np.ndarray | None = None) -> Sequences:
    n = sum(lengths)
    user_id = np.repeat(np.array([f"u{user}" for user in range(len(lengths))], dtype=object), lengths)
    time = np.arange(n, dtype=float) if times is None else times
    return Sequences(user_id, np.arange(1, n + 1, dtype=np.int32), time)


def users_of(data: Sequences) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for user, item in zip(data.user_id, data.item_idx.tolist(), strict=True):
        found.setdefault(user, []).append(item)
    return found


def as_rows(windows: Windows) -> list[tuple[str, tuple[int, ...], int]]:
    """Every window as (user, history without padding, target); padding must be on the left."""
    rows = []
    for user, history, target in zip(windows.user_id, windows.history, windows.target_idx, strict=True):
        items = [int(item) for item in history if item != 0]
        assert history.tolist() == [0] * (len(history) - len(items)) + items
        rows.append((user, tuple(items), int(target)))
    return rows


def slow_windows(items: list[int], length: int, min_length: int) -> list[list[int]]:
    if len(items) < max(2, min_length):
        return []
    if len(items) <= length:
        return [items]
    return [items[start : start + length] for start in range(len(items) - length + 1)]


@given(user_lengths, st.integers(2, 6), st.integers(1, 6))
def test_sliding_windows_equal_a_loop_over_users(lengths: list[int], length: int, min_length: int) -> None:
    data = sequences(lengths)
    expected = [
        (user, tuple(window[:-1]), window[-1])
        for user, items in users_of(data).items()
        for window in slow_windows(items, length, min_length)
    ]
    windows = sliding_windows(data, length=length, min_length=min_length)
    assert as_rows(windows) == expected
    assert windows.history.shape == (len(expected), length - 1)
    assert windows.timestamp.tolist() == [target - 1 for _, _, target in expected]


def test_windows_of_the_paper() -> None:
    """Longer than 11: windows of 11, by one; from 5 to 11: one window; shorter: none."""
    windows = sliding_windows(sequences([13, 11, 5, 4]), length=11, min_length=5)
    assert Counter(windows.user_id.tolist()) == {"u0": 3, "u1": 1, "u2": 1}
    assert [len(history) for _, history, _ in as_rows(windows)] == [10, 10, 10, 10, 4]


def test_no_interactions_give_no_windows() -> None:
    assert len(sliding_windows(sequences([]), length=11)) == 0


@pytest.mark.parametrize(
    ("n_windows", "sizes"),
    [
        (19_250, (15_400, 1_925, 1_925)),  # Office
        (47_931, (38_344, 4_793, 4_794)),  # Toy
        (43_826, (35_060, 4_383, 4_383)),  # Book
    ],
)
def test_part_sizes_are_the_published_ones(n_windows: int, sizes: tuple[int, int, int]) -> None:
    windows = sliding_windows(sequences([n_windows + 1]), length=2)
    assert len(windows) == n_windows
    assert tuple(map(len, split_by_time(windows))) == sizes


@given(st.lists(st.integers(2, 9), min_size=2, max_size=6), st.data())
def test_a_split_by_time_loses_nothing_and_sees_no_future(lengths: list[int], draw: st.DataObject) -> None:
    """Times tie often; each user's are in order."""
    n = sum(lengths)
    drawn = np.array(draw.draw(st.lists(st.integers(0, 6), min_size=n, max_size=n)), dtype=float)
    edges = np.cumsum([0, *lengths])
    times = np.concatenate([np.sort(drawn[a:b]) for a, b in zip(edges, edges[1:], strict=False)])
    data = sequences(lengths, times=times)
    windows = sliding_windows(data, length=3, min_length=2)
    if len(windows) < 10:
        with pytest.raises(InputError, match="too few"):
            split_by_time(windows.take(np.arange(min(len(windows), 4))))
        return
    train, valid, test = split_by_time(windows)
    parts = [as_rows(part) for part in (train, valid, test)]
    assert sorted(sum(parts, [])) == sorted(as_rows(windows))
    assert train.timestamp.max() <= valid.timestamp.min() <= valid.timestamp.max() <= test.timestamp.min()
    time_of = dict(zip(data.item_idx.tolist(), times.tolist(), strict=True))
    seen: dict[str, int] = {}
    for user, history, target in sum(parts, []):
        assert all(item < target and time_of[item] <= time_of[target] for item in history)
        assert target > seen.get(user, 0), "a user's targets stay in order across parts, ties included"
        seen[user] = target


def test_an_unknown_time_cannot_be_split_by() -> None:
    windows = sliding_windows(sequences([12], times=np.full(12, np.nan)), length=3)
    with pytest.raises(InputError, match=r'10 of 10 targets have no timestamp.*split="leave_one_out"'):
        split_by_time(windows)


@given(user_lengths, st.integers(2, 6), st.integers(1, 6))
def test_leave_one_out_holds_out_the_last_two(lengths: list[int], length: int, min_length: int) -> None:
    data = sequences(lengths)
    users = {user: items for user, items in users_of(data).items() if len(items) >= max(3, min_length)}
    if not any(len(items) > 3 for items in users.values()):
        with pytest.raises(InputError, match="leave-one-out needs"):
            leave_one_out(data, length=length, min_length=min_length)
        return
    train, valid, test = leave_one_out(data, length=length, min_length=min_length)
    s = length - 1
    assert as_rows(test) == [(user, tuple(items[:-1][-s:]), items[-1]) for user, items in users.items()]
    assert as_rows(valid) == [(user, tuple(items[:-2][-s:]), items[-2]) for user, items in users.items()]
    assert as_rows(train) == [
        (user, tuple(window[:-1]), window[-1])
        for user, items in users.items()
        for window in slow_windows(items[:-2], length, 2)
    ]
