"""Constrained beam search over the item trie.

The search keeps the `num_beams` best prefixes of equal length and steps them one token at a time, as
`transformers.generate` does. The prompt runs once per user, a step sends only the live beams' new tokens
through the model, and users whose lists cannot change any more drop out.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from reclib.decoding.lists import Lists, check_length, items_of_leaves
from reclib.decoding.scoring import Children, chain_block, pad_rows, score_children
from reclib.decoding.search_trie import SearchTrie
from reclib.decoding.tree_cache import TreeCache, evaluating
from reclib.models.causal_lm import CausalLM
from reclib.schema import InputError
from reclib.text.tokenization import PromptTokens
from reclib.text.trie import ItemTrie


def constrained_beam_search(
    lm: CausalLM,
    prompts: PromptTokens,
    trie: ItemTrie | SearchTrie,
    *,
    num_beams: int,
    scoring: Literal["full", "valid"] = "full",
    length_penalty: float | None = None,
) -> Lists:
    """The `num_beams` items a beam search finds for each user.

    A finished item of T tokens scores Σ_t log P(token t) / T^length_penalty.

    scoring="full": P over the whole vocabulary, `length_penalty` 1 unless given. Lists and scores are those
    of `generate(num_beams=K, num_return_sequences=K, do_sample=False, prefix_allowed_tokens_fn=...,
    early_stopping=False)`.
    scoring="valid": P over the valid tokens, no length penalty unless given. Lists and scores are those of
    `generate` with `renormalize_logits=True, length_penalty=0.0` as well. Forced tokens (log P = 0) go
    through the model only when a branching node lies below them.

    Items that share a title each have its score and follow one another by item_idx; a list is cut at
    `num_beams` items, and is never shorter. Raises InputError for more beams than items, and for an item
    whose tokens are a prefix of another's.
    """
    if scoring not in ("full", "valid"):
        raise InputError(f'scoring is {scoring!r}: choose "full" or "valid"')
    if length_penalty is None:
        length_penalty = 1.0 if scoring == "full" else 0.0
    with evaluating(lm):
        search = _Search(
            lm,
            prompts,
            SearchTrie.of(trie, lm.device),
            num_beams=num_beams,
            full=scoring == "full",
            length_penalty=length_penalty,
        )
        while search.advance():
            pass
        return search.lists()


class _Search:
    """State of a beam search of B users, of whom A go on; K beams.

    Running beams, (A, K), best first: `score` is the log-probability of the prefix (−inf: no beam), `node`
    where it stands in the trie, `slot` the last of its tokens in the cache.
    Finished items, (B, K), best first: `leaf` and `leaf_score`, the length penalty applied.
    """

    def __init__(
        self,
        lm: CausalLM,
        prompts: PromptTokens,
        trie: SearchTrie,
        *,
        num_beams: int,
        full: bool,
        length_penalty: float,
    ) -> None:
        check_length(num_beams, trie.trie.n_items)
        self._lm, self._trie, self._full = lm, trie, full
        self._num_beams, self._length_penalty = num_beams, length_penalty
        self._cache = TreeCache(lm, prompts, suffix=None if full else trie.root_chain)
        n_users, device = len(prompts.start) - 1, lm.device
        self._user = torch.arange(n_users, device=device)
        self._going = torch.ones(n_users, dtype=torch.bool, device=device)
        self._start = 0 if full else trie.root
        self._node = torch.full((n_users, 1), self._start, device=device)
        self._score = torch.zeros(n_users, 1, device=device)
        self._slot = torch.full_like(self._node, -1)
        self._n_generated = 0 if full else len(trie.root_chain)
        self._leaf = torch.full((n_users, num_beams), trie.leaf, device=device)
        self._leaf_score = torch.full((n_users, num_beams), -torch.inf, device=device)
        if trie.root == trie.leaf and not full:  # a single title is certain
            self._leaf_score[:, 0] = 0.0
            self._going[:] = False

    def advance(self) -> bool:
        """One token further; `False` when every user's list was final before it."""
        start, length = self._pending()
        n_children = self._trie.n_children(self._node).sum(1)
        # The only wait for the device in a step: who goes on, and the sizes of what comes next.
        sizes = torch.stack([self._going.sum(), length.sum(1).max(), n_children.sum(), n_children.max()])
        n_going, n_tokens, total, width = sizes.tolist()
        if n_going == 0:
            return False
        if n_going < len(self._user):
            going = self._going.nonzero()[:, 0]
            self._keep(going)
            start, length = start[going], length[going]
        hidden = self._run(start, length, n_tokens=n_tokens)
        children = score_children(
            hidden, self._lm.output_embedding, self._node.flatten(), self._trie, total=total, full=self._full
        )
        self._n_generated += 1
        self._select(*self._candidates(children, width=width))
        return True

    def _pending(self) -> tuple[Tensor, Tensor]:
        """Tokens that must run before the beams' children can be scored: where they start, and how many.

        For P over the vocabulary the last token of each beam; for P_valid the chain of a branching node.
        """
        start, length = self._node, (self._node != self._trie.leaf).long()
        if not self._full:
            start, length = self._trie.chain(self._node)
        return start, length * (self._node != self._start)  # the prompt's own hidden state serves the start

    def _keep(self, users: Tensor) -> None:
        self._cache.keep_users(users)
        self._user, self._going, self._node, self._score, self._slot = (
            part[users] for part in (self._user, self._going, self._node, self._score, self._slot)
        )

    def _run(self, start: Tensor, length: Tensor, *, n_tokens: int) -> Tensor:
        """Hidden state at each beam, (A·K, D); what stands at a beam that needs none does not matter."""
        if n_tokens == 0:
            at_prompt = self._cache.last_hidden[self._user]
            return at_prompt.repeat_interleave(self._node.shape[1], dim=0)
        chain_token = self._trie.token if self._full else self._trie.chain_token
        block = chain_block(start, length, self._slot, chain_token, width=n_tokens)
        self._slot = torch.where(length > 0, self._cache.n_slots + block.last, self._slot)
        return block.at_last(self._cache.extend(block.tokens, block.anchor, block.within))

    def _candidates(self, children: Children, *, width: int) -> tuple[Tensor, Tensor, Tensor]:
        """The 2K best continuations of each user's beams: scores, nodes and slots of their parents."""
        n_users, n_beams = self._node.shape
        user = children.row // n_beams
        column = torch.arange(len(user), device=user.device) - torch.searchsorted(user, user)
        score = self._score.flatten()[children.row] + children.log_prob
        score, place = pad_rows(score, column, user, shape=(n_users, width), fill=-torch.inf).topk(
            min(2 * self._num_beams, width)
        )
        node = pad_rows(children.node, column, user, shape=(n_users, width), fill=self._trie.leaf)
        slot = pad_rows(self._slot.flatten()[children.row], column, user, shape=(n_users, width), fill=-1)
        return score, node.gather(1, place), slot.gather(1, place)

    def _select(self, score: Tensor, node: Tensor, slot: Tensor) -> None:
        """Sort candidates into finished items and running beams, and see whose lists are final.

        Only the K best candidates may finish; the other K are there so that K beams can run on.
        """
        finished = self._trie.is_leaf(node)
        at_length = self._n_generated**self._length_penalty
        may_finish = finished & (torch.arange(score.shape[1], device=score.device) < self._num_beams)
        ended = (score / at_length).where(may_finish, -torch.inf)
        pool_score = torch.cat([self._leaf_score[self._user], ended], dim=1)
        pool_leaf = torch.cat([self._leaf[self._user], node], dim=1)
        best, place = pool_score.topk(self._num_beams)
        self._leaf_score[self._user], self._leaf[self._user] = best, pool_leaf.gather(1, place)
        self._score, place = score.masked_fill(finished, -torch.inf).topk(
            min(self._num_beams, score.shape[1])
        )
        self._going = self._score[:, 0] / at_length > best[:, -1]
        runs = (self._score > -torch.inf) & self._going[:, None]
        self._node = node.gather(1, place).where(runs, self._trie.leaf)
        self._slot = slot.gather(1, place)

    def lists(self) -> Lists:
        """The result, once all users are done."""
        return items_of_leaves(self._trie.trie, self._leaf, self._leaf_score, k=self._num_beams)
