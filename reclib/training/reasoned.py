"""Training windows that a language model has reasoned about, and the embeddings of what it said."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from reclib.arrays import load_arrays, save_arrays
from reclib.data.dataset import Windows
from reclib.schema import InputError

_ARRAYS = ("rows", "histories", "items", "is_chosen", "reasoning", "text")


@dataclass(frozen=True, eq=False)
class ReasonedWindows:
    """M examples: a history, an item, whether the user chose it, and the embedding of a reasoning about it.

    rows: (M,) int64, the training window of each; histories: (M, S) int32 and items: (M,) int32 item_idx
    is_chosen: (M,) bool, True where the item is the window's target
    reasoning: (M, E) float32; text: (N+1, E) float32 of the titles by the same encoder, row 0 zero

    Raises InputError for arrays of different lengths, and for a vector that is no number.
    """

    rows: np.ndarray
    histories: np.ndarray
    items: np.ndarray
    is_chosen: np.ndarray
    reasoning: np.ndarray
    text: np.ndarray

    def __post_init__(self) -> None:
        lengths = {len(getattr(self, name)) for name in _ARRAYS[:-1]}
        if len(lengths) > 1 or self.reasoning.shape[1:] != self.text.shape[1:] or not len(self.rows):
            raise InputError(
                f"reasoned windows of lengths {sorted(lengths)}, vectors {self.reasoning.shape} and "
                f"{self.text.shape}: one row each, at least one, and vectors of one width"
            )
        for name in ("reasoning", "text"):
            bad = ~np.isfinite(getattr(self, name)).all(axis=1)
            if bad.any():
                raise InputError(f"reasoned windows: row {int(bad.argmax())} of {name} is not finite")

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def fingerprint(self) -> str:
        """First 16 hexadecimal digits of a SHA-256 of all arrays."""
        digest = hashlib.sha256()
        for name in _ARRAYS:
            array = np.ascontiguousarray(getattr(self, name))
            digest.update(f"{name}{array.shape}".encode() + array.tobytes())
        return digest.hexdigest()[:16]

    def check(self, windows: Windows, *, n_items: int) -> None:
        """Refuse examples that are not of these training windows, or of another catalogue."""
        if len(self.text) != n_items + 1:
            raise InputError(
                f"reasoned windows of {len(self.text) - 1} items for a catalogue of {n_items}: reason about "
                "this one"
            )
        fits = self.rows < len(windows)
        fits[fits] = (windows.history[self.rows[fits]] == self.histories[fits]).all(axis=1)
        fits[fits] = (windows.target_idx[self.rows[fits]] == self.items[fits]) == self.is_chosen[fits]
        if not fits.all():
            bad = int(fits.argmin())
            raise InputError(
                f"reasoned window {bad} is not the training window {self.rows[bad]}: reason about windows of "
                "this training part"
            )

    def save(self, path: Path) -> None:
        """Write `path`.npz and nothing else, in one step."""
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        save_arrays(path.with_name(f"{path.name}.npz"), arrays)

    @classmethod
    def load(cls, path: Path) -> ReasonedWindows:
        """Read what `save` wrote to this path. Raises InputError where there is none, or it is broken."""
        file = path.with_name(f"{path.name}.npz")
        return cls(**load_arrays(file, _ARRAYS, what="reasoned windows", remedy="make them first"))


def usable(examples: ReasonedWindows, windows: Windows, rows: np.ndarray) -> np.ndarray:
    """Which examples some training windows may read, (len(rows), M) bool: none of what comes later.

    Examples of other users; of the same user those whose window ended before, which leaves out a window's
    own. Equal or unknown times count as later, as a later history holds the target. Source: [LLM-CF], public
    code.
    """
    users, times = windows.user_id, windows.timestamp
    is_other = users[rows][:, None] != users[examples.rows][None, :]
    return is_other | (times[examples.rows][None, :] < times[rows][:, None])
