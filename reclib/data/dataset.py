"""What a data set is once it is loaded: a catalogue, and windows of a history and its target."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from reclib.schema import PAD_IDX, InputError


@dataclass(frozen=True, eq=False)
class Windows:
    """W histories, each with the item that came next.

    user_id: (W,); history: (W, S) int32 item_idx, oldest first, padded on the left with 0;
    target_idx: (W,) int32; timestamp: (W,) float64 of the target in seconds, NaN where unknown
    """

    user_id: np.ndarray
    history: np.ndarray
    target_idx: np.ndarray
    timestamp: np.ndarray

    def __post_init__(self) -> None:
        lengths = {len(self.user_id), len(self.history), len(self.target_idx), len(self.timestamp)}
        if len(lengths) > 1:
            raise InputError(
                f"windows of different lengths: {sorted(lengths)}; one row a window in each array"
            )

    def __len__(self) -> int:
        return len(self.target_idx)

    def __repr__(self) -> str:
        return f"Windows({len(self):,} of up to {self.history.shape[1]} items and a target)"

    def take(self, index: np.ndarray) -> Windows:
        """The windows at some rows, in that order."""
        return Windows(
            self.user_id[index], self.history[index], self.target_idx[index], self.timestamp[index]
        )

    @cached_property
    def fingerprint(self) -> str:
        """First 16 hexadecimal digits of a SHA-256 of histories and targets."""
        digest = hashlib.sha256(np.ascontiguousarray(self.history, dtype=np.int32).tobytes())
        digest.update(np.ascontiguousarray(self.target_idx, dtype=np.int32).tobytes())
        return digest.hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class Dataset:
    """A catalogue and its windows.

    items: indexed by item_idx 1…N, columns item_id, title and whatever text fields the source has
    domain: how prompts speak of the items, a key of `text.prompts.DOMAINS`
    report: what each step of preprocessing counted (step, what, count, note)
    n_users, n_interactions: after preprocessing, before windows are cut
    """

    name: str
    domain: str
    items: pd.DataFrame
    train: Windows
    valid: Windows
    test: Windows
    report: pd.DataFrame
    n_users: int
    n_interactions: int

    def __repr__(self) -> str:
        return (
            f"Dataset({self.name}: {self.n_users:,} users × {self.n_items:,} items, "
            f"{self.n_interactions:,} interactions; windows {len(self.train):,} train, "
            f"{len(self.valid):,} valid, {len(self.test):,} test)"
        )

    @property
    def n_items(self) -> int:
        """N, items in the catalogue."""
        return len(self.items)

    @property
    def density(self) -> float:
        """Interactions over users × items."""
        return self.n_interactions / max(1, self.n_users * self.n_items)

    @cached_property
    def titles(self) -> list[str]:
        """Titles in the order of item_idx: `titles[item_idx - 1]`."""
        return self.items["title"].tolist()

    @cached_property
    def fingerprint(self) -> str:
        """First 16 hexadecimal digits of a SHA-256 of the titles and of all windows."""
        digest = hashlib.sha256("\n".join(self.titles).encode())
        for part in (self.train, self.valid, self.test):
            digest.update(part.fingerprint.encode())
        return digest.hexdigest()[:16]


class Report:
    """Rows of `Dataset.report`, gathered along the way."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, str, int, str]] = []

    def add(self, step: str, what: str, count: int, note: str = "") -> None:
        """One row; a count of 0 is kept, since it says that the policy was applied and met nothing."""
        self._rows.append((step, what, int(count), note))

    def table(self) -> pd.DataFrame:
        """The rows as a table."""
        return pd.DataFrame(self._rows, columns=["step", "what", "count", "note"])


def check_catalogue(windows: Windows, n_items: int, *, source: str) -> None:
    """Raise InputError where a window names an item that is not in the catalogue, or has no history."""
    for name, values in (("history", windows.history), ("target", windows.target_idx[:, None])):
        unknown = (values < PAD_IDX) | (values > n_items)
        if unknown.any():
            row, column = np.argwhere(unknown)[0]
            raise InputError(
                f"{source}: window {row + 1} has unknown item {values[row, column]} in its {name}; "
                f"item_idx are 1…{n_items}"
            )
    empty = (windows.history == PAD_IDX).all(axis=1)
    if empty.any():
        raise InputError(f"{source}: window {int(empty.argmax()) + 1} has an empty history; drop it")
