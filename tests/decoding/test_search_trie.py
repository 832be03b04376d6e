from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reclib.decoding.search_trie import SearchTrie
from reclib.decoding.tree_pass import PreOrder
from reclib.schema import InputError
from reclib.text.trie import ItemTrie
from tests.decoding.made import END, Rows, catalogue, item_tokens

tries = st.lists(
    st.lists(st.integers(1, 3), max_size=6).map(lambda row: [*row, END]), min_size=1, max_size=12
)


def path_to(trie: ItemTrie, node: int) -> list[int]:
    """Nodes from below the root down to `node`."""
    path: list[int] = []
    while node > 0:
        path.append(node)
        node = int(trie.parent[node])
    return path[::-1]


@given(tries)
def test_chains_along_a_path_spell_its_tokens(rows: Rows) -> None:
    trie = ItemTrie.build(item_tokens(rows))
    search = SearchTrie.build(trie)
    for node in trie.branching().tolist():
        path = path_to(trie, node)
        last = max((place for place, above in enumerate(path[:-1]) if trie.n_children[above] > 1), default=-1)
        start, length = search.chain(torch.tensor([node]))
        chain = search.chain_token[int(start) : int(start + length)].tolist()
        assert chain == trie.token[path[last + 1 :]].tolist()


@given(tries)
def test_a_jump_ends_where_the_next_choice_or_an_item_is(rows: Rows) -> None:
    trie = ItemTrie.build(item_tokens(rows))
    search = SearchTrie.build(trie)
    for node in range(trie.n_nodes):
        expected = node
        while trie.n_children[expected] == 1:
            expected = int(trie.child_start[expected])
        assert int(search.jump[node]) == expected
    assert search.root_chain.tolist() == trie.token[path_to(trie, search.root)].tolist()
    assert search.is_leaf(torch.tensor([search.leaf])).all()


@given(tries)
def test_subtrees_stand_together_in_pre_order(rows: Rows) -> None:
    trie = ItemTrie.build(item_tokens(rows))
    root = SearchTrie.build(trie).root
    order = PreOrder.build(trie, root)
    below = [
        node for node in trie.evaluated().tolist() if root in path_to(trie, node)[:-1] or root == 0 < node
    ]
    assert sorted(order.node.tolist()) == below
    for place, node in enumerate(order.node.tolist()):
        subtree = [other for other in below if node in path_to(trie, other)]
        assert sorted(order.node[place : order.end[place]].tolist()) == subtree


def test_nodes_without_branches_have_no_chain() -> None:
    trie = ItemTrie.build(item_tokens(catalogue(30)))
    search = SearchTrie.build(trie)
    _, length = search.chain(torch.as_tensor(np.flatnonzero(trie.n_children < 2)))
    assert not length.any()


def test_an_item_that_begins_another_is_named() -> None:
    trie = ItemTrie.build(item_tokens([[5, 6], [5, 6, 7], [8]]))
    with pytest.raises(InputError, match="item 1 are a prefix of another item's .*end token"):
        SearchTrie.build(trie)
