"""Edges out of nodes of the trie under several contexts: log-probabilities from hidden states.

Shapes: B contexts, n nodes, C children of these nodes together, the same nodes for every context.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from reclib.arrays import read_arrays, write_arrays
from reclib.decoding.scoring import edge_logits, full_logit_blocks
from reclib.decoding.search_trie import SearchTrie
from reclib.kernels.masked_softmax import segment_logsumexp


@dataclass(frozen=True, eq=False)
class Edges:
    """Edges of the trie under B contexts.

    child: (C,) the node each leads to; log_prob: (B, C) float32
    is_best: (B, C) whether no token of the vocabulary is more probable; empty where only valid tokens count
    """

    child: np.ndarray
    log_prob: np.ndarray
    is_best: np.ndarray

    def save(self, path: Path) -> None:
        """Write the arrays to a file that is named as given."""
        write_arrays(path, vars(self))

    @classmethod
    def load(cls, path: Path) -> Edges:
        """Read what `save` wrote."""
        return cls(**read_arrays(path))

    @classmethod
    def joined(cls, parts: list[Edges]) -> Edges:
        """The edges of several blocks of nodes, in their order."""
        return cls(
            np.concatenate([part.child for part in parts]),
            np.concatenate([part.log_prob for part in parts], axis=1),
            np.concatenate([part.is_best for part in parts], axis=1),
        )


def valid_edges(hidden: Tensor, node: np.ndarray, output_embedding: Tensor, trie: SearchTrie) -> Edges:
    """Log softmax over the children of each node that branches; other nodes have no edges here.

    hidden: (B, n, D); node: (n,)
    """
    branches = np.flatnonzero(trie.trie.n_children[node] > 1)
    child, row_start, logits = _logits(hidden[:, branches], node[branches], output_embedding, trie)
    n_contexts, starts = len(hidden), torch.as_tensor(row_start, device=hidden.device)
    flat_start = torch.arange(n_contexts, device=hidden.device)[:, None] * len(child) + starts[:-1]
    row_starts = torch.cat([flat_start.flatten(), flat_start.new_tensor([logits.numel()])])
    normaliser = segment_logsumexp(logits.flatten(), row_starts).view(n_contexts, len(branches))
    log_prob = logits - normaliser.repeat_interleave(starts.diff(), dim=1, output_size=len(child))
    return Edges(child, log_prob.cpu().numpy(), np.zeros((n_contexts, 0), dtype=bool))


def full_edges(hidden: Tensor, node: np.ndarray, output_embedding: Tensor, trie: SearchTrie) -> Edges:
    """Log softmax over the whole vocabulary at the children of each node.

    hidden: (B, n, D); node: (n,)
    """
    child, row_start, logits = _logits(hidden, node, output_embedding, trie)
    length = torch.as_tensor(np.diff(row_start), device=hidden.device)
    blocks = full_logit_blocks(hidden.flatten(0, 1), output_embedding)
    parts = [(block.logsumexp(-1), block.argmax(-1)) for block in blocks]
    normaliser, best = (torch.cat(each).view(len(hidden), len(node)) for each in zip(*parts, strict=True))
    spread = [each.repeat_interleave(length, dim=1, output_size=len(child)) for each in (normaliser, best)]
    token = trie.token[torch.as_tensor(child, device=hidden.device)].long()
    return Edges(child, (logits - spread[0]).cpu().numpy(), (spread[1] == token).cpu().numpy())


def _logits(
    hidden: Tensor, node: np.ndarray, output_embedding: Tensor, trie: SearchTrie
) -> tuple[np.ndarray, np.ndarray, Tensor]:
    """Children of the nodes, where each node's begin among them (n+1,), and their logits (B, C), float32."""
    child, row_start = trie.trie.children(node)
    n_contexts, n_nodes = hidden.shape[:2]
    row = torch.as_tensor(np.repeat(np.arange(n_nodes), np.diff(row_start)), device=hidden.device)
    rows = (torch.arange(n_contexts, device=hidden.device)[:, None] * n_nodes + row).flatten()
    token = trie.token[torch.as_tensor(child, device=hidden.device)].long().repeat(n_contexts)
    logits = edge_logits(hidden.flatten(0, 1), output_embedding, rows, token)
    return child, row_start, logits.view(n_contexts, len(child))
