"""Made-up catalogues and prompts, and slow oracles of what decoding must find."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch

from reclib.config import LMConfig
from reclib.models.causal_lm import CausalLM, load_lm
from reclib.text.tokenization import ItemTokens, PromptTokens

END = 0  # the end token of the random LM
TITLES = ["The Red House", "The Red River", "Blue Moon (1999)"]
Rows = list[list[int]]


@lru_cache
def lm() -> CausalLM:
    return load_lm(LMConfig(name="random"), seed=0, titles=TITLES)


def catalogue(n_items: int, *, seed: int = 0, lead: Sequence[int] = (), n_words: int = 25) -> Rows:
    """Items of 1 to 6 words and an end token: shared prefixes, forced tails, several items of one title."""
    generator = np.random.default_rng(seed)
    words = generator.choice(np.arange(10, 200), n_words, replace=False)
    lengths = generator.integers(1, 7, size=n_items)
    picks = [np.minimum(generator.zipf(1.6, size=length), n_words) - 1 for length in lengths]
    return [[*lead, *words[pick].tolist(), END] for pick in picks]


def item_tokens(rows: Rows) -> ItemTokens:
    return ItemTokens.from_lists(rows, end_token=END)


def prompt_tokens(n_users: int, *, seed: int = 0, n_head: int = 7) -> PromptTokens:
    """Prompts of unlike lengths below one head."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(1, 20, size=n_users)
    return PromptTokens(
        head=generator.integers(2, 200, size=n_head).astype(np.int32),
        tokens=generator.integers(2, 200, size=lengths.sum()).astype(np.int32),
        start=np.concatenate([[0], np.cumsum(lengths)]),
    )


def valid_tokens(rows: Rows) -> dict[tuple[int, ...], list[int]]:
    """Tokens that may follow each prefix of an item."""
    valid: dict[tuple[int, ...], set[int]] = {}
    for row in rows:
        for place, token in enumerate(row):
            valid.setdefault(tuple(row[:place]), set()).add(token)
    return {prefix: sorted(tokens) for prefix, tokens in valid.items()}


def shared_title(rows: Rows) -> set[int]:
    """The item_idx of every item whose tokens are another's too."""
    return {i for i, row in enumerate(rows, start=1) if rows.count(row) > 1}


@torch.no_grad()
def brute_force(model: CausalLM, prompts: PromptTokens, rows: Rows, *, full: bool = False) -> np.ndarray:
    """Log-probability of every item, one plain forward pass an item: (B, N+1), −∞ at 0."""
    scores = np.full((len(prompts), len(rows) + 1), -np.inf)
    valid = valid_tokens(rows)
    for user in range(len(prompts)):
        prompt = prompts.of(user).tolist()
        for item, row in enumerate(rows, start=1):
            found = model.network(torch.tensor([prompt + row]), logits_to_keep=len(row) + 1)
            logits = found.logits[0, :-1].double()
            scores[user, item] = 0.0
            for place, token in enumerate(row):
                among = logits[place] if full else logits[place, valid[tuple(row[:place])]]
                scores[user, item] += float(logits[place, token] - among.logsumexp(0))
    return scores


@torch.no_grad()
def generated(
    model: CausalLM,
    prompts: PromptTokens,
    rows: Rows,
    *,
    num_beams: int,
    length_penalty: float,
    renormalize: bool,
) -> list[list[tuple[float, list[int]]]]:
    """Score and items of each of the sequences that transformers' own beam search returns, for each user."""
    valid, lists, end = valid_tokens(rows), [], rows[0][-1]
    for user in range(len(prompts)):
        prompt = prompts.of(user).tolist()
        n_prompt = len(prompt)
        found = model.network.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            num_beams=num_beams,
            num_return_sequences=num_beams,
            do_sample=False,
            early_stopping=False,
            length_penalty=length_penalty,
            renormalize_logits=renormalize,
            max_new_tokens=max(map(len, rows)) + 1,
            eos_token_id=end,
            pad_token_id=end,
            prefix_allowed_tokens_fn=lambda _, ids, n=n_prompt: valid.get(tuple(ids[n:].tolist()), [end]),
            return_dict_in_generate=True,
            output_scores=True,
        )
        sequences = [row[: row.index(end) + 1] for row in found.sequences[:, len(prompt) :].tolist()]
        items = [[i for i, row in enumerate(rows, start=1) if row == sequence] for sequence in sequences]
        lists.append(list(zip(found.sequences_scores.tolist(), items, strict=True)))
    return lists


def first_items(entries: list[tuple[float, list[int]]], k: int) -> tuple[list[float], list[int]]:
    """The first K items of a list of titles, items of one title one after the other."""
    flat = [(score, item) for score, items in entries for item in items][:k]
    return [score for score, _ in flat], [item for _, item in flat]
