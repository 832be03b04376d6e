"""`SearchTrie`: the item trie laid out for decoding, on the device of the model.

Most nodes of a catalogue's trie have one child. Their token is forced: log P_valid = 0. So a search over
P_valid steps from one branching node to the next, and runs the forced tokens between them (the chain) in
the same model call.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reclib.schema import InputError
from reclib.text.trie import ItemTrie


@dataclass(frozen=True, kw_only=True)
class SearchTrie:
    """Flat tensors of an `ItemTrie` whose items all end at leaves.

    token: (n_nodes,) int32, the token on the edge into a node
    child_start: (n_nodes+1,) int32, the children of node n are `child_start[n]:child_start[n+1]`
    jump: (n_nodes,) int32, the first node at or below a node that branches or is a leaf
    branching: sorted ids of the branching nodes, then one past all nodes
    chain_start, chain_token: the tokens from below the previous branching node down to this one, ragged
    root: the first node at or below the trie's root that branches or is a leaf
    root_chain: the tokens from the trie's root to `root`, the same for every item
    leaf: some leaf, which stands for "no node" (it has no children and no chain)
    """

    trie: ItemTrie
    token: Tensor
    child_start: Tensor
    jump: Tensor
    branching: Tensor
    chain_start: Tensor
    chain_token: Tensor
    root: int
    root_chain: np.ndarray
    leaf: int
    n_leaves: int

    @classmethod
    def build(cls, trie: ItemTrie, device: torch.device | str = "cpu") -> SearchTrie:
        """Lay out a trie for decoding.

        Raises InputError where an item's tokens are a prefix of another's: such a node would have to weigh
        "stop here" against its children, which has no token. Tokenise the items with an end token instead.
        """
        _refuse_prefix_items(trie)
        child_start = np.asarray(trie.child_start)
        n_children = np.diff(child_start)
        jump = _jumps(child_start, n_children)
        branching = np.flatnonzero(n_children > 1)
        chain_start, chain_token = _chains(trie, jump, branching)
        return cls(
            trie=trie,
            token=_tensor(trie.token, device),
            child_start=_tensor(child_start, device),
            jump=_tensor(jump, device),
            branching=_tensor(np.append(branching, len(n_children)), device),
            chain_start=_tensor(np.append(chain_start, chain_start[-1]), device),
            chain_token=_tensor(chain_token, device),
            root=int(jump[0]),
            root_chain=np.asarray(trie.token)[_forced_path(child_start, int(jump[0]))],
            leaf=len(n_children) - 1,
            n_leaves=len(trie.terminal_node),
        )

    @classmethod
    def of(cls, trie: ItemTrie | SearchTrie, device: torch.device | str) -> SearchTrie:
        """The trie itself where it is laid out already, else a new layout."""
        return trie if isinstance(trie, SearchTrie) else cls.build(trie, device)

    def n_children(self, nodes: Tensor) -> Tensor:
        """Number of children of each node, any shape, int64."""
        return (self.child_start[nodes + 1] - self.child_start[nodes]).long()

    def is_leaf(self, nodes: Tensor) -> Tensor:
        """Whether a node ends an item, any shape, bool."""
        return self.n_children(nodes) == 0

    def chain(self, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """Where each node's chain starts in `chain_token`, and its length: 0 for a node without branches."""
        rank = torch.searchsorted(self.branching, nodes)  # the entry past all nodes is its last
        first, last = self.chain_start[rank], self.chain_start[rank + 1]
        return first, torch.where(self.branching[rank] == nodes, last - first, 0)


def _tensor(values: np.ndarray, device: torch.device | str) -> Tensor:
    return torch.tensor(np.asarray(values), device=device)


def _refuse_prefix_items(trie: ItemTrie) -> None:
    inner = np.flatnonzero(np.diff(trie.child_start)[trie.terminal_node] > 0)
    if len(inner):
        item = trie.terminal_item[trie.terminal_start[inner[0]]]
        raise InputError(
            f"the tokens of item {item} are a prefix of another item's ({len(inner)} such titles): "
            "tokenise the items with an end token, so that each title ends at a leaf of its own"
        )


def _jumps(child_start: np.ndarray, n_children: np.ndarray) -> np.ndarray:
    """First node at or below each node that branches or is a leaf, by pointer doubling."""
    nodes = np.arange(len(n_children), dtype=np.int32)
    jump = np.where(n_children == 1, child_start[:-1], nodes).astype(np.int32)
    while not np.array_equal(further := jump[jump], jump):
        jump = further
    return jump


def _forced_path(child_start: np.ndarray, target: int) -> np.ndarray:
    """Nodes below the root down to `target`, where each node on the way has one child."""
    path = [0]
    while path[-1] != target:
        path.append(int(child_start[path[-1]]))
    return np.asarray(path[1:], dtype=np.int64)


def _chains(trie: ItemTrie, jump: np.ndarray, branching: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ragged chains of the branching nodes, from below the previous branching node (or the root)."""
    child_start, depth = np.asarray(trie.child_start), np.asarray(trie.depth)
    head = branching.copy()  # the first node of each chain
    is_branching = np.zeros(len(jump), dtype=bool)
    is_branching[branching] = True
    parents_branch = is_branching[np.maximum(trie.parent, 0)] | (np.asarray(trie.parent) == 0)
    heads = np.flatnonzero(parents_branch & is_branching[jump])
    heads = heads[heads > 0]
    head[np.searchsorted(branching, jump[heads])] = heads
    length = depth[branching] - depth[head] + (branching > 0)
    start = np.concatenate([[0], np.cumsum(length)])
    tokens = np.empty(start[-1], dtype=np.int64)
    node = head.copy()
    for step in range(int(length.max(initial=0))):
        live = np.flatnonzero(length > step)
        tokens[start[live] + step] = trie.token[node[live]]
        node[live] = child_start[node[live]]
    return start, tokens
