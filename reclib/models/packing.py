"""Sequences that share a head, laid end to end: every token is computed once, and none is padding.

The tokens of a batch are one row: the head, then each sequence's own tokens. A sequence may branch: then its
own tokens are a trunk and its continuations one after another, none of which sees another. Everything but
attention acts on single tokens, so only attention needs to know the sequences; it is here, registered with
transformers under the name `PACKED_ATTENTION`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

PACKED_ATTENTION = "reclib_packed"


class Packing(NamedTuple):
    """Where the sequences are in the packed row.

    n_head: H, tokens of the shared head, which come first
    padded: (B, L) int64, packed place of each own token of each sequence; what is behind a sequence's
        end points at its start and is never looked at
    packed: (sum of lengths,) int64, the inverse: place in the flattened `padded` of each own token
    branch: (B, L) int64, 0 for the own tokens that all branches of a sequence see, a number for those of a
        branch, which see them and their own; None where no sequence branches
    """

    n_head: int
    padded: Tensor
    packed: Tensor
    branch: Tensor | None = None


def pack(
    head: np.ndarray, tokens: np.ndarray, start: np.ndarray, *, branch: np.ndarray | None = None
) -> tuple[dict[str, Any], np.ndarray]:
    """Inputs of `CausalLM.forward` but for `asked`, and the packed place of each sequence's start, (B,).

    head: (H,) token ids, may be empty; the own tokens of sequence b are `tokens[start[b]:start[b + 1]]`.
    branch: as long as `tokens`, 0 for a sequence's trunk, which comes first, then 1, 2, … for its branches;
    the first token of each branch stands right after the trunk, whatever is laid between.
    """
    n_head, length = len(head), np.diff(start)
    column = np.arange(max(1, length.max(initial=0)))
    is_own = column < length[:, None]  # (B, L)
    place = n_head + start[:-1, None] + np.where(is_own, column, 0)
    row, depth = np.nonzero(is_own)
    padded_branch = None
    if branch is not None:
        depth = _branch_depth(row, branch)
        padded_branch = np.zeros(is_own.shape, np.int64)
        padded_branch[is_own] = branch
    packing = Packing(
        n_head=n_head,
        padded=torch.from_numpy(np.minimum(place, n_head + len(tokens) - 1)),
        packed=torch.from_numpy(np.flatnonzero(is_own)),
        branch=None if padded_branch is None else torch.from_numpy(padded_branch),
    )
    inputs = {
        "input_ids": torch.from_numpy(np.concatenate([head, tokens]).astype(np.int64)),
        "position_ids": torch.from_numpy(np.concatenate([np.arange(n_head), n_head + depth])),
        "packing": packing,
    }
    return inputs, n_head + start[:-1]


def _branch_depth(row: np.ndarray, branch: np.ndarray) -> np.ndarray:
    """Own tokens before each own token that it sees: of the trunk, and of its branch."""
    place = np.arange(len(row))
    begins = np.ones(len(row), bool)
    begins[1:] = (np.diff(row) != 0) | (np.diff(branch) != 0)
    within = place - np.maximum.accumulate(np.where(begins, place, 0))
    n_trunk = np.bincount(row[branch == 0], minlength=row[-1] + 1)
    return within + np.where(branch == 0, 0, n_trunk[row])


def packed_mask(packing: Packing) -> Tensor:
    """What an own token sees of the head and of its own sequence.

    (1, 1, L, H + L), the same in each sequence; (B, 1, L, H + L) where they branch.
    """
    length, branch = packing.padded.shape[1], packing.branch
    visible = torch.ones(length, packing.n_head + length, dtype=torch.bool, device=packing.padded.device)
    visible = visible.tril(packing.n_head)
    if branch is None:
        return visible[None, None]
    own = (branch[:, None, :] == 0) | (branch[:, None, :] == branch[:, :, None])
    return (visible & pad(own, (packing.n_head, 0), value=True))[:, None]


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Any,
    packing: Packing | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attention of packed sequences; without `packing`, transformers' own "sdpa".

    query: (1, heads, H + own tokens, d); key, value: the same with fewer heads where they are shared by
    groups; attention_mask: `packed_mask(packing)`; returns (1, H + own tokens, heads, d).
    """
    if packing is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **others
        )
    n_head, n_rows = packing.n_head, len(packing.padded)
    query, key, value = (tensor[0].transpose(0, 1) for tensor in (query, key, value))  # (tokens, heads, d)
    own_query = query[packing.padded]  # (B, L, heads, d)
    own_key, own_value = (
        torch.cat([tensor[:n_head].expand(n_rows, -1, -1, -1), tensor[packing.padded]], dim=1)
        for tensor in (key, value)
    )  # (B, H + L, groups, d)
    options = {"scale": scaling, "dropout_p": dropout}
    attended = _attend(own_query, own_key, own_value, attention_mask, **options)
    parts = [attended.flatten(0, 1)[packing.packed][None]]
    if n_head:
        causal = torch.ones(n_head, n_head, dtype=torch.bool, device=query.device).tril()[None, None]
        parts.insert(
            0, _attend(query[None, :n_head], key[None, :n_head], value[None, :n_head], causal, **options)
        )
    return torch.cat(parts, dim=1), None


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, **options: Any) -> Tensor:
    """Attention under a mask (1 or B, 1, L, M): (B, L, heads, d), (B, M, groups, d) → (B, L, heads, d).

    The heads of a group share keys: laid end to end along the queries, they need no copies of them.
    """
    n_rows, length, n_heads, width = query.shape
    n_groups, per_group = key.shape[2], n_heads // key.shape[2]
    folded = query.view(n_rows, length, n_groups, per_group, width).permute(0, 2, 3, 1, 4).flatten(2, 3)
    attended = scaled_dot_product_attention(
        folded, key.transpose(1, 2), value.transpose(1, 2), mask.repeat(1, 1, per_group, 1), **options
    )
    attended = attended.view(n_rows, n_groups, per_group, length, width).permute(0, 3, 1, 2, 4)
    return attended.reshape(n_rows, length, n_heads, width)


AttentionInterface.register(PACKED_ATTENTION, packed_attention)
AttentionMaskInterface.register(PACKED_ATTENTION, sdpa_mask)
