"""The in-context module of LLM-CF: a causal transformer over examples with their reasoning, then a query."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding_bag

from reclib.models.backbones.sasrec import SASRec
from reclib.schema import PAD_IDX

TOKENS = 3  # of an example: its data, its reasoning, its outcome

Vectors = Callable[[Tensor], Tensor]  # item_idx (...) → (..., D)


class InContext(nn.Module):
    """x₁ c₁ y₁ … x_K c_K y_K x → states; the last is the feature, that of x_k rebuilds c_k.

    x = W [mean e(history); g(mean text of history); e(item); g(text of item)], for the query with no item;
    c = g(reasoning), y a vector of the outcome; g is one linear layer for all texts.

    histories: (M, S), items: (M,) item_idx and is_chosen: (M,) bool of the examples; reasoning: (M, E);
    text: (N+1, E), row 0 zero. They are frozen and stay out of checkpoints. k: examples read at once
    Source: [LLM-CF] and its public code, without the vector of the user.
    """

    histories: Tensor
    items: Tensor
    is_chosen: Tensor
    reasoning: Tensor
    text: Tensor

    def __init__(
        self,
        *,
        histories: Tensor,
        items: Tensor,
        is_chosen: Tensor,
        reasoning: Tensor,
        text: Tensor,
        d_model: int,
        k: int,
        n_layers: int,
        n_heads: int,
        dropout: float,
    ) -> None:
        super().__init__()
        frozen = {"histories": histories, "items": items, "is_chosen": is_chosen}
        for name, values in (frozen | {"reasoning": reasoning, "text": text}).items():
            self.register_buffer(name, values, persistent=False)
        width = text.shape[1]
        self.of_text = nn.Linear(width, d_model)
        self.of_data = nn.Linear(4 * d_model, d_model)
        self.outcome = nn.Embedding(2, d_model)
        self.rebuild = nn.Linear(d_model, width)
        self.transformer = SASRec(
            d_model=d_model,
            n_layers=n_layers,
            n_heads=n_heads,
            dropout=dropout,
            max_length=TOKENS * k + 1,
        )

    def text_of(self, histories: Tensor) -> Tensor:
        """Mean text embedding of the items of some histories, (B, E); zeros for an empty one."""
        return embedding_bag(histories, self.text, mode="mean", padding_idx=PAD_IDX)

    def feature(self, vectors: Vectors, history: Tensor, chosen: Tensor) -> Tensor:
        """The query's state, (B, D); chosen: (B, K) examples, −1 in front where there is none."""
        tokens, mask = self._tokens(vectors, history, chosen)
        return self.transformer(tokens, mask, last_only=True)

    def forward(self, vectors: Vectors, history: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """The same feature, and the rebuilt reasoning (B, K, E)."""
        tokens, mask = self._tokens(vectors, history, chosen)
        states = self.transformer(tokens, mask)
        return states[:, -1], self.rebuild(states[:, :-1:TOKENS])

    def _tokens(self, vectors: Vectors, history: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3K+1, D) and (B, 3K+1) bool; examples that several windows read are encoded once."""
        is_there = chosen >= 0
        used, place = chosen.clamp_min(0).unique(return_inverse=True)
        data = self._data(vectors, self.histories[used], self.items[used])
        said, outcome = self.of_text(self.reasoning[used]), self.outcome(self.is_chosen[used].long())
        examples = torch.stack([data, said, outcome], dim=1)[place].flatten(1, 2)
        query = self._data(vectors, history, torch.full_like(history[:, 0], PAD_IDX))
        mask = torch.cat([is_there.repeat_interleave(TOKENS, dim=1), torch.ones_like(is_there[:, :1])], dim=1)
        return torch.cat([examples, query[:, None]], dim=1), mask

    def _data(self, vectors: Vectors, histories: Tensor, items: Tensor) -> Tensor:
        is_item = (histories != PAD_IDX)[..., None]
        mean = (vectors(histories) * is_item).sum(dim=1) / is_item.sum(dim=1).clamp_min(1)
        texts = self.of_text(self.text_of(histories)), self.of_text(self.text[items])
        return self.of_data(torch.cat([mean, texts[0], vectors(items), texts[1]], dim=-1))
