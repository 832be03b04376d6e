"""Small tokenizers learned on the spot, titles with every awkward character, and tries the slow way."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

END, BEGIN = "<|end|>", "<|begin|>"

TITLES = [
    "The Matrix (1999)",
    "The Matrix Reloaded",
    "The Matrix",
    "The Matrix",
    'The "Real" Thing',
    '"Quoted"',
    "Love's Labour's Lost: Performed by Derek Jacobi &amp; Cast",
    "101 Dalmatians, 2nd edition!",
    "Ends with a comma,",
    " begins and ends with a blank ",
    "Café Müller – Ελλάδα 日本語 🎲",
    "!!!",
    "",
    "x",
]

# The pre-tokenizers of GPT-2 and SmolLM2, and of Llama 3.
LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BYTE_LEVEL = {
    "gpt2": pre_tokenizers.ByteLevel(add_prefix_space=False),
    "llama3": pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA3_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    ),
}


def byte_level_tokenizer(kind: str = "gpt2", *, begin: bool = False) -> PreTrainedTokenizerFast:
    """Byte-level BPE learned from the titles, with merges across quotes, commas and line breaks."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = BYTE_LEVEL[kind]
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=[END, BEGIN],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator([f'before: "{a}", "{b}"\n\n###' for a in TITLES for b in TITLES], trainer)
    if begin:
        core.post_processor = processors.TemplateProcessing(
            single=f"{BEGIN} $A", special_tokens=[(BEGIN, core.token_to_id(BEGIN))]
        )
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token=END, bos_token=BEGIN)


def blank_marking_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer that marks the beginning of every text as a blank: its pieces do not join to the whole."""
    core = Tokenizer(models.BPE(unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<unk>", END], show_progress=False)
    core.train_from_iterator([f'before: "{a}", "{b}"' for a in TITLES for b in TITLES], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token=END, unk_token="<unk>")


def windows(rows: Sequence[Sequence[int]]) -> Any:
    """Histories of different lengths, padded on the left as `Windows` holds them."""
    history = np.zeros((len(rows), max(map(len, rows))), np.int32)
    for row, items in zip(history, rows, strict=True):
        row[len(row) - len(items) :] = items
    return SimpleNamespace(history=history)


def dict_trie(rows: Sequence[Sequence[int]]) -> dict[int, Any]:
    """The trie as nested dicts: the reference for `ItemTrie`."""
    root: dict[int, Any] = {}
    for row in rows:
        node = root
        for token in row:
            node = node.setdefault(token, {})
    return root
