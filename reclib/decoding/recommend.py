"""Ranked lists for many users: in batches, with progress, resumable after a kill."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path

import numpy as np
from tqdm import tqdm

from reclib.arrays import read_arrays, save_arrays
from reclib.config import DecodingConfig, config_hash
from reclib.decoding.beam import constrained_beam_search
from reclib.decoding.exact import exact_top_k
from reclib.decoding.lists import Lists
from reclib.decoding.search_trie import SearchTrie
from reclib.models.causal_lm import CausalLM
from reclib.schema import InputError
from reclib.text.tokenization import PromptTokens
from reclib.text.trie import ItemTrie

_BATCHES_PER_FILE = 8


def recommend(
    lm: CausalLM,
    prompts: PromptTokens,
    trie: ItemTrie,
    config: DecodingConfig,
    *,
    workdir: Path | None = None,
    progress: bool = True,
) -> Lists:
    """The `config.top_k` best items for each of W prompts, in the order of the prompts.

    Users go through the model in batches of `config.users_per_batch`, longest prompts first, so that prompts
    of like length share a batch and a lack of memory shows at once. With `workdir` every group of batches is
    written there when done, and a rerun with the same configuration, prompts and items takes it from there.
    The model is not part of that key: one folder belongs to one model. Raises InputError for a configuration
    that cannot be met.
    """
    search = SearchTrie.build(trie, lm.device)
    _check(config, trie)
    lists = Lists.empty(len(prompts), config.top_k)
    order = np.argsort(-np.diff(prompts.start), kind="stable")
    per_file = config.users_per_batch * _BATCHES_PER_FILE
    key = _key(prompts, trie, config)
    with tqdm(
        total=len(prompts), desc=f"recommend ({config.protocol})", unit="user", disable=not progress
    ) as bar:
        for number, first in enumerate(range(0, len(prompts), per_file)):
            rows = order[first : first + per_file]
            path = None if workdir is None else workdir / f"lists-{key}-{number:05d}.npz"
            part = Lists(**read_arrays(path)) if path is not None and path.exists() else None
            if part is None:
                part = _group(lm, prompts, search, config, rows, bar)
                if path is not None:
                    save_arrays(path, vars(part))
            else:
                bar.update(len(rows))
            lists.items[rows], lists.scores[rows] = part.items, part.scores
    return lists


def _group(
    lm: CausalLM, prompts: PromptTokens, trie: SearchTrie, config: DecodingConfig, rows: np.ndarray, bar: tqdm
) -> Lists:
    """Lists of some prompts, one batch after another."""
    parts = []
    for first in range(0, len(rows), config.users_per_batch):
        batch = rows[first : first + config.users_per_batch]
        parts.append(_batch(lm, prompts.take(batch), trie, config))
        bar.update(len(batch))
    return Lists(
        np.concatenate([part.items for part in parts]), np.concatenate([part.scores for part in parts])
    )


def _batch(lm: CausalLM, prompts: PromptTokens, trie: SearchTrie, config: DecodingConfig) -> Lists:
    if config.protocol == "exact_top_k":
        return exact_top_k(lm, prompts, trie, k=config.top_k)
    lists = constrained_beam_search(
        lm,
        prompts,
        trie,
        num_beams=config.num_beams,
        scoring=config.scoring,
        length_penalty=config.length_penalty if config.scoring == "full" else None,
    )
    return Lists(lists.items[:, : config.top_k], lists.scores[:, : config.top_k])


def _check(config: DecodingConfig, trie: ItemTrie) -> None:
    if config.protocol not in ("exact_top_k", "constrained_beam"):
        raise InputError(f'protocol is {config.protocol!r}: choose "exact_top_k" or "constrained_beam"')
    if config.protocol == "exact_top_k" and config.scoring != "valid":
        raise InputError('exact_top_k ranks by P_valid: set scoring="valid", or protocol="constrained_beam"')
    if config.protocol == "constrained_beam" and config.top_k > config.num_beams:
        raise InputError(
            f"top_k is {config.top_k}, more than {config.num_beams} beams can find: raise num_beams"
        )


def _key(prompts: PromptTokens, trie: ItemTrie, config: DecodingConfig) -> str:
    """What the lists depend on besides the model."""
    return config_hash({"config": asdict(config), "input": input_digest(prompts, trie)})


def input_digest(prompts: PromptTokens, trie: ItemTrie) -> str:
    """SHA-256 of some prompts and of a catalogue."""
    digest = hashlib.sha256()
    for array in (
        prompts.head,
        prompts.tokens,
        prompts.start,
        trie.token,
        trie.child_start,
        trie.terminal_node,
        trie.terminal_start,
        trie.terminal_item,
    ):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
