"""The two views of LLM-ESR: a history as collaborative and as text vectors, each attending to the other."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from reclib.models.backbones.blocks import allowed_keys
from reclib.models.backbones.residual import EndPositions, check_heads, split_heads
from reclib.models.sequence_model import SequenceModel
from reclib.schema import PAD_IDX


class CrossAttention(nn.Module):
    """softmax(QKᵀ/√d) V Wₒ over the positions of a history: Q of one view, K and V of the other.

    No residual path. A position attends to earlier positions and itself only where `is_causal`.
    Source: [LLM-ESR]. Raises InputError where D is no multiple of `n_heads`.
    """

    def __init__(self, d_model: int, n_heads: int, *, is_causal: bool) -> None:
        super().__init__()
        check_heads(d_model, n_heads)
        self.n_heads, self.is_causal = n_heads, is_causal
        self.query = nn.Linear(d_model, d_model, bias=False)
        self.key_value = nn.Linear(d_model, 2 * d_model, bias=False)
        self.output = nn.Linear(d_model, d_model)

    def forward(self, asking: Tensor, asked: Tensor, mask: Tensor) -> Tensor:
        """The asked view, (B, S, D), weighted by what the asking one, (B, S, D), attends to; mask: (B, S)."""
        rows = (self.query(asking), *self.key_value(asked).chunk(2, dim=-1))
        query, key, value = (split_heads(each, self.n_heads) for each in rows)
        # Written out: the fused kernel with a mask for each history takes longer on a CPU.
        scores = (query / query.shape[-1] ** 0.5) @ key.transpose(-1, -2)
        allowed = allowed_keys(mask, is_causal=self.is_causal)
        weights = scores.masked_fill(~allowed, -torch.inf).softmax(dim=-1)
        attended = weights @ value
        return self.output(attended.transpose(1, 2).flatten(2)) * mask[..., None]


class DualView(SequenceModel):
    """Score = ⟨[u_co ; u_se], [e_co ; e_se]⟩: a collaborative and a semantic view of users and items.

    items: e_co, a trained ID table; semantics: e_se = adapter(text), an `ItemModule` too. Position
    embeddings, the same for both views, are added to the vectors of a history; then each view is replaced by
    what the other view's positions attend to in it, and one backbone encodes both: states are (…, 2D),
    collaborative first.
    Histories of at most `max_length` items. Source: [LLM-ESR]; that positions come first, as in its public
    code with SASRec and BERT4Rec.
    """

    def __init__(
        self,
        items: nn.Module,
        semantics: nn.Module,
        backbone: nn.Module,
        *,
        d_model: int,
        n_heads: int,
        max_length: int,
    ) -> None:
        super().__init__(items, backbone)
        self.semantics = semantics
        # Without them a query could not tell the item it stands at from any other that is as similar.
        self.positions = EndPositions(max_length, d_model)
        self.ask_collaborative = CrossAttention(d_model, n_heads, is_causal=self.is_causal)
        self.ask_semantic = CrossAttention(d_model, n_heads, is_causal=self.is_causal)

    def states(self, history: Tensor, *, last_only: bool = False) -> Tensor:
        """States of the positions, (B, S, 2D), or (B, 2D) of the last one; history: (B, S) int64."""
        return self._encode(
            self.items(history), self.semantics(history), history != PAD_IDX, last_only=last_only
        )

    def masked_states(self, sequence: Tensor, masked: Tensor, *, last_only: bool = False) -> Tensor:
        """As in `SequenceModel`; the mask vector stands in both views."""
        hidden, mask_vector = masked[..., None], cast(Tensor, self.backbone.mask_vector)
        collaborative, semantic = (
            torch.where(hidden, mask_vector, view(sequence)) for view in (self.items, self.semantics)
        )
        mask = (sequence != PAD_IDX) | masked
        return self._encode(collaborative, semantic, mask, last_only=last_only)

    def item_vectors(self, item_idx: Tensor) -> Tensor:
        """What scores some items: (...) → (..., 2D)."""
        return torch.cat([self.items(item_idx), self.semantics(item_idx)], dim=-1)

    def item_matrix(self) -> Tensor:
        """What scores all items, (N+1, 2D); row 0 is zero."""
        return torch.cat(self.embedding_views(), dim=1)

    def embedding_views(self) -> tuple[Tensor, Tensor]:
        """The collaborative and the semantic vectors of all items, (N+1, D) each."""
        return cast(Any, self.items).matrix(), cast(Any, self.semantics).matrix()

    def _encode(self, collaborative: Tensor, semantic: Tensor, mask: Tensor, *, last_only: bool) -> Tensor:
        """Cross-attention both ways, then both views through the one backbone at once."""
        positions = self.positions(mask.shape[1])
        collaborative, semantic = collaborative + positions, semantic + positions
        views = [
            self.ask_collaborative(semantic, collaborative, mask),
            self.ask_semantic(collaborative, semantic, mask),
        ]
        states = self.backbone(torch.cat(views), mask.repeat(2, 1), last_only=last_only)
        return torch.cat(states.chunk(2), dim=-1)
