"""Exact ranking by P_valid: the top K by best-first search, and the probability of every item.

log P_valid(item) is the sum over its tokens of log softmax over the valid tokens, so the log-probability of a
prefix bounds that of every item below it. A search that opens prefixes in order of their bound, until K items
stand above every prefix left, has found the K best of the whole catalogue.
"""

from __future__ import annotations

import numpy as np

from reclib.decoding.best_first import BestFirstSearch, ExactLists
from reclib.decoding.lists import refuse_nan
from reclib.decoding.search_trie import SearchTrie
from reclib.decoding.tree_cache import evaluating
from reclib.decoding.tree_pass import leaf_log_probs
from reclib.models.causal_lm import CausalLM
from reclib.text.tokenization import PromptTokens
from reclib.text.trie import ItemTrie


def exact_top_k(
    lm: CausalLM,
    prompts: PromptTokens,
    trie: ItemTrie | SearchTrie,
    *,
    k: int,
    nodes_per_round: int = 8,
) -> ExactLists:
    """The K items of highest log P_valid for each user, by best-first search.

    Rounds over all users at once: of the K best entries of a user's frontier, open the prefixes (up to
    `nodes_per_round` of them, best first) in one model call. A user is done when the K best are items.

    Items that share a title each have its probability and follow one another by item_idx. Raises InputError
    for a K above the number of items, and for an item whose tokens are a prefix of another's.
    Source: the bound of [MSL] Eq. (5).
    """
    with evaluating(lm):
        laid_out = SearchTrie.of(trie, lm.device)
        search = BestFirstSearch(lm, prompts, laid_out, k=k, nodes_per_round=nodes_per_round)
        while search.advance():
            pass
        return search.lists()


def exact_scores(
    lm: CausalLM, prompts: PromptTokens, trie: ItemTrie | SearchTrie, *, block_size: int = 256
) -> np.ndarray:
    """Logarithm of P_valid of every item for each user, from one pass over the nodes above a branch.

    log P_valid(item) = Σ_t log softmax over the valid tokens of f, at the item's token t.

    Returns (B, N+1) float32 by item_idx, −inf at 0. Items that share a title each have its probability, so
    the probabilities of distinct titles sum to one. `block_size`: tokens of a user in one model call.
    Raises InputError for an item whose tokens are a prefix of another's, and on NaN.
    Source: [MSL] Eq. (5).
    """
    search = SearchTrie.of(trie, lm.device)
    with evaluating(lm):
        log_prob = leaf_log_probs(lm, prompts, search, block_size=block_size).cpu().numpy()
    refuse_nan(log_prob)
    items, row_start = search.trie.items_at(search.trie.terminal_node)
    scores = np.full((len(log_prob), search.trie.n_items + 1), -np.inf, dtype=np.float32)
    scores[:, items] = np.repeat(log_prob, np.diff(row_start), axis=1)
    return scores
