"""How many tokens are valid at each position of a title, and what building the trie costs."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd

from reclib.text.tokenization import ItemTokens
from reclib.text.trie import ItemTrie


def valid_tokens_by_position(trie: ItemTrie, item_tokens: ItemTokens, items: np.ndarray) -> pd.DataFrame:
    """Mean number of valid tokens at each target position over the targets `items`.

    A position's valid tokens are the children of the trie node before it; the end token is a position
    like any other, and so is a forced one (exactly one valid token).

    items: (W,) item_idx of targets, repeated as often as they are targets.
    Returns one row a position: position (1 is the first token), mean_valid_tokens, forced_share, targets.
    Source: [MSL] Table 4 averages over all rows' positions together (`mean_valid_tokens` of the trie).
    """
    counts = trie.n_children[trie.path(item_tokens)]
    lengths = np.diff(item_tokens.start)
    weight = np.bincount(items, minlength=len(lengths))
    owner = np.repeat(np.arange(len(lengths)), lengths)
    position = np.arange(len(counts)) - item_tokens.start[:-1][owner]
    token_weight = weight[owner].astype(float)
    targets = np.bincount(position, token_weight)
    kept = targets > 0
    return pd.DataFrame(
        {
            "position": np.arange(1, len(targets) + 1)[kept],
            "mean_valid_tokens": (np.bincount(position, token_weight * counts) / np.maximum(targets, 1))[kept],
            "forced_share": (np.bincount(position, token_weight * (counts == 1)) / np.maximum(targets, 1))[kept],
            "targets": targets[kept].astype(int),
        }
    )


def trie_summary(trie: ItemTrie, item_tokens: ItemTokens, items: np.ndarray, *, repeats: int = 5) -> dict[str, float]:
    """Size, branching and build time of a catalogue's trie.

    mean_valid_tokens (AVT) is over the target tokens of `items`; build_seconds is the fastest of `repeats`.
    """
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        ItemTrie.build(item_tokens)
        seconds.append(time.perf_counter() - started)
    return {
        "items": item_tokens.n_items,
        "tokens": len(item_tokens.tokens),
        "nodes": trie.n_nodes,
        "branching_nodes": len(trie.branching()),
        "evaluated_nodes": len(trie.evaluated()),
        "forced_share": float(trie.is_forced.mean()),
        "mean_valid_tokens": trie.mean_valid_tokens(item_tokens, items),
        "build_seconds": min(seconds),
    }
