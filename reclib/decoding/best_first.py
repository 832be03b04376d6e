"""Best-first search of the item trie, in rounds over all users at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reclib.decoding.lists import Lists, check_length, items_of_leaves
from reclib.decoding.scoring import Children, chain_block, pad_rows, score_children, score_root
from reclib.decoding.search_trie import SearchTrie
from reclib.decoding.tree_cache import TreeCache
from reclib.models.causal_lm import CausalLM
from reclib.text.tokenization import PromptTokens


@dataclass(frozen=True)
class ExactLists(Lists):
    """Lists that are proven to be the top K.

    bound: (B,) float32, the best log-probability of any prefix left unopened; no item outside the list can
        score higher, so `scores[:, -1] >= bound` is the certificate. −inf where nothing was left
    n_opened: (B,) int64, prefixes opened (nodes that went through the model)
    """

    bound: np.ndarray
    n_opened: np.ndarray


class BestFirstSearch:
    """State of a best-first search of B users, of whom A are not done.

    Frontier, (A, F): `score` is the log-probability of an entry, `node` a leaf or a branching node not yet
    opened, `slot` the token of the cache it hangs from. An entry that is gone has the score −inf.
    """

    def __init__(
        self, lm: CausalLM, prompts: PromptTokens, trie: SearchTrie, *, k: int, nodes_per_round: int
    ) -> None:
        check_length(k, trie.trie.n_items)
        self._lm, self._trie, self._k, self._nodes_per_round = lm, trie, k, nodes_per_round
        self._n_leaves = min(k, trie.n_leaves)
        self._cache = TreeCache(lm, prompts, suffix=trie.root_chain)
        n_users, device = len(prompts.start) - 1, lm.device
        self._user = torch.arange(n_users, device=device)
        self._score, self._node = self._open_root()
        self._slot = torch.full_like(self._node, -1)
        self._leaf = torch.full((n_users, self._n_leaves), trie.leaf, device=device)
        self._leaf_score = torch.full((n_users, self._n_leaves), -torch.inf, device=device)
        self._bound = torch.full((n_users,), -torch.inf, device=device)
        self._n_opened = torch.full((n_users,), int(trie.root != trie.leaf), device=device)

    def _open_root(self) -> tuple[Tensor, Tensor]:
        """Frontier below the root."""
        if self._trie.root == self._trie.leaf:  # a single title is certain
            node = torch.full_like(self._user, self._trie.leaf)[:, None]
            return torch.zeros_like(node, dtype=torch.float32), node
        children, log_prob = score_root(self._cache.last_hidden, self._lm.output_embedding, self._trie)
        return log_prob, self._trie.jump[children].long().repeat(len(self._user), 1)

    def advance(self) -> bool:
        """One round; `False` when every user was done before it."""
        place, is_open = self._best()
        order = (~is_open).byte().argsort(stable=True)[:, : self._nodes_per_round]
        place, chosen = place.gather(1, order), is_open.gather(1, order)
        node = self._node.gather(1, place).where(chosen, self._trie.leaf)
        start, length = self._trie.chain(node)
        n_children = self._trie.n_children(node).sum(1)
        # The only wait for the device in a round: who is done, and the sizes of what comes next.
        sizes = torch.stack([(~chosen[:, 0]).sum(), length.sum(1).max(), n_children.sum(), n_children.max()])
        n_done, n_tokens, total, width = sizes.tolist()
        if n_done == len(self._user):
            return False
        if n_done:
            going = chosen[:, 0].nonzero()[:, 0]
            self._keep(going)
            place, node, chosen, start, length = (
                part[going] for part in (place, node, chosen, start, length)
            )
        children, slot = self._run(place, node, start, length, n_tokens=n_tokens, total=total)
        self._n_opened[self._user] += chosen.sum(1)
        self._replace(place, chosen, children, slot, width=width)
        return True

    def _best(self) -> tuple[Tensor, Tensor]:
        """Places of the K best entries of each user, and which are prefixes; kept as the result so far."""
        score, place = self._score.topk(min(self._n_leaves, self._score.shape[1]))
        node = self._node.gather(1, place)
        is_prefix = ~self._trie.is_leaf(self._node) & (self._score > -torch.inf)
        self._leaf[self._user, : score.shape[1]] = node
        self._leaf_score[self._user, : score.shape[1]] = score
        self._bound[self._user] = self._score.where(is_prefix, -torch.inf).amax(1)
        return place, is_prefix.gather(1, place)

    def _keep(self, users: Tensor) -> None:
        self._cache.keep_users(users)
        self._user, self._score, self._node, self._slot = (
            part[users] for part in (self._user, self._score, self._node, self._slot)
        )

    def _run(
        self, place: Tensor, node: Tensor, start: Tensor, length: Tensor, *, n_tokens: int, total: int
    ) -> tuple[Children, Tensor]:
        """Run the chains of the chosen nodes; their children, and the slot of each node's last token."""
        slot = self._slot.gather(1, place)
        block = chain_block(start, length, slot, self._trie.chain_token, width=n_tokens)
        first_slot = self._cache.n_slots
        hidden = block.at_last(self._cache.extend(block.tokens, block.anchor, block.within))
        embedding = self._lm.output_embedding
        children = score_children(hidden, embedding, node.flatten(), self._trie, total=total, full=False)
        return children, first_slot + block.last

    def _replace(
        self, place: Tensor, chosen: Tensor, children: Children, slot: Tensor, *, width: int
    ) -> None:
        """Put the children of the opened entries in the frontier, in place of their parents."""
        parent_score = self._score.gather(1, place)
        self._score.scatter_(1, place, parent_score.masked_fill(chosen, -torch.inf))
        user = children.row // place.shape[1]
        column = torch.arange(len(user), device=user.device) - torch.searchsorted(user, user)
        score = parent_score.flatten()[children.row] + children.log_prob
        node, shape = self._trie.jump[children.node].long(), (len(place), width)
        new = [
            (self._score, score, -torch.inf),
            (self._node, node, self._trie.leaf),
            (self._slot, slot.flatten()[children.row], -1),
        ]
        self._score, self._node, self._slot = (
            torch.cat([old, pad_rows(values, column, user, shape=shape, fill=fill)], dim=1)
            for old, values, fill in new
        )

    def lists(self) -> ExactLists:
        """The result, once all users are done."""
        found = items_of_leaves(self._trie.trie, self._leaf, self._leaf_score, k=self._k)
        return ExactLists(found.items, found.scores, self._bound.cpu().numpy(), self._n_opened.cpu().numpy())
