"""`ItemTrie` against a dict of dicts and marisa-trie."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import marisa_trie
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reclib.schema import InputError
from reclib.text.tokenization import ItemTokens
from reclib.text.trie import ItemTrie
from tests.text.toy import dict_trie

Rows = list[list[int]]
catalogues = st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=6), min_size=1, max_size=25)


def built(rows: Rows) -> ItemTrie:
    return ItemTrie.build(ItemTokens.from_lists(rows))


def prefixes(rows: Rows) -> list[tuple[int, ...]]:
    """All prefixes of all items, breadth first and by token: the nodes of the trie in their order."""
    found = {tuple(row[:n]) for row in rows for n in range(len(row) + 1)}
    return sorted(found, key=lambda prefix: (len(prefix), prefix))


def padded(rows: list[tuple[int, ...]]) -> np.ndarray:
    table = np.full((len(rows), max(map(len, rows))), -1)
    for line, row in zip(table, rows, strict=True):
        line[: len(row)] = row
    return table


def groups(flat: np.ndarray, start: np.ndarray) -> list[list[int]]:
    return [flat[a:b].tolist() for a, b in pairwise(start.tolist())]


def valid_in_dict(trie: dict[int, Any], prefix: tuple[int, ...]) -> list[int]:
    for token in prefix:
        trie = trie[token]
    return sorted(trie)


def valid_in_marisa(trie: marisa_trie.Trie, prefix: tuple[int, ...]) -> list[int]:
    text = "".join(map(chr, prefix))
    return sorted({ord(key[len(text)]) for key in trie.keys(text) if len(key) > len(text)})


@given(catalogues)
def test_valid_tokens_equal_those_of_a_dict_and_of_marisa(rows: Rows) -> None:
    trie, nodes = built(rows), prefixes(rows)
    reference = dict_trie(rows)
    oracle = marisa_trie.Trie("".join(map(chr, row)) for row in rows)
    children, start = trie.children(np.arange(trie.n_nodes))
    valid = groups(trie.token[children], start)
    assert trie.n_nodes == len(nodes)
    assert valid == [valid_in_dict(reference, prefix) for prefix in nodes]
    assert valid == [valid_in_marisa(oracle, prefix) for prefix in nodes]


@given(catalogues)
def test_nodes_are_numbered_breadth_first_and_by_token(rows: Rows) -> None:
    trie, nodes = built(rows), prefixes(rows)
    number = {prefix: node for node, prefix in enumerate(nodes)}
    assert trie.nodes_of(padded(nodes)).tolist() == list(range(len(nodes)))
    assert trie.depth.tolist() == [len(prefix) for prefix in nodes]
    assert trie.token.tolist() == [-1] + [prefix[-1] for prefix in nodes[1:]]
    assert trie.parent.tolist() == [-1] + [number[prefix[:-1]] for prefix in nodes[1:]]
    assert [(trie.depth == level).sum() for level in range(trie.depth.max() + 1)] == np.diff(
        trie.level_start
    ).tolist()


@given(catalogues)
def test_items_stand_where_their_tokens_end(rows: Rows) -> None:
    trie, nodes = built(rows), prefixes(rows)
    found = groups(*trie.items_at(np.arange(trie.n_nodes)))
    assert found == [
        [item for item, row in enumerate(rows, start=1) if tuple(row) == prefix] for prefix in nodes
    ]
    assert trie.n_items == len(rows)


@given(catalogues)
def test_the_path_of_an_item_is_the_node_before_each_token(rows: Rows) -> None:
    trie, items = built(rows), ItemTokens.from_lists(rows)
    number = {prefix: node for node, prefix in enumerate(prefixes(rows))}
    expected = [number[tuple(row[:n])] for row in rows for n in range(len(row))]
    assert trie.path(items).tolist() == expected
    assert trie.path(items).dtype == np.int32


@given(catalogues)
def test_evaluated_nodes_are_the_branching_ones_and_all_above(rows: Rows) -> None:
    trie, nodes = built(rows), prefixes(rows)
    branching = [prefix for prefix in nodes if len(valid_in_dict(dict_trie(rows), prefix)) > 1]
    above = {prefix[:n] for prefix in branching for n in range(len(prefix) + 1)}
    assert trie.branching().tolist() == [nodes.index(prefix) for prefix in branching]
    assert trie.evaluated().tolist() == [node for node, prefix in enumerate(nodes) if prefix in above]
    assert trie.is_forced.tolist() == [len(valid_in_dict(dict_trie(rows), prefix)) == 1 for prefix in nodes]


@given(catalogues, st.lists(st.tuples(st.integers(-1, 200), st.integers(-2, 6)), max_size=20))
def test_a_step_is_a_look_up_of_the_token(rows: Rows, steps: list[tuple[int, int]]) -> None:
    trie, nodes = built(rows), prefixes(rows)
    number = {prefix: node for node, prefix in enumerate(nodes)}
    steps = [(min(node, trie.n_nodes - 1), token) for node, token in steps]
    expected = [number.get((*nodes[node], token), -1) if node >= 0 else -1 for node, token in steps]
    arguments = np.array(steps, int).reshape(-1, 2)
    assert trie.step(arguments[:, 0], arguments[:, 1]).tolist() == expected


def test_prefixes_that_begin_no_item_have_no_node() -> None:
    trie = built([[1, 2, 3], [1, 4]])
    assert trie.nodes_of(np.array([[1, 4, -1], [1, 5, -1], [9, 2, 3], [-1, -1, -1]])).tolist() == [
        3,
        -1,
        -1,
        0,
    ]


@given(catalogues, st.data())
def test_mean_valid_tokens_counts_every_position_of_every_target(rows: Rows, data: st.DataObject) -> None:
    targets = data.draw(st.lists(st.integers(1, len(rows)), min_size=1, max_size=10))
    reference = dict_trie(rows)
    counts = [
        len(valid_in_dict(reference, tuple(rows[item - 1][:n])))
        for item in targets
        for n in range(len(rows[item - 1]))
    ]
    mean = built(rows).mean_valid_tokens(ItemTokens.from_lists(rows), np.array(targets))
    assert mean == pytest.approx(sum(counts) / len(counts), rel=1e-12)


def test_a_worked_example() -> None:
    rows = [[7, 5, 2], [7, 6, 2], [7, 5, 2], [9, 2]]
    trie = built(rows)
    assert trie.child_start.tolist() == [1, 3, 5, 6, 7, 8, 8, 8, 8]
    assert trie.token.tolist() == [-1, 7, 9, 5, 6, 2, 2, 2]
    assert groups(*trie.items_at(trie.terminal_node)) == [[4], [1, 3], [2]]
    assert trie.mean_valid_tokens(ItemTokens.from_lists(rows), np.array([1, 4])) == (2 + 2 + 1 + 2 + 1) / 5
    assert repr(trie) == "ItemTrie(4 items, 8 nodes, 2 branching)"
    assert 8 * trie.n_nodes == trie.token.nbytes + trie.child_start[:-1].nbytes


def test_items_that_share_their_tokens_stand_at_one_node_in_order() -> None:
    rows = [[1, 2]] * 300 + [[1, 3]] * 300
    items, start = built(rows).items_at(np.array([2, 3, 0]))
    assert groups(items, start) == [list(range(1, 301)), list(range(301, 601)), []]


def test_an_item_may_end_at_an_inner_node() -> None:
    trie = built([[1, 2, 3], [1, 2]])
    items, start = trie.items_at(np.array([2, 3]))
    assert groups(items, start) == [[2], [1]]
    assert trie.n_children.tolist() == [1, 1, 1, 0]


def test_a_batch_of_no_nodes() -> None:
    trie, none = built([[1, 2]]), np.empty(0, int)
    assert trie.step(none, none).tolist() == []
    assert [part.tolist() for part in trie.children(none)] == [[], [0]]
    assert [part.tolist() for part in trie.items_at(none)] == [[], [0]]


def test_large_token_ids() -> None:
    rows = [[2**31 - 2, 5], [2**31 - 2, 2**31 - 3], [0, 1]]
    trie = built(rows)
    assert trie.nodes_of(np.array(rows)).tolist() == [4, 5, 3]


@pytest.mark.parametrize(
    ("rows", "vocabulary_size", "message"),
    [
        ([], None, "no items"),
        ([[1, 2], []], None, "item 2 has no tokens"),
        ([[1, 2], [3], [1, -4]], None, "item 3 has token -4, which is negative"),
        ([[1, 2], [3, 50]], 50, "item 2 has token 50, which is outside a vocabulary of 50"),
    ],
)
def test_items_that_cannot_stand_in_a_trie(rows: Rows, vocabulary_size: int | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ItemTrie.build(ItemTokens.from_lists(rows), vocabulary_size=vocabulary_size)


def test_a_path_of_an_item_that_is_not_in_the_trie() -> None:
    with pytest.raises(InputError, match="item 2 is not in the trie"):
        built([[1, 2, 3]]).path(ItemTokens.from_lists([[1, 2], [1, 5]]))
