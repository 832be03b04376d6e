"""ID and LLM embeddings of items, fused by a gate."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from reclib.models.items.ids import IdItems
from reclib.models.text_adapter import TextAdapter
from reclib.schema import PAD_IDX


class FusedItems(nn.Module):
    """f = g ⊙ e_id + (1 − g) ⊙ e_llm in training, ½ e_id + ½ e_llm afterwards.

    g = σ(W₂ (W₁ [e_id ; e_llm] + b₁) + b₂), W₁ (2D, 2D), W₂ (D, 2D); as printed there is nothing between the
    two layers. The gate may prefer one side while it learns; once aligned, both count the same. Without the
    gate (`is_gated=False`, an ablation) they count the same in training too.

    id_items: e_id; llm_items: e_llm of the same items and width. Source: [FAERec] Eq. (3), (4), §4.3.
    """

    def __init__(
        self, id_items: IdItems, llm_items: TextAdapter, *, d_model: int, is_gated: bool = True
    ) -> None:
        super().__init__()
        self.n_items = id_items.n_items
        self.id_items = id_items
        self.llm_items = llm_items
        self.gate: nn.Module | None = None
        if is_gated:
            self.gate = nn.Sequential(
                nn.Linear(2 * d_model, 2 * d_model), nn.Linear(2 * d_model, d_model), nn.Sigmoid()
            )

    def forward(self, item_idx: Tensor) -> Tensor:
        """Fused vectors, (...) → (..., D); zeros for padding. Each distinct item is fused once."""
        distinct, place = item_idx.unique(return_inverse=True)
        return embedding(place, self._fused(self.id_items(distinct), self.llm_items(distinct)))

    def matrix(self) -> Tensor:
        """The fused vectors of all items, (N+1, D); row 0 is zero."""
        return self._fused(*self.embedding_views())

    def embedding_views(self) -> tuple[Tensor, Tensor]:
        """e_id and e_llm of all items, (N+1, D) each; rows 0 are zero."""
        return self.id_items.matrix(), self.llm_items.matrix()

    def _fused(self, id_embedding: Tensor, llm_embedding: Tensor) -> Tensor:
        """Rows of both, (M, D), to one; zero in both, as padding is, is zero in what is fused."""
        if self.gate is None or not self.training:
            return (id_embedding + llm_embedding) / 2
        share = self.gate(torch.cat([id_embedding, llm_embedding], dim=-1))
        return share * id_embedding + (1 - share) * llm_embedding


def distinct_items(*item_idx: Tensor) -> Tensor:
    """The items in some tensors of item_idx, ascending, each once and without padding, (K,)."""
    items = torch.cat([each.flatten() for each in item_idx]).unique()
    return items[items != PAD_IDX]
