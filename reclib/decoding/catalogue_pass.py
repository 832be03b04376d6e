"""What a language model says of every item of a catalogue under a few contexts, resumable after a kill.

Each node of the trie runs once, for all contexts together. The nodes go in pre-order and in blocks. A block
starts from a cache of its own, with the contexts and the path to its first node, and so depends on no other
block: a run that goes on from the blocks a kill left gives the same numbers, to the last bit, as one straight
run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from reclib.config import config_hash
from reclib.decoding.lists import refuse_nan
from reclib.decoding.node_scores import Edges, full_edges, valid_edges
from reclib.decoding.recommend import input_digest
from reclib.decoding.search_trie import SearchTrie
from reclib.decoding.tree_cache import TreeCache, evaluating
from reclib.decoding.tree_pass import PreOrder
from reclib.files import atomic_write
from reclib.models.causal_lm import CausalLM
from reclib.schema import InputError
from reclib.text.tokenization import PromptTokens
from reclib.text.trie import ItemTrie

NODES_PER_BLOCK = 256  # tokens of a context in one model call


class TitleScores(NamedTuple):
    """What a model says of each title with its whole vocabulary to choose from; (B, N+1) by item_idx.

    log_prob: float64, log-probability of the title, −inf at 0
    greedy_tail: how many tokens at the end of the title are each the most probable one after those before
    """

    log_prob: np.ndarray
    greedy_tail: np.ndarray


def catalogue_log_probs(
    lm: CausalLM,
    prompts: PromptTokens,
    trie: ItemTrie,
    *,
    workdir: Path | None = None,
    progress: bool = True,
    nodes_per_block: int = NODES_PER_BLOCK,
) -> np.ndarray:
    """Logarithm of P_valid of every item under each of B contexts, (B, N+1) float64, −inf at 0.

    log P_valid(item) = Σ_t log softmax over the children of t_<t of f, at t_t      (trie over all titles)

    Only nodes above a branch run. Items that share a title each have its probability, so the probabilities of
    distinct titles sum to one. With `workdir`, each block of nodes is written there when done, and a rerun
    with the same contexts and items takes it from there: one folder belongs to one model.
    Raises InputError for an item whose tokens are a prefix of another's, and on NaN.
    Source: the specification's (8) [derived by us]; the softmax is [MSL] Eq. (5).
    """
    search = SearchTrie.of(trie, lm.device)
    work = _Pass(lm, prompts, search, search.root, np.asarray(trie.evaluated()), valid_edges, nodes_per_block)
    log_prob = np.zeros((len(prompts), trie.n_nodes))
    for edges in work.blocks(workdir, progress=progress):
        log_prob[:, edges.child] = edges.log_prob
    for level in _levels(trie):
        log_prob[:, level] += log_prob[:, trie.parent[level]]
    return _by_item(log_prob[:, trie.terminal_node], trie, fill=-np.inf)


def title_scores(
    lm: CausalLM,
    prompts: PromptTokens,
    trie: ItemTrie,
    *,
    workdir: Path | None = None,
    progress: bool = True,
    nodes_per_block: int = NODES_PER_BLOCK,
) -> TitleScores:
    """Log-probability of each title under each of B contexts, and how much of its end greedy decoding gives.

    log P(title) = Σ_t log softmax over the vocabulary of f, at t_t

    The sum is over all tokens of the title but the last, the end token, which is no part of it. Every node
    but those before an end token alone runs. `workdir` and errors as in `catalogue_log_probs`.
    Source: the specification's s_tot and s_know [derived by us].
    """
    search = SearchTrie.of(trie, lm.device)
    nodes = _above_a_token(trie)
    work = _Pass(lm, prompts, search, 0, nodes, full_edges, nodes_per_block)
    log_prob = np.zeros((len(prompts), trie.n_nodes))
    is_best = np.zeros((len(prompts), trie.n_nodes), dtype=bool)
    for edges in work.blocks(workdir, progress=progress):
        log_prob[:, edges.child], is_best[:, edges.child] = edges.log_prob, edges.is_best
    log_prob[:, trie.terminal_node] = 0  # the end token
    tail = np.zeros(is_best.shape, dtype=np.int64)
    for level in _levels(trie):
        log_prob[:, level] += log_prob[:, trie.parent[level]]
        tail[:, level] = np.where(is_best[:, level], tail[:, trie.parent[level]] + 1, 0)
    above = trie.parent[trie.terminal_node]
    return TitleScores(
        _by_item(log_prob[:, trie.terminal_node], trie, fill=-np.inf), _by_item(tail[:, above], trie, fill=0)
    )


@dataclass(frozen=True, eq=False)
class _Pass:
    """A pass over some nodes of a trie; `score` turns their hidden states into edges."""

    lm: CausalLM
    prompts: PromptTokens
    trie: SearchTrie
    root: int
    nodes: np.ndarray
    score: Callable[[Tensor, np.ndarray, Tensor, SearchTrie], Edges]
    nodes_per_block: int

    def blocks(self, workdir: Path | None, *, progress: bool) -> list[Edges]:
        """The edges of every block, from `workdir` where they are there."""
        if self.nodes_per_block < 1:
            raise InputError(f"nodes_per_block is {self.nodes_per_block}: at least one node runs at a time")
        order = PreOrder.build(self.trie.trie, self.root, self.nodes)
        size, key = self.nodes_per_block, self._key()
        done = []
        with tqdm(total=len(order.node) + 1, desc="catalogue", unit="node", disable=not progress) as bar:
            for first in range(0, max(1, len(order.node)), size):
                stop = min(first + size, len(order.node))
                path = None if workdir is None else workdir / f"edges-{key}-{first:08d}.npz"
                done.append(self._kept_or_made(order, first, stop, path))
                bar.update(stop - first + (first == 0))
        return done

    def _kept_or_made(self, order: PreOrder, first: int, stop: int, path: Path | None) -> Edges:
        if path is not None and path.exists():
            return Edges.load(path)
        with evaluating(self.lm):
            edges = self._block(order, first, stop)
        if len(edges.child):
            refuse_nan(edges.log_prob)
        if path is not None:
            atomic_write(path, edges.save)
        return edges

    def _block(self, order: PreOrder, first: int, stop: int) -> Edges:
        """The edges out of the nodes at places first … stop − 1, and out of the root with the first block."""
        cache = TreeCache(self.lm, self.prompts, suffix=_tokens_to(self.trie.trie, self.root))
        parts = [self._edges(cache.last_hidden[:, None], np.array([self.root]))] if first == 0 else []
        path = np.flatnonzero(order.end[:first] > first)  # to the first node, from the top
        if len(path):
            self._extend(cache, order, path, np.empty(0, np.int64))
        block = np.arange(first, stop)
        if len(block):
            parts.append(self._edges(self._extend(cache, order, block, path), order.node[block]))
        return Edges.joined(parts)

    def _extend(self, cache: TreeCache, order: PreOrder, block: np.ndarray, path: np.ndarray) -> Tensor:
        """Run the nodes at some places below those of `path`, which the cache holds; (B, n, D)."""
        n_contexts, device, end = len(self.prompts), self.lm.device, order.end[block]
        within = (block[None, :] <= block[:, None]) & (end[None, :] > block[:, None])
        anchor = (order.end[path][None, :] > block[:, None]).sum(1) - 1
        return cache.extend(
            self.trie.token[torch.as_tensor(order.node[block], device=device)].long().expand(n_contexts, -1),
            torch.as_tensor(anchor, device=device).expand(n_contexts, -1),
            torch.as_tensor(within, device=device)[None],
        )

    def _edges(self, hidden: Tensor, node: np.ndarray) -> Edges:
        return self.score(hidden, node, self.lm.output_embedding, self.trie)

    def _key(self) -> str:
        """What the edges depend on besides the model."""
        about = [self.score.__name__, self.nodes_per_block, input_digest(self.prompts, self.trie.trie)]
        return config_hash(about)


def _tokens_to(trie: ItemTrie, node: int) -> np.ndarray:
    """The tokens from the root of the trie to a node."""
    path = []
    while node:
        path.append(trie.token[node])
        node = int(trie.parent[node])
    return np.asarray(path[::-1], dtype=np.int64)


def _above_a_token(trie: ItemTrie) -> np.ndarray:
    """Nodes with a child that is no leaf, ascending: what they are followed by is not the end token alone."""
    inner = np.flatnonzero(trie.n_children > 0)
    return np.unique(np.append(trie.parent[inner[inner > 0]], 0))


def _levels(trie: ItemTrie) -> list[slice]:
    """The nodes of each depth from 1 on."""
    return [slice(*bounds) for bounds in zip(trie.level_start[1:-1], trie.level_start[2:], strict=True)]


def _by_item(values: np.ndarray, trie: ItemTrie, *, fill: float) -> np.ndarray:
    """Values of the leaves (B, n_leaves) as values of the items (B, N+1)."""
    items, row_start = trie.items_at(trie.terminal_node)
    table = np.full((len(values), trie.n_items + 1), fill, dtype=values.dtype)
    table[:, items] = np.repeat(values, np.diff(row_start), axis=1)
    return table
