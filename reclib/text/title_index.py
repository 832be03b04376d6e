"""`TitleIndex`: titles to items and back, in a compact marisa-trie."""

from __future__ import annotations

from collections.abc import Sequence

import marisa_trie
import numpy as np

from reclib.schema import InputError
from reclib.text.ragged import row_starts


class TitleIndex:
    """Which items carry a title, which titles begin with some text, and what an item is called.

    Several items may share a title: a title leads to all of them.
    """

    def __init__(self, titles: Sequence[str]) -> None:
        """Index N titles in the order of item_idx 1…N."""
        self._titles = marisa_trie.Trie(titles)
        self._key = np.fromiter((self._titles[title] for title in titles), np.int64, len(titles))
        self._item = np.argsort(self._key, kind="stable").astype(np.int32) + 1
        self._start = row_starts(np.bincount(self._key, minlength=len(self._titles)))

    def __len__(self) -> int:
        return len(self._titles)

    def __contains__(self, title: str) -> bool:
        return title in self._titles

    def __repr__(self) -> str:
        return f"TitleIndex({len(self._item)} items, {len(self)} titles)"

    def items(self, title: str) -> np.ndarray:
        """The items with this title, ascending, int32; none for an unknown title."""
        key = self._titles.get(title, -1)
        return self._item[self._start[key] : self._start[key + 1]] if key >= 0 else self._item[:0]

    def title(self, item_idx: int) -> str:
        """The title of an item; InputError outside 1…N."""
        if not 1 <= item_idx <= len(self._key):
            raise InputError(f"there is no item {item_idx}: items are numbered 1 to {len(self._key)}")
        return str(self._titles.restore_key(int(self._key[item_idx - 1])))

    def search(self, prefix: str, *, limit: int = 20) -> list[str]:
        """At most `limit` titles that begin with `prefix`, in alphabetical order."""
        return sorted(self._titles.keys(prefix))[:limit]

    def shared(self) -> np.ndarray:
        """The items whose title another item carries too, ascending, int32."""
        n_items = np.diff(self._start)[self._key]
        return np.flatnonzero(n_items > 1).astype(np.int32) + 1
