"""Item embedding modules: item_idx to vectors that a backbone reads and that score items."""

from reclib.models.items.fused import FusedItems
from reclib.models.items.ids import IdItems
from reclib.models.items.normalised import NormalisedItems
from reclib.models.items.reductions import largest_variance, pca, truncated

__all__ = ["FusedItems", "IdItems", "NormalisedItems", "largest_variance", "pca", "truncated"]
