"""Item vectors of one length, where items are read, where they are scored, or both."""

from __future__ import annotations

from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from reclib.schema import InputError

SMALLEST_NORM = 1e-8

Where = Literal["both", "lookup", "scoring"]
Norm = Literal["l2", "layer"]


class NormalisedItems(nn.Module):
    """ẽ_j = s e_j / (‖e_j‖ + 1e-8) of the vectors of another item module; an `ItemModule` for any backbone.

    items: the module whose vectors are normalised; scale: s. where: "lookup" where histories are read,
    "scoring" where items are scored, "both", so that one geometry serves both. norm: "l2", or "layer",
    which takes the mean over the D entries off first, as layer normalisation without weights does, and then
    has length s too.

    The gradient passes through the length: training turns a vector and cannot shrink it. A vector of zeros,
    as padding has, stays zero and gets no gradient. Tables below this module are trained without weight
    decay (`training.parameter_groups`), which would only shrink ‖e_j‖ and so lengthen the angular step.

    Source: TF-LLMER (arXiv 2604.20490): item-embedding normalisation is confirmed by its abstract; this
    form, where it applies, the scale and the absence of weight decay are derived by us, Eq. (7), §5. Raises
    InputError for a scale that is not above 0 and for another `where` or `norm`.
    """

    def __init__(
        self, items: nn.Module, *, scale: float = 8.0, where: Where = "both", norm: Norm = "l2"
    ) -> None:
        super().__init__()
        if scale <= 0:
            raise InputError(f"item normalisation: the scale is {scale}: it must be above 0")
        for name, value, known in (
            ("where", where, ("both", "lookup", "scoring")),
            ("norm", norm, ("l2", "layer")),
        ):
            if value not in known:
                raise InputError(f"item normalisation: {name} is {value!r}: choose one of {', '.join(known)}")
        self.items, self.scale, self.where, self.norm = items, scale, where, norm
        self.n_items: int = cast(Any, items).n_items

    def forward(self, item_idx: Tensor) -> Tensor:
        """What a backbone reads: (...) → (..., D); zeros for padding."""
        vectors = self.items(item_idx)
        return vectors if self.where == "scoring" else self._scaled(vectors)

    def scoring(self, item_idx: Tensor) -> Tensor:
        """What scores some items: (...) → (..., D); the rows of `matrix`."""
        vectors = self.items(item_idx)
        return vectors if self.where == "lookup" else self._scaled(vectors)

    def matrix(self) -> Tensor:
        """What scores all items, (N+1, D); row 0 is zero."""
        vectors = cast(Any, self.items).matrix()
        return vectors if self.where == "lookup" else self._scaled(vectors)

    def tables(self) -> list[Tensor]:
        """Tables of item vectors whose length counts for nothing, or only where they are not normalised."""
        return [module.weight for module in self.items.modules() if isinstance(module, nn.Embedding)]

    def extra_repr(self) -> str:
        """What `print` shows."""
        return f"scale={self.scale:g}, where={self.where}, norm={self.norm}"

    def _scaled(self, vectors: Tensor) -> Tensor:
        if self.norm == "layer":
            vectors = vectors - vectors.mean(dim=-1, keepdim=True)
        length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
        # Not 1e-8 alone: at zero it would multiply a gradient by 1e8, after which Adam hardly moves for long.
        return vectors * torch.where(length > 0, self.scale / (length + SMALLEST_NORM), 0.0)
