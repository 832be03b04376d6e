"""Item-embedding normalisation as an option of any method."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from reclib.models.items import NormalisedItems
from reclib.models.items.normalised import Norm, Where
from reclib.schema import settle


@dataclass(frozen=True, kw_only=True)
class ItemNorm:
    """How item vectors are normalised, see `models.items.NormalisedItems`.

    scale: s, the length they get; where: "lookup", "scoring" or "both"; norm: "l2" or "layer"
    """

    scale: float = 8.0
    where: Where = "both"
    norm: Norm = "l2"

    def __post_init__(self) -> None:
        settle(self, "norm", positive=("scale",))


def with_norm(items: nn.Module, norm: ItemNorm | None) -> nn.Module:
    """Item vectors normalised as asked for, or as they are."""
    if norm is None:
        return items
    return NormalisedItems(items, scale=norm.scale, where=norm.where, norm=norm.norm)
