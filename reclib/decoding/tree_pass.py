"""One tree-attention pass over every node of the trie whose hidden state a probability depends on.

The nodes run in pre-order, a block at a time. In pre-order the ancestors of a block that stand outside it are
those of its first node, so between two blocks only that path stays in the cache: attention costs a block
times (prompt + path + block), however large the tree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reclib.decoding.scoring import score_children, score_root
from reclib.decoding.search_trie import SearchTrie
from reclib.decoding.tree_cache import TreeCache
from reclib.models.causal_lm import CausalLM
from reclib.text.tokenization import PromptTokens
from reclib.text.trie import ItemTrie


@dataclass(frozen=True)
class PreOrder:
    """Nodes below a root in pre-order.

    node: (n,) trie nodes; end: (n,) the subtree of the node at place i is the places i to end[i] − 1
    """

    node: np.ndarray
    end: np.ndarray

    @classmethod
    def build(cls, trie: ItemTrie, root: int, nodes: np.ndarray | None = None) -> PreOrder:
        """Order the evaluated nodes below `root`, level by level.

        nodes: others to order instead, ascending; with a node, all nodes between it and the root.
        """
        chosen = np.asarray(trie.evaluated() if nodes is None else nodes)
        node = chosen[np.asarray(trie.depth)[chosen] > trie.depth[root]]
        depth = np.asarray(trie.depth)[node]
        # Places in `node`; those of the top level, whose parent is not there, are never looked at.
        parent = np.searchsorted(node, np.asarray(trie.parent)[node])
        levels = np.split(np.arange(len(node)), np.flatnonzero(np.diff(depth)) + 1) if len(node) else []
        size = np.ones(len(node), dtype=np.int64)
        for level in levels[:0:-1]:
            np.add.at(size, parent[level], size[level])
        place = np.zeros(len(node), dtype=np.int64)
        for i, level in enumerate(levels):
            before = np.cumsum(size[level]) - size[level]
            if i == 0:
                place[level] = before
                continue
            eldest = np.searchsorted(parent[level], parent[level])  # siblings stand together
            place[level] = place[parent[level]] + 1 + before - before[eldest]
        order = np.argsort(place)
        return cls(node[order], np.arange(len(node)) + size[order])


def leaf_log_probs(lm: CausalLM, prompts: PromptTokens, trie: SearchTrie, *, block_size: int) -> Tensor:
    """Logarithm of P_valid of each leaf, (B, n_leaves) in the order of `trie.trie.terminal_node`."""
    cache = TreeCache(lm, prompts, suffix=trie.root_chain)
    if trie.root == trie.leaf:
        return torch.zeros(len(cache.last_hidden), 1)
    children, log_prob = score_root(cache.last_hidden, lm.output_embedding, trie)
    edges = [(children, log_prob)]
    order = PreOrder.build(trie.trie, trie.root)
    held = np.empty(0, dtype=np.int64)  # places whose tokens are in the cache, ascending
    for first in range(0, len(order.node), block_size):
        path = held[order.end[held] > first]
        cache.keep_slots(torch.as_tensor(np.searchsorted(held, path), device=lm.device))
        block = np.arange(first, min(first + block_size, len(order.node)))
        edges.append(_run_block(lm, cache, trie, order, block=block, path=path))
        held = np.concatenate([path, block])
    return _sum_along_paths(edges, trie)


def _run_block(
    lm: CausalLM, cache: TreeCache, trie: SearchTrie, order: PreOrder, *, block: np.ndarray, path: np.ndarray
) -> tuple[Tensor, Tensor]:
    """Children of the block's branching nodes, (C,), and the log-probability of each, (B, C)."""
    n_users = len(cache.last_hidden)
    end = order.end[block]
    within = (block[None, :] <= block[:, None]) & (end[None, :] > block[:, None])
    anchor = (order.end[path][None, :] > block[:, None]).sum(1) - 1
    node = torch.as_tensor(order.node[block], dtype=torch.long, device=lm.device)
    hidden = cache.extend(
        trie.token[node].long().expand(n_users, -1),
        torch.as_tensor(anchor, device=lm.device).expand(n_users, -1),
        torch.as_tensor(within, device=lm.device)[None],
    )
    n_children = trie.trie.n_children[order.node[block]]
    branching, total = np.flatnonzero(n_children > 1), int(n_children[n_children > 1].sum())
    place = torch.as_tensor(branching, device=lm.device)
    at_branch, rows = hidden[:, place].flatten(0, 1), node[place].repeat(n_users)
    children = score_children(at_branch, lm.output_embedding, rows, trie, total=n_users * total, full=False)
    return children.node[:total], children.log_prob.view(n_users, total)


def _sum_along_paths(edges: list[tuple[Tensor, Tensor]], trie: SearchTrie) -> Tensor:
    """Add up the edges from the root to each leaf: all paths climb together, one edge a step."""
    child = torch.cat([node for node, _ in edges])
    order = trie.jump[child].argsort()
    target = trie.jump[child][order].cpu().numpy()  # what each edge leads to, sorted
    above = np.asarray(trie.trie.parent)[child[order].cpu().numpy()]
    none = len(target)
    edge = torch.nn.functional.pad(torch.cat([log_prob for _, log_prob in edges], dim=1)[:, order], (0, 1))
    next_up = np.append(np.where(above == trie.root, none, np.searchsorted(target, above)), none)
    place = np.searchsorted(target, trie.trie.terminal_node)
    total = torch.zeros(len(edge), len(place), device=edge.device)
    while (place < none).any():
        total += edge[:, torch.as_tensor(place, device=edge.device)]
        place = next_up[place]
    return total
