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
        tokens, start = flatten(encode(texts, tokenizer))
        first = np.zeros((2, len(titles) + 1), np.int64)
        length = np.zeros((2, len(titles) + 1), np.int64)
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
    if len(length) and length[:, -1].max() > room:
        row = int(np.argmax(length[:, -1]))
        raise InputError(
            f"window {row}: its newest title (item {history[row, -1]}) needs {length[row, -1]} tokens and "
            f"{max(room, 0)} are left beside the instruction: raise max_tokens or shorten the title"
        )
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


def sample_agrees(
    head: np.ndarray,
    joined: tuple[np.ndarray, np.ndarray],
    history: np.ndarray,
    titles: Sequence[str],
    domain: str,
    tokenizer: Any,
) -> bool:
    """Whether the joined pieces of some evenly spaced windows equal their prompts tokenised as one string."""
    tokens, start = joined
    rows = np.unique(np.linspace(0, len(history) - 1, _N_CHECKED).astype(int))
    whole = whole_prompts(history[rows], titles, domain, tokenizer)
    return all(
        [*head.tolist(), *tokens[start[row] : start[row + 1]].tolist()] == expected
        for row, expected in zip(rows, whole, strict=True)
    )
