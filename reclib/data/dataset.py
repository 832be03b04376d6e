"""What a data set is once it is loaded: a catalogue, and windows of a history and its target."""

from __future__ import annotations

import hashlib
import html
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from reclib.schema import ITEM_ID, TITLE, InputError


@dataclass(frozen=True, eq=False)
class Windows:
    """W histories, each with the item that came next.

    user_id: (W,) the source's identifiers; history: (W, S) int32 item_idx, oldest first, padded on the left
    with 0; target_idx: (W,) int32; timestamp: (W,) float64 of the target in seconds, NaN where unknown
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
        """The windows at some rows, in that order, or those where a mask is true."""
        return Windows(
            self.user_id[index], self.history[index], self.target_idx[index], self.timestamp[index]
        )

    def recent(self, length: int) -> Windows:
        """The same windows with at most the `length` most recent items of each history."""
        return Windows(self.user_id, self.history[:, -length:], self.target_idx, self.timestamp)

    @cached_property
    def fingerprint(self) -> str:
        """First 16 hexadecimal digits of a SHA-256 of all four arrays."""
        arrays = (self.user_id, self.history, self.target_idx, self.timestamp)
        return _digest([_content(array) for array in arrays])


def joined(first: Windows, second: Windows) -> Windows:
    """The windows of one part, then those of another."""
    return Windows(
        np.concatenate([first.user_id, second.user_id]),
        np.concatenate([first.history, second.history]),
        np.concatenate([first.target_idx, second.target_idx]),
        np.concatenate([first.timestamp, second.timestamp]),
    )


@dataclass(frozen=True, eq=False)
class Dataset:
    """A catalogue and its windows.

    items: indexed by item_idx 1…N, columns item_id, title and whatever text fields the source has
    domain: how prompts speak of the items, a key of `text.prompts.DOMAINS`
    report: what each step of reading and preprocessing counted (step, what, count, note)
    counts: (N+1,) training interactions by item_idx; see `popularity.train_counts`
    n_users, n_interactions: after preprocessing, before windows are cut
    """

    name: str
    domain: str
    items: pd.DataFrame
    train: Windows
    valid: Windows
    test: Windows
    report: pd.DataFrame
    counts: np.ndarray
    n_users: int
    n_interactions: int

    def __repr__(self) -> str:
        sizes = ", ".join(f"{count:,} {what}" for what, count in self._sizes().items())
        return f"Dataset({self.name}: {sizes})"

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{what}</th>" for what in self._sizes())
        row = "".join(f"<td>{count:,}</td>" for count in self._sizes().values())
        return f"<table><caption>{html.escape(self.name)}</caption><tr>{head}</tr><tr>{row}</tr></table>"

    def _sizes(self) -> dict[str, int]:
        sizes = {"users": self.n_users, "items": self.n_items, "interactions": self.n_interactions}
        parts = {"train": self.train, "valid": self.valid, "test": self.test}
        return sizes | {f"{name} windows": len(part) for name, part in parts.items()}

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
        return self.items[TITLE].tolist()

    @cached_property
    def fingerprint(self) -> str:
        """First 16 hexadecimal digits of a SHA-256 of all that models and metrics read.

        That is the domain, item ids and titles, training counts, and the windows of every part.
        """
        texts = (self.items[ITEM_ID].to_numpy(object), self.items[TITLE].to_numpy(object))
        parts = [part.fingerprint.encode() for part in (self.train, self.valid, self.test)]
        return _digest([self.domain.encode(), *map(_content, (*texts, self.counts)), *parts])


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


def _content(array: np.ndarray) -> bytes:
    """Type, shape and values of an array; 64-bit hashes of its values where they are texts."""
    values = pd.util.hash_array(array.astype(object)) if array.dtype == object else array
    return f"{array.dtype}{array.shape}".encode() + np.ascontiguousarray(values).tobytes()


def _digest(pieces: list[bytes]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(len(piece).to_bytes(8, "big") + piece)
    return digest.hexdigest()[:16]
