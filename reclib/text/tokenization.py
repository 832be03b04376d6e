"""Titles and prompts as flat token arrays.

A prompt is put together from pieces: the head all prompts of a domain share, then one piece a history
title, tokenised once each. Every boundary lies between a character that is no blank and ' "'. The
pre-tokenizers of byte-level BPE models (GPT-2, SmolLM2, Llama 3) always split there, so the joined pieces
equal the tokens of the whole string. That is checked on a sample of each call; for a tokenizer that fails
the check every prompt is tokenised as one string.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from os.path import commonprefix
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reclib.schema import InputError
from reclib.text import prompt_pieces
from reclib.text.encoding import encode
from reclib.text.prompts import response
from reclib.text.ragged import flatten, gather_rows, row_starts, spans

if TYPE_CHECKING:
    from reclib.data.dataset import Windows

_LLAMA3_RESERVED = [f"<|reserved_special_token_{i}|>" for i in range(251)]
_LLAMA3_SPECIAL = [  # ids 128000 … 128255; 128001, <|end_of_text|>, is the released MSL code's end token
    *("<|begin_of_text|>", "<|end_of_text|>", *_LLAMA3_RESERVED[:4]),
    *("<|start_header_id|>", "<|end_header_id|>", _LLAMA3_RESERVED[4], "<|eot_id|>", *_LLAMA3_RESERVED[5:]),
]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ItemTokens:
    """The token ids of every item, flat; the tokens of item_idx i are `tokens[start[i]:start[i + 1]]`.

    tokens: (total,) int32; start: (N+2,) int64, item 0 (`PAD_IDX`) is empty
    end_token: the last token of every item, None where the items have none
    n_truncated: items whose title was cut to `max_tokens`
    """

    tokens: np.ndarray
    start: np.ndarray
    end_token: int | None = None
    n_truncated: int = 0

    @classmethod
    def from_lists(
        cls, rows: Sequence[Sequence[int]], *, end_token: int | None = None, n_truncated: int = 0
    ) -> ItemTokens:
        """Items 1…N from N token lists, which hold the end token already where there is one."""
        tokens, start = flatten([[], *rows])
        return cls(tokens=tokens, start=start, end_token=end_token, n_truncated=n_truncated)

    @property
    def n_items(self) -> int:
        """N, the number of items."""
        return len(self.start) - 2

    def of(self, item_idx: int) -> np.ndarray:
        """The tokens of one item."""
        return self.tokens[self.start[item_idx] : self.start[item_idx + 1]]

    def take(self, item_indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The tokens of some items: flat int32 and row starts (B+1,) int64."""
        return gather_rows(self.tokens, self.start, np.asarray(item_indices))

    def __repr__(self) -> str:
        return f"ItemTokens({self.n_items} items, {len(self.tokens)} tokens, end token {self.end_token})"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class PromptTokens:
    """Prompts as a shared head and their own tokens: prompt w is `head` + `tokens[start[w]:start[w + 1]]`.

    head: (H,) int32; tokens: (total,) int32; start: (W+1,) int64
    n_truncated: prompts that lost history items to `max_tokens`; n_dropped: the items they lost
    in_pieces: False where the tokenizer needed whole strings
    """

    head: np.ndarray
    tokens: np.ndarray
    start: np.ndarray
    n_truncated: int = 0
    n_dropped: int = 0
    in_pieces: bool = True

    @classmethod
    def of_kept(
        cls, head: np.ndarray, tokens: np.ndarray, start: np.ndarray, *, kept: np.ndarray, history: np.ndarray
    ) -> PromptTokens:
        """Prompts that hold the items `kept` (W, S) of the history (W, S); what they lost is counted."""
        n_lost = np.count_nonzero(history, axis=1) - np.count_nonzero(kept, axis=1)
        n_truncated, n_dropped = int(np.count_nonzero(n_lost)), int(n_lost.sum())
        return cls(head=head, tokens=tokens, start=start, n_truncated=n_truncated, n_dropped=n_dropped)

    def __len__(self) -> int:
        return len(self.start) - 1

    def of(self, row: int) -> np.ndarray:
        """All tokens of one prompt, head included."""
        return np.concatenate([self.head, self.tokens[self.start[row] : self.start[row + 1]]])

    def take(self, rows: np.ndarray) -> PromptTokens:
        """Some of the prompts, in the order asked for; the counts of what was cut stay behind."""
        tokens, start = gather_rows(self.tokens, self.start, np.asarray(rows))
        return PromptTokens(head=self.head, tokens=tokens, start=start, in_pieces=self.in_pieces)

    def without_head(self) -> PromptTokens:
        """The same prompts, with the head among the tokens of each."""
        length, n_head = np.diff(self.start), len(self.head)
        start = row_starts(length + n_head)
        tokens = np.empty(start[-1], np.int32)
        tokens[spans(start[:-1], np.full(len(self), n_head))] = np.tile(self.head, len(self))
        tokens[spans(start[:-1] + n_head, length)] = self.tokens
        return replace(self, head=self.head[:0], tokens=tokens, start=start)

    def __repr__(self) -> str:
        own = f"{len(self)} prompts, head {len(self.head)} + {len(self.tokens)} tokens"
        return f"PromptTokens({own}, {self.n_truncated} truncated)"


def tokenize_items(titles: Sequence[str], tokenizer: Any, *, max_tokens: int | None = None) -> ItemTokens:
    """Tokens of each quoted title, then the tokenizer's end token; no other special token.

    titles: N titles in the order of item_idx 1…N. A title of more than `max_tokens` tokens, end token
    included, is cut to them, and `n_truncated` counts it. Raises InputError for a tokenizer without an end
    token, an id outside its vocabulary, and a title that holds the end token's own text.
    Source: [MSL] Table 4 counts the end token as a position (see `ItemTrie.mean_valid_tokens`).
    """
    end_token = tokenizer.eos_token_id
    if end_token is None:
        raise InputError("the tokenizer has no end token: set its eos_token")
    if max_tokens is not None and max_tokens < 2:
        raise InputError(f"max_tokens is {max_tokens}: a title needs room for one token and the end token")
    text, first = flatten(encode([response(title) for title in titles], tokenizer))
    _check_titles(text, first, titles, end_token, len(tokenizer))
    length = np.diff(first)
    kept = length if max_tokens is None else np.minimum(length, max_tokens - 1)
    start = row_starts(kept + 1)
    tokens = np.full(start[-1], end_token, np.int32)
    tokens[spans(start[:-1], kept)] = text[spans(first[:-1], kept)]
    return ItemTokens(
        tokens=tokens,
        start=np.append(0, start),
        end_token=end_token,
        n_truncated=int(np.count_nonzero(kept < length)),
    )


def _check_titles(
    text: np.ndarray, first: np.ndarray, titles: Sequence[str], end_token: int, vocabulary_size: int
) -> None:
    """Raise InputError, naming the first title that holds the end token or an id outside the vocabulary."""
    is_bad = (text == end_token) | (text >= vocabulary_size)
    if is_bad.any():
        at = int(np.argmax(is_bad))
        row = int(np.searchsorted(first, at, side="right")) - 1
        why = "the end token" if text[at] == end_token else f"outside the tokenizer's {vocabulary_size} ids"
        raise InputError(
            f"the title of item {row + 1}, {titles[row]!r}, has token {text[at]}, {why}: change it"
        )


def tokenize_prompts(
    windows: Windows, titles: Sequence[str], domain: str, tokenizer: Any, *, max_tokens: int
) -> PromptTokens:
    """Tokens of the prompt of each window; a prompt of more than `max_tokens` loses its oldest items.

    windows: W windows with `history` (W, S), left-padded with 0; titles: N titles in item_idx order.
    The head begins with the tokenizer's begin token where the tokenizer adds one by default.
    Raises InputError for an empty history, an item outside the titles, and a newest title that does not
    fit `max_tokens` by itself.
    """
    history = np.asarray(windows.history)
    prompt_pieces.check_history(history, len(titles))
    head = prompt_pieces.head_tokens(domain, tokenizer)
    pieces = prompt_pieces.Pieces.of(history, titles, tokenizer)
    in_pieces = prompt_pieces.pieces_agree(pieces, head, history, titles, domain, tokenizer)
    if in_pieces:
        kept = prompt_pieces.newest_that_fit(pieces.lengths(history), history, max_tokens - len(head))
        tokens, start = pieces.join(kept)
    else:
        kept, rows = prompt_pieces.fit_whole_prompts(history, titles, domain, tokenizer, max_tokens)
        head = head[: len(commonprefix([head.tolist(), *rows]))]
        tokens, start = flatten([row[len(head) :] for row in rows])
    prompts = PromptTokens.of_kept(head, tokens, start, kept=kept, history=history)
    return replace(prompts, in_pieces=in_pieces)


def load_llama3_tokenizer(path: Path | str) -> Any:
    """The Llama 3 tokenizer from its `tokenizer.model`, as a fast tokenizer of 128,256 ids.

    It puts the begin token before a text by default, as Llama 3 does; its end token is 128001.
    """
    from tokenizers import AddedToken, processors
    from transformers import PreTrainedTokenizerFast
    from transformers.convert_slow_tokenizer import TikTokenConverter

    begin, end = _LLAMA3_SPECIAL[:2]
    core = TikTokenConverter(str(path)).converted()
    core.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in _LLAMA3_SPECIAL])
    core.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A", special_tokens=[(begin, core.token_to_id(begin))]
    )
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token=begin, eos_token=end, pad_token=end)
