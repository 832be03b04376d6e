"""The arrays of an `ItemTrie`, built by sorting the items one depth after the other.

At each depth the items still alive stand in trie order, so the items below one node are neighbours. Sorting
each group of neighbours by its next token puts them in the order of the next depth; an item alone in its
group needs no sort. There is a loop over depth and none over items or nodes.
"""

from __future__ import annotations

import numpy as np

from reclib.schema import InputError
from reclib.text.ragged import row_starts


def build_arrays(tokens: np.ndarray, start: np.ndarray, vocabulary_size: int | None) -> dict[str, np.ndarray]:
    """The fields of the `ItemTrie` of items 1…N with tokens `tokens[start[i]:start[i + 1]]`."""
    check_tokens(tokens, start, vocabulary_size)
    token = np.empty(len(tokens) + 1, np.int32)  # as many nodes as there could be; cut at the end
    child_start = np.empty(len(tokens) + 2, np.int32)
    token[0] = -1
    # The items still alive, in trie order: which, the node each stands at, its next token, its length.
    item = np.arange(1, len(start) - 1, dtype=np.int32)
    node = np.zeros(len(item), np.int32)
    cursor, length = start[1:-1].copy(), np.diff(start)[1:].astype(np.int32)
    depth, level, n_nodes = 0, 0, 1  # `level` is the first node of this depth
    ended: list[tuple[np.ndarray, np.ndarray]] = []
    while True:
        alive = np.flatnonzero(length > depth)
        if len(alive) < len(item):
            at_end = np.flatnonzero(length == depth)
            ended.append((node.take(at_end), item.take(at_end)))
            item, node, cursor, length = (values.take(alive) for values in (item, node, cursor, length))
        next_token = tokens.take(cursor)
        _sort_within_groups(node, next_token, item, cursor, length)
        is_new = _starts_run(node, next_token)
        first = np.flatnonzero(is_new)
        n_children = np.bincount(node.take(first) - level, minlength=n_nodes - level)
        child_start[level : n_nodes + 1] = n_nodes + row_starts(n_children)
        if not len(item):
            break
        token[n_nodes : n_nodes + len(first)] = next_token.take(first)
        node = np.cumsum(is_new, dtype=np.int32)
        node += n_nodes - 1
        depth, level, n_nodes = depth + 1, n_nodes, n_nodes + len(first)
        cursor += 1
    token.resize(n_nodes, refcheck=False)
    child_start.resize(n_nodes + 1, refcheck=False)
    return {"token": token, "child_start": child_start, **_terminals(ended)}


def check_tokens(tokens: np.ndarray, start: np.ndarray, vocabulary_size: int | None) -> None:
    """Raise InputError, naming the first item that cannot stand in a trie."""
    length = np.diff(start)
    if len(length) < 2:
        raise InputError("there are no items to build a trie of")
    if len(tokens) >= np.iinfo(np.int32).max - 1:
        raise InputError(f"{len(tokens)} item tokens are too many for one trie: 2^31 - 3 at most")
    if not length[1:].all():
        raise InputError(f"item {1 + np.argmin(length[1:] > 0)} has no tokens: give it a title or drop it")
    if tokens.min() < 0:
        raise _bad_token(tokens, start, tokens < 0, "negative")
    if vocabulary_size is not None and tokens.max() >= vocabulary_size:
        why = f"outside a vocabulary of {vocabulary_size}"
        raise _bad_token(tokens, start, tokens >= vocabulary_size, why)


def _bad_token(tokens: np.ndarray, start: np.ndarray, is_bad: np.ndarray, why: str) -> InputError:
    at = int(np.argmax(is_bad))
    item = int(np.searchsorted(start, at, side="right")) - 1
    return InputError(
        f"item {item} has token {tokens[at]}, which is {why}: tokenise it with the model's tokenizer"
    )


def _starts_run(node: np.ndarray, token: np.ndarray) -> np.ndarray:
    """Whether each entry differs from the one before it in node or token."""
    is_new = np.ones(len(node), bool)
    is_new[1:] = (node[1:] != node[:-1]) | (token[1:] != token[:-1])
    return is_new


def _sort_within_groups(node: np.ndarray, value: np.ndarray, *others: np.ndarray) -> None:
    """Sort neighbours with the same node by value, in place; the others follow, equal values in any order."""
    is_shared = np.zeros(len(node), bool)
    same = node[1:] == node[:-1]
    is_shared[1:] = same
    is_shared[:-1] |= same
    place = np.flatnonzero(is_shared)
    if not len(place):
        return
    key = node.take(place).astype(np.int64)
    key *= int(value.max()) + 1
    key += value.take(place)
    source = place.take(np.argsort(key))
    for values in (value, *others):
        values[place] = values.take(source)


def _terminals(ended: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, np.ndarray]:
    """Group the items by the node they end at; the levels come in order, and so do the nodes of a level."""
    node, item = (np.concatenate(parts) for parts in zip(*ended, strict=True))
    _sort_within_groups(node, item)
    first = np.flatnonzero(np.append(True, node[1:] != node[:-1]))
    return {
        "terminal_node": node[first],
        "terminal_start": np.append(first, len(node)).astype(np.int32),
        "terminal_item": item,
    }
