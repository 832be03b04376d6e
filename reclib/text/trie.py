"""`ItemTrie`: which tokens keep a text a prefix of some item, as flat arrays without an object per node.

Nodes are numbered breadth first and, within one parent, by token. So the children of a node are a
contiguous range of ids, one int32 a node says where it starts, and 8 bytes a node say everything.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from reclib.schema import InputError
from reclib.text.ragged import row_starts, spans
from reclib.text.tokenization import ItemTokens
from reclib.text.trie_build import build_arrays
from reclib.text.trie_files import load_arrays, save_arrays


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ItemTrie:
    """The trie of all items' tokens; the root is node 0.

    token: (n_nodes,) int32, the token on the edge into a node; -1 for the root
    child_start: (n_nodes+1,) int32, the children of node n are nodes child_start[n] … child_start[n+1]-1
    terminal_node: (n_terminals,) int32, sorted: the nodes at which items end
    terminal_start: (n_terminals+1,) int32 and terminal_item: (N,) int32, the items that end there, ascending

    Items with the same tokens end at one node. An item whose tokens are a prefix of another's ends at an
    inner node; with an end token that cannot happen.
    """

    token: np.ndarray
    child_start: np.ndarray
    terminal_node: np.ndarray
    terminal_start: np.ndarray
    terminal_item: np.ndarray

    @classmethod
    def build(cls, item_tokens: ItemTokens, *, vocabulary_size: int | None = None) -> ItemTrie:
        """Build the trie of all items by sorting, one depth after the other.

        Raises InputError, naming the item, for an item without tokens, a negative token, and a token at or
        above `vocabulary_size` where that is given; and for a catalogue without items.
        """
        return cls(**build_arrays(item_tokens.tokens, item_tokens.start, vocabulary_size))

    @classmethod
    def load(cls, folder: Path | str, *, mmap: bool = True) -> ItemTrie:
        """The trie saved in `folder`, memory-mapped; InputError where the folder holds no whole trie."""
        return cls(**load_arrays(Path(folder), mmap=mmap))

    def save(self, folder: Path | str) -> None:
        """Write the arrays and their version to `folder`, replacing a trie that is there, in one step."""
        save_arrays(Path(folder), {name: getattr(self, name) for name in self.__dataclass_fields__})

    def __repr__(self) -> str:
        return f"ItemTrie({self.n_items} items, {self.n_nodes} nodes, {len(self.branching())} branching)"

    @property
    def n_nodes(self) -> int:
        """Number of nodes, root included."""
        return len(self.token)

    @property
    def n_items(self) -> int:
        """N, the number of items."""
        return len(self.terminal_item)

    @cached_property
    def n_children(self) -> np.ndarray:
        """Number of valid tokens after each node, (n_nodes,) int32."""
        return np.diff(self.child_start)

    @cached_property
    def is_forced(self) -> np.ndarray:
        """Whether exactly one token is valid after a node, (n_nodes,) bool."""
        return self.n_children == 1

    @cached_property
    def parent(self) -> np.ndarray:
        """The node above each node, (n_nodes,) int32; -1 for the root."""
        parent = np.full(self.n_nodes, -1, np.int32)
        parent[1:] = np.repeat(np.arange(self.n_nodes, dtype=np.int32), self.n_children)
        return parent

    @cached_property
    def level_start(self) -> np.ndarray:
        """The nodes at depth d are level_start[d] … level_start[d+1]-1; (deepest depth + 2,) int64."""
        bounds = [0, 1]
        while bounds[-1] < self.n_nodes:
            bounds.append(int(self.child_start[bounds[-1]]))
        return np.asarray(bounds)

    @cached_property
    def depth(self) -> np.ndarray:
        """Number of tokens on the way to each node, (n_nodes,) int32."""
        n_levels = len(self.level_start) - 1
        return np.repeat(np.arange(n_levels, dtype=np.int32), np.diff(self.level_start))

    def branching(self) -> np.ndarray:
        """The nodes after which two or more tokens are valid, ascending, int64."""
        return np.flatnonzero(self.n_children > 1)

    def evaluated(self) -> np.ndarray:
        """The nodes whose hidden state a masked softmax over the whole catalogue needs, ascending, int64.

        = the branching nodes and every node above one: elsewhere the only valid token has probability 1.
        """
        is_evaluated = self.n_children > 1
        for level in range(len(self.level_start) - 2, 0, -1):
            nodes = slice(self.level_start[level], self.level_start[level + 1])
            is_evaluated[self.parent[nodes][is_evaluated[nodes]]] = True
        return np.flatnonzero(is_evaluated)

    def children(self, nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The children of each node (B,): their ids, flat int64, and row starts (B+1,) int64.

        Their tokens, the valid tokens after the node in ascending order, are `token[ids]`.
        """
        nodes = np.asarray(nodes)
        first = self.child_start[nodes]
        length = self.child_start[nodes + 1] - first
        return spans(first, length), row_starts(length)

    def step(self, nodes: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """The child of each node (B,) by the token (B,), int64; -1 where the token is not valid.

        A node of -1 has no child. A binary search in each node's range of children, all nodes at once.
        """
        nodes, tokens = np.asarray(nodes, np.int64), np.asarray(tokens)
        known = np.maximum(nodes, 0)
        low = self.child_start[known].astype(np.int64)
        end = np.where(nodes < 0, low, self.child_start[known + 1])
        high, open_ = end.copy(), np.flatnonzero(low < end)
        while len(open_):
            middle = (low[open_] + high[open_]) // 2
            is_below = self.token[middle] < tokens[open_]
            low[open_] = np.where(is_below, middle + 1, low[open_])
            high[open_] = np.where(is_below, high[open_], middle)
            open_ = open_[low[open_] < high[open_]]
        found = low < end
        found[found] = self.token[low[found]] == tokens[found]
        return np.where(found, low, -1)

    def nodes_of(self, prefixes: np.ndarray) -> np.ndarray:
        """The node of each prefix (B, T), padded with -1 at the end; int64, -1 where it begins no item."""
        prefixes = np.asarray(prefixes)
        node = np.zeros(len(prefixes), np.int64)
        for column in prefixes.T:
            more = column != -1
            node[more] = self.step(node[more], column[more])
        return node

    def path(self, item_tokens: ItemTokens) -> np.ndarray:
        """The node before each token of `item_tokens.tokens`, int32.

        Its children are the valid tokens of that position. Raises InputError, naming the item, where its
        tokens are not in the trie.
        """
        node_before = np.empty(len(item_tokens.tokens), np.int32)
        position, stop = item_tokens.start[:-1], item_tokens.start[1:]
        node = np.zeros(len(position), np.int64)
        while len(node):
            live = (position < stop) & (node >= 0)
            position, stop, node = position[live], stop[live], node[live]
            node_before[position] = node
            node = self.step(node, item_tokens.tokens[position])
            if (node < 0).any():
                at = position[np.argmax(node < 0)]
                item = int(np.searchsorted(item_tokens.start, at, side="right")) - 1
                raise InputError(f"item {item} is not in the trie: build the trie from the same item tokens")
            position = position + 1
        return node_before

    def items_at(self, nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The items that end at each node (B,): item_idx, flat int32, and row starts (B+1,) int64."""
        nodes = np.asarray(nodes)
        row = np.minimum(np.searchsorted(self.terminal_node, nodes), len(self.terminal_node) - 1)
        first, last = self.terminal_start[row], self.terminal_start[row + 1]
        length = np.where(self.terminal_node[row] == nodes, last - first, 0)
        return self.terminal_item[spans(first, length)], row_starts(length)

    def mean_valid_tokens(self, item_tokens: ItemTokens, items: np.ndarray) -> float:
        """Average number of valid tokens over all token positions of the targets `items` (W,).

        = Σ_w Σ_t |Z_valid(y_<t)| / Σ_w |y|, repeated targets counted each time, the end token's position and
        forced positions included, valid with respect to the whole catalogue. Source: [MSL] Table 4, AVT.
        """
        weight = np.bincount(np.asarray(items), minlength=item_tokens.n_items + 1)
        length = np.diff(item_tokens.start)
        n_valid = self.n_children[self.path(item_tokens)]
        return float(n_valid @ np.repeat(weight, length) / (weight @ length))
