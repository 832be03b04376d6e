"""Ragged arrays: rows of different lengths in one flat array, row r being `values[start[r]:start[r + 1]]`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np


def row_starts(length: np.ndarray) -> np.ndarray:
    """Row starts (B+1,) int64 of rows of the given lengths (B,)."""
    start = np.zeros(len(length) + 1, np.int64)
    np.cumsum(length, out=start[1:])
    return start


def spans(first: np.ndarray, length: np.ndarray) -> np.ndarray:
    """The integers first[r], …, first[r] + length[r] - 1 of every row r, one row after the other; int64."""
    start = row_starts(length)
    return np.arange(start[-1]) + np.repeat(np.asarray(first, np.int64) - start[:-1], length)


def gather_rows(values: np.ndarray, start: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Some rows of a ragged array: their values, flat, and their row starts (B+1,) int64."""
    first = start[rows]
    length = start[rows + 1] - first
    return values[spans(first, length)], row_starts(length)


def flatten(rows: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Lists of token ids as one int32 array and its row starts."""
    start = row_starts(np.fromiter(map(len, rows), np.int64, len(rows)))
    return np.fromiter(chain.from_iterable(rows), np.int32, int(start[-1])), start
