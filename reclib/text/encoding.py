"""Strings to token ids through any tokenizer with the interface of transformers' fast tokenizers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_BATCH = 8192  # strings handed to the tokenizer at once; bounds its memory on a million titles


def encode(texts: Sequence[str], tokenizer: Any) -> list[list[int]]:
    """Token ids of each text, without special tokens."""
    rows: list[list[int]] = []
    for first in range(0, len(texts), _BATCH):
        batch = tokenizer(
            list(texts[first : first + _BATCH]),
            add_special_tokens=False,
            return_attention_mask=False,
            verbose=False,
        )
        rows.extend(batch["input_ids"])
    return rows


def begin_tokens(tokenizer: Any) -> list[int]:
    """The begin token, in a list, where the tokenizer puts one before every text by default; else nothing."""
    added = tokenizer("", verbose=False)["input_ids"][:1]
    return list(added) if added and added[0] == tokenizer.bos_token_id else []
