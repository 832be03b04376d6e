"""Prompts in which items stand with their vectors: token ids past the vocabulary that name vectors.

An id below Z is a token of the tokenizer; Z + i is the vector of item_idx i, and further ids are vectors of
users. So a prompt with vectors is a `PromptTokens` like any other: it is packed, batched, cached and decoded
by what knows nothing of vectors, and only the LM's input embedding tells them apart
(`models.hybrid_prompt`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from reclib.text.encoding import begin_tokens, encode
from reclib.text.prompt_pieces import Pieces, check_history, newest_that_fit
from reclib.text.prompts import NEWER_FOLLOWS, PROMPT_TAIL, USER_IS, prompt_head, title_piece
from reclib.text.ragged import row_starts, spans
from reclib.text.tokenization import PromptTokens

if TYPE_CHECKING:
    from reclib.data.dataset import Windows


def tokenize_hybrid_prompts(
    windows: Windows,
    titles: Sequence[str],
    domain: str,
    tokenizer: Any,
    *,
    max_tokens: int,
    first_item: int,
    user_ids: np.ndarray | None = None,
) -> PromptTokens:
    """The prompt of each window, with the id `first_item` + item_idx right behind each title.

    With `user_ids` (W,) the input begins with the id of the window's user and says what it is. Text between
    ids is tokenised by itself, as a tokenizer does around its special tokens. A prompt of more than
    `max_tokens` loses its oldest items. Raises InputError as `tokenize_prompts` does.
    """
    history = np.asarray(windows.history)
    check_history(history, len(titles))
    head, opening = _head(domain, tokenizer, before_user=user_ids is not None)
    pieces = _hybrid_pieces(history, titles, tokenizer, first_item)
    kept = newest_that_fit(pieces.lengths(history), history, max_tokens - len(head) - len(opening))
    tokens, start = pieces.join(kept)
    if user_ids is not None:
        tokens, start = _behind_openings(tokens, start, opening, np.asarray(user_ids))
    return PromptTokens.of_kept(head, tokens, start, kept=kept, history=history)


def stacked(first: PromptTokens, second: PromptTokens) -> PromptTokens:
    """The prompts of one set, then those of another; the head is shared where it is the same for both."""
    if not np.array_equal(first.head, second.head):
        first, second = first.without_head(), second.without_head()
    return PromptTokens(
        head=first.head,
        tokens=np.concatenate([first.tokens, second.tokens]),
        start=np.append(first.start[:-1], first.start[-1] + second.start),
        in_pieces=first.in_pieces and second.in_pieces,
    )


def _head(domain: str, tokenizer: Any, *, before_user: bool) -> tuple[np.ndarray, np.ndarray]:
    """Tokens that all prompts begin with, and what stands between them and the first title of each.

    The latter is empty, or a place for the user's id, which is −1 here, and the text behind it.
    """
    text, opening = prompt_head(domain), np.empty(0, np.int32)
    if before_user:
        text, line, last = text.rpartition("\n")
        text += line
        opening = np.asarray([-1, *encode([USER_IS + last], tokenizer)[0]], np.int32)
    head = begin_tokens(tokenizer) + encode([text], tokenizer)[0]
    return np.asarray(head, np.int32), opening


def _hybrid_pieces(history: np.ndarray, titles: Sequence[str], tokenizer: Any, first_item: int) -> Pieces:
    """The tokens of every title of some histories, with its vector's id behind it."""
    older, newest = np.unique(history[:, :-1]), np.unique(history[:, -1])
    older = older[older > 0]
    comma, tail = encode([NEWER_FOLLOWS, PROMPT_TAIL], tokenizer)
    items = np.concatenate([older, newest])
    quoted = encode([title_piece(titles[item - 1]) for item in items], tokenizer)
    rows = [
        [*title, first_item + int(item), *(comma if place < len(older) else tail)]
        for place, (item, title) in enumerate(zip(items, quoted, strict=True))
    ]
    return Pieces.from_rows(rows, older, newest, n_items=len(titles))


def _behind_openings(
    tokens: np.ndarray, start: np.ndarray, opening: np.ndarray, user_ids: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Each row of tokens behind the opening, which names the row's user."""
    length = np.diff(start)
    begin = row_starts(length + len(opening))
    joined = np.empty(begin[-1], np.int32)
    place = spans(begin[:-1], np.full(len(length), len(opening)))
    joined[place] = np.where(opening < 0, user_ids[:, None], opening).ravel()
    joined[spans(begin[:-1] + len(opening), length)] = tokens
    return joined, begin
