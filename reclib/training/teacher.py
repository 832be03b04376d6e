"""What a language model teaches a sequence recommender: lists of training windows, and item vectors."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from reclib.arrays import load_arrays, save_arrays
from reclib.data.dataset import Windows
from reclib.schema import PAD_IDX, InputError

_ARRAYS = ("items", "distance", "embedding")
_TEXTS = ("windows", "about")


@dataclass(frozen=True, eq=False)
class Teacher:
    """The K best items of W windows by a language model, and a vector of every item by it.

    items: (W, K) int32 item_idx, best first, 0 after the last; a window that was not asked has a row of 0
    distance: (W, K) float32, how far what the teacher said is from each item, at least 0 and 0 at best, such
    as −log P_valid; inf where there is no item
    embedding: (N+1, E) float32 by item_idx, row 0, padding, zero
    windows: fingerprint of the windows in their order; about: how the lists were made

    Raises InputError naming the row for an item outside the catalogue, one listed twice or after a gap, and
    for a distance or a vector that is no number.
    """

    items: np.ndarray
    distance: np.ndarray
    embedding: np.ndarray
    windows: str
    about: str

    def __post_init__(self) -> None:
        items, distance, embedding = self.items, self.distance, self.embedding
        if items.ndim != 2 or items.shape != distance.shape or not items.shape[1] or embedding.ndim != 2:
            raise InputError(
                f"a teacher of items {items.shape}, distances {distance.shape} and vectors "
                f"{embedding.shape}: give (W, K), (W, K) and (N+1, E), K at least 1"
            )
        _check_vectors(embedding)
        _check_lists(items, n_items=self.n_items)
        _check_distances(items, distance)
        for name, dtype in zip(_ARRAYS, (np.int32, np.float32, np.float32), strict=True):
            object.__setattr__(self, name, getattr(self, name).astype(dtype))

    def __len__(self) -> int:
        return len(self.items)

    def __repr__(self) -> str:
        n_taught = int((self.items != PAD_IDX).any(axis=1).sum())
        return f"Teacher({n_taught:,} of {len(self):,} windows, {self.items.shape[1]} items each)"

    @property
    def n_items(self) -> int:
        """N, items of the catalogue."""
        return len(self.embedding) - 1

    @cached_property
    def fingerprint(self) -> str:
        """First 16 hexadecimal digits of a SHA-256 of the lists, the vectors and the windows they are of."""
        digest = hashlib.sha256(self.windows.encode())
        for name in _ARRAYS:
            array = getattr(self, name)
            digest.update(f"{name}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]

    def check(self, windows: Windows, *, n_items: int) -> None:
        """Refuse a teacher of other windows, of the same in another order, or of another catalogue."""
        if len(self) != len(windows):
            raise InputError(
                f"a teacher of {len(self):,} windows for {len(windows):,} training windows: one row each; "
                "make its lists for these windows"
            )
        if self.windows != windows.fingerprint:
            raise InputError(
                "a teacher of other windows, or of the same in another order: its lists would go to the "
                "wrong users; make them for these windows"
            )
        if self.n_items != n_items:
            raise InputError(
                f"a teacher with vectors of {self.n_items:,} items for a catalogue of {n_items:,}: embed the "
                "texts of this one"
            )

    def take(self, windows: Windows, index: np.ndarray) -> Teacher:
        """The teacher of some of its windows, in that order; `windows` are all of them."""
        self.check(windows, n_items=self.n_items)
        return Teacher(
            self.items[index],
            self.distance[index],
            self.embedding,
            windows.take(index).fingerprint,
            self.about,
        )

    def save(self, path: Path) -> None:
        """Write `path`.npz and nothing else, in one step."""
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        texts = {name: np.array(getattr(self, name)) for name in _TEXTS}
        save_arrays(path.with_name(f"{path.name}.npz"), {**arrays, **texts})

    @classmethod
    def load(cls, path: Path) -> Teacher:
        """Read what `save` wrote to this path. Raises InputError for a file that is missing or is not one."""
        found = load_arrays(
            path.with_name(f"{path.name}.npz"),
            (*_ARRAYS, *_TEXTS),
            what="teacher",
            remedy="make the lists of the training windows first",
        )
        lists = {name: found[name] for name in _ARRAYS}
        return cls(**lists, windows=str(found["windows"]), about=str(found["about"]))


def _check_lists(items: np.ndarray, *, n_items: int) -> None:
    if items.dtype.kind not in "iu":
        raise InputError(f"the teacher's lists are of {items.dtype}: give whole numbers, item_idx of 1…N")
    outside = ((items < PAD_IDX) | (items > n_items)).any(axis=1)
    if outside.any():
        row = int(outside.argmax())
        wrong = next(int(item) for item in items[row] if not PAD_IDX <= item <= n_items)
        raise InputError(
            f"the teacher's list of window {row} holds {wrong}, no item of 1…{n_items}: decode with the trie "
            "of this catalogue"
        )
    is_listed = items != PAD_IDX
    gap = (is_listed[:, 1:] & ~is_listed[:, :-1]).any(axis=1)
    if gap.any():
        raise InputError(
            f"the teacher's list of window {int(gap.argmax())} has an item after an empty place: put items "
            "first, zeros after them"
        )
    ordered = np.sort(items, axis=1)
    twice = ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != PAD_IDX)).any(axis=1)
    if twice.any():
        raise InputError(
            f"the teacher's list of window {int(twice.argmax())} names an item twice: keep its best place"
        )


def _check_distances(items: np.ndarray, distance: np.ndarray) -> None:
    bad = ((items != PAD_IDX) & ~((distance >= 0) & (distance < np.inf))).any(axis=1)
    if bad.any():
        row = int(bad.argmax())
        raise InputError(
            f"a distance in the teacher's list of window {row} is not a number of at least 0: "
            f"{distance[row].tolist()}; give −log P of each item, or a distance of vectors"
        )


def _check_vectors(embedding: np.ndarray) -> None:
    bad = ~np.isfinite(embedding).all(axis=1)
    if bad.any():
        raise InputError(
            f"the teacher's vector of item_idx {int(bad.argmax())} is not finite: embed its text again"
        )
    if len(embedding) < 2 or embedding[PAD_IDX].any():
        raise InputError("the teacher's vectors are (N+1, E), row 0 for padding: it must be zero")
