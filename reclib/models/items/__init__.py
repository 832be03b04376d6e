"""Item embedding modules: item_idx to vectors that a backbone reads and that score items."""

from reclib.models.items.distilled import DistilledItems, even_scale
from reclib.models.items.fused import FusedItems
from reclib.models.items.ids import IdItems, TextStartedItems
from reclib.models.items.normalised import NormalisedItems
from reclib.models.items.reductions import largest_variance, pca, truncated

__all__ = [
    "DistilledItems",
    "FusedItems",
    "IdItems",
    "NormalisedItems",
    "TextStartedItems",
    "even_scale",
    "largest_variance",
    "pca",
    "truncated",
]
