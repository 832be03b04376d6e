"""Prompts of many windows put together from the tokens of their titles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reclib.schema import InputError
from reclib.text.encoding import begin_tokens, encode
from reclib.text.prompts import history_piece, last_piece, prompt, prompt_head
from reclib.text.ragged import flatten, row_starts, spans

_WINDOWS = 65_536  # windows joined at once; bounds the index arrays
_N_CHECKED = 32  # prompts of a call compared with whole-string tokenisation


@dataclass(frozen=True)
class Pieces:
    """The tokens of every title of some histories, as an older title and as the newest one.

    tokens: flat int32; older_first, newest_first (N+1,) int64: where an item's piece begins
    older_length, newest_length (N+1,) int64: its length, 0 for an item without that piece
    """

    tokens: np.ndarray
    older_first: np.ndarray
    older_length: np.ndarray
    newest_first: np.ndarray
    newest_length: np.ndarray

    @classmethod
    def of(cls, history: np.ndarray, titles: Sequence[str], tokenizer: Any) -> Pieces:
        """Tokenise each title that occurs in the histories (W, S) once for each of its two forms."""
        older, newest = np.unique(history[:, :-1]), np.unique(history[:, -1])
        older = older[older > 0]
        texts = [history_piece(titles[i - 1]) for i in older] + [last_piece(titles[i - 1]) for i in newest]
        return cls.from_rows(encode(texts, tokenizer), older, newest, n_items=len(titles))

    @classmethod
    def from_rows(
        cls, rows: Sequence[Sequence[int]], older: np.ndarray, newest: np.ndarray, *, n_items: int
    ) -> Pieces:
        """From the tokens of the pieces: those of some items as older titles, then of some as the newest."""
        tokens, start = flatten(rows)
        first = np.zeros((2, n_items + 1), np.int64)
        length = np.zeros((2, n_items + 1), np.int64)
        first[0, older], first[1, newest] = start[: len(older)], start[len(older) : -1]
        length[0, older], length[1, newest] = np.split(np.diff(start), [len(older)])
        return cls(tokens, first[0], length[0], first[1], length[1])

    def lengths(self, history: np.ndarray) -> np.ndarray:
        """The number of tokens of each cell of the histories, (W, S) int64; 0 at the padding."""
        length = self.older_length[history]
        length[:, -1] = self.newest_length[history[:, -1]]
        return length

    def join(self, history: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The tokens of each history, flat int32, and row starts (W+1,) int64."""
        parts = [self._join(history[i : i + _WINDOWS]) for i in range(0, len(history), _WINDOWS)]
        start = row_starts(np.concatenate([length for _, length in parts]))
        return np.concatenate([tokens for tokens, _ in parts]), start

    def _join(self, history: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        first, length = self.older_first[history], self.lengths(history)
        first[:, -1] = self.newest_first[history[:, -1]]
        return self.tokens[spans(first.ravel(), length.ravel())], length.sum(1)


def check_history(history: np.ndarray, n_items: int) -> None:
    """Raise InputError, naming the first window that no prompt can be made of."""
    if history.ndim != 2 or not history.size:
        raise InputError(f"histories have shape {history.shape}: one row a window is needed")
    is_bad = (history < 0).any(1) | (history > n_items).any(1)
    if is_bad.any():
        row = int(np.argmax(is_bad))
        raise InputError(f"window {row} has an item outside 1…{n_items}: {history[row].tolist()}")
    if not history[:, -1].all():
        row = int(np.argmin(history[:, -1] != 0))
        raise InputError(f"window {row} has no newest item: drop empty histories and pad on the left")


def newest_that_fit(length: np.ndarray, history: np.ndarray, room: int) -> np.ndarray:
    """The histories (W, S) without the oldest items that do not fit into `room` tokens.

    Raises InputError for a newest item that does not fit by itself.
    """
    if length[:, -1].max() > room:
        row = int(np.argmax(length[:, -1]))
        raise _too_long(row, history[row, -1], length[row, -1], room)
    from_newest = np.cumsum(length[:, ::-1], axis=1)[:, ::-1]
    return np.where(from_newest <= room, history, 0)


def head_tokens(domain: str, tokenizer: Any) -> np.ndarray:
    """The tokens all prompts of a domain begin with, the tokenizer's begin token first where it adds one."""
    return np.asarray(begin_tokens(tokenizer) + encode([prompt_head(domain)], tokenizer)[0], np.int32)


def whole_prompts(history: np.ndarray, titles: Sequence[str], domain: str, tokenizer: Any) -> list[list[int]]:
    """The tokens of each history's whole prompt, tokenised as one string."""
    texts = [prompt([titles[i - 1] for i in row if i], domain) for row in history.tolist()]
    begin = begin_tokens(tokenizer)
    return [begin + row for row in encode(texts, tokenizer)]


def pieces_agree(
    pieces: Pieces, head: np.ndarray, history: np.ndarray, titles: Sequence[str], domain: str, tokenizer: Any
) -> bool:
    """Whether the joined pieces of some evenly spaced windows equal their prompts tokenised as one string."""
    sample = history[np.unique(np.linspace(0, len(history) - 1, _N_CHECKED).astype(int))]
    tokens, start = pieces.join(sample)
    joined = [[*head.tolist(), *row.tolist()] for row in np.split(tokens, start[1:-1])]
    return joined == whole_prompts(sample, titles, domain, tokenizer)


def fit_whole_prompts(
    history: np.ndarray, titles: Sequence[str], domain: str, tokenizer: Any, max_tokens: int
) -> tuple[np.ndarray, list[list[int]]]:
    """The histories without the oldest items that do not fit, and the tokens of their whole prompts.

    For tokenizers that need whole strings: the items go one by one, as lengths cannot be added up.
    """
    kept = history.copy()
    rows = whole_prompts(kept, titles, domain, tokenizer)
    while len(too_long := np.flatnonzero(np.fromiter(map(len, rows), int) > max_tokens)):
        oldest = (kept[too_long] > 0).argmax(axis=1)
        if (alone := oldest == kept.shape[1] - 1).any():
            row = too_long[np.argmax(alone)]
            raise _too_long(row, kept[row, -1], len(rows[row]), max_tokens)
        kept[too_long, oldest] = 0
        for row, shorter in zip(
            too_long, whole_prompts(kept[too_long], titles, domain, tokenizer), strict=True
        ):
            rows[row] = shorter
    return kept, rows


def _too_long(row: int, item: int, n_tokens: int, room: int) -> InputError:
    return InputError(
        f"window {row}: its newest title (item {item}) needs {n_tokens} tokens where {max(room, 0)} fit: "
        "raise max_tokens or shorten the title"
    )
