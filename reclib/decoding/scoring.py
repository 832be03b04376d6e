"""One step of a search for many nodes at once: which tokens to run, how probable the children are.

Shapes: B users, C nodes of each, M children of all these nodes together.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from reclib.decoding.search_trie import SearchTrie
from reclib.kernels.masked_softmax import full_logits, segment_logsumexp

# Entries of a block of gathered embeddings or of full logits, 64 MB in float32.
_BLOCK = 2**24


class Block(NamedTuple):
    """Tokens to append to a `TreeCache`, and the place of each node's last token among them, (B, C)."""

    tokens: Tensor
    anchor: Tensor
    within: Tensor
    last: Tensor

    def at_last(self, hidden: Tensor) -> Tensor:
        """Hidden states at the nodes, (B·C, D), from those of the block, (B, n, D)."""
        return hidden.gather(1, self.last[:, :, None].expand(-1, -1, hidden.shape[2])).flatten(0, 1)


class Children(NamedTuple):
    """Children of a batch of nodes, flat.

    node: (M,) trie nodes; row: (M,) the place of the parent among the B·C nodes; log_prob: (M,) of the edge
    """

    node: Tensor
    row: Tensor
    log_prob: Tensor


def chain_block(start: Tensor, length: Tensor, slot: Tensor, chain_token: Tensor, *, width: int) -> Block:
    """Lay the chains of each user's nodes one after another.

    start, length: (B, C) of each node's chain in `chain_token`; slot: (B, C) what the chain hangs from;
    width: the largest number of tokens of a user.
    """
    end = length.cumsum(1)  # (B, C)
    token_place = torch.arange(width, device=start.device).expand(len(start), width).contiguous()
    chain = torch.searchsorted(end, token_place, right=True)
    real = chain < start.shape[1]
    chain = chain.clamp(max=start.shape[1] - 1)
    offset = token_place - (end - length).gather(1, chain)
    place = (start.gather(1, chain) + offset).where(real, 0)
    same = (chain[:, :, None] == chain[:, None, :]) & (real[:, :, None] & real[:, None, :])
    within = same.tril() | torch.eye(width, dtype=torch.bool, device=start.device)
    tokens = chain_token[place].long().where(real, 0)
    return Block(tokens, slot.gather(1, chain).where(real, -1), within, (end - 1).clamp(min=0))


def score_children(
    hidden: Tensor, output_embedding: Tensor, nodes: Tensor, trie: SearchTrie, *, total: int, full: bool
) -> Children:
    """Log-probability of every child of every node.

    log P(child) = f(child) − log Σ exp f(z), z over the node's children (`full=False`: P_valid) or over the
    whole vocabulary (`full=True`). Only the children's logits are computed, and that sum.

    hidden: (R, D); nodes: (R,); total: M, the children of all nodes. Source: [MSL] Eq. (1), (5).
    """
    row_start = torch.nn.functional.pad(trie.n_children(nodes).cumsum(0), (1, 0))
    rows = torch.arange(len(nodes), device=nodes.device)
    row = torch.repeat_interleave(rows, row_start.diff(), output_size=total)
    child = trie.child_start[nodes[row]].long() + torch.arange(total, device=nodes.device) - row_start[row]
    logits = edge_logits(hidden, output_embedding, row, trie.token[child])
    normaliser = full_logsumexp(hidden, output_embedding) if full else segment_logsumexp(logits, row_start)
    return Children(child, row, logits - normaliser[row])


def score_root(hidden: Tensor, output_embedding: Tensor, trie: SearchTrie) -> tuple[Tensor, Tensor]:
    """Children of the search's root and their log P_valid for B users: (C,) and (B, C).

    All users have the same children there, so it is one product with their embeddings. hidden: (B, D).
    """
    children = torch.arange(*trie.child_start[trie.root : trie.root + 2].tolist(), device=hidden.device)
    embedding = output_embedding[trie.token[children].long()]
    return children, (hidden.float() @ embedding.float().T).log_softmax(-1)


def edge_logits(hidden: Tensor, output_embedding: Tensor, row: Tensor, token: Tensor) -> Tensor:
    """Logits of single tokens: `hidden[row] · output_embedding[token]`, (M,), in float32."""
    size = max(1, _BLOCK // hidden.shape[1])
    parts = [
        (hidden[r].float() * output_embedding[t].float()).sum(-1)
        for r, t in zip(row.split(size), token.split(size), strict=True)
    ]
    return torch.cat(parts) if parts else hidden.new_empty(0, dtype=torch.float32)


def full_logit_blocks(hidden: Tensor, output_embedding: Tensor) -> Iterator[Tensor]:
    """Logits over the whole vocabulary in float32, a bounded block of rows at a time; (R, Z) together."""
    for part in hidden.split(max(1, _BLOCK // len(output_embedding))):
        yield full_logits(part, output_embedding).float()


def full_logsumexp(hidden: Tensor, output_embedding: Tensor) -> Tensor:
    """Logarithm of Σ exp f(z) over the whole vocabulary, (R,), float32."""
    return torch.cat([block.logsumexp(-1) for block in full_logit_blocks(hidden, output_embedding)])


def pad_rows(values: Tensor, column: Tensor, user: Tensor, *, shape: tuple[int, int], fill: float) -> Tensor:
    """Ragged values as a padded (B, width) array."""
    padded = torch.full(shape, fill, dtype=values.dtype, device=values.device)
    padded[user, column] = values
    return padded
