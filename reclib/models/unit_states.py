"""States of one length, so that a score of unit item vectors is a cosine over a temperature."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn
from torch.nn.functional import normalize

from reclib.schema import InputError

SMALLEST_NORM = 1e-6  # a state shorter than this keeps its direction, not its length


class UnitStates(nn.Module):
    """h / (τ ‖h‖) of the states h of a backbone; an encoder like those of `models.backbones`.

    With items of length one (`NormalisedItems(items, scale=1)`) scores are cos / τ. States of padding stay
    zero. Source: TF-LLMER leaves h open; its authors' earlier public code (HSTU) scores so, with τ = 0.05
    (specification, §1, §5). Raises InputError for a τ that is not above 0.
    """

    def __init__(self, backbone: nn.Module, *, temperature: float) -> None:
        super().__init__()
        if temperature <= 0:
            raise InputError(f"states of one length: the temperature is {temperature}: it must be above 0")
        self.backbone, self.temperature = backbone, temperature

    @property
    def is_causal(self) -> bool:
        """Whether a state sees earlier items only."""
        return bool(cast(Any, self.backbone).is_causal)

    @property
    def max_length(self) -> int:
        """Positions that the backbone has."""
        return int(cast(Any, self.backbone).max_length)

    @property
    def mask_vector(self) -> Tensor:
        """What stands in place of a hidden item, (D,), in a backbone that is not causal."""
        return cast(Tensor, self.backbone.mask_vector)

    def forward(self, vectors: Tensor, mask: Tensor, *, last_only: bool = False) -> Tensor:
        """States (B, S, D), zero at padding; of the last position, (B, D), when `last_only`."""
        states: Tensor = self.backbone(vectors, mask, last_only=last_only)
        return normalize(states, dim=-1, eps=SMALLEST_NORM) / self.temperature

    def extra_repr(self) -> str:
        """What `print` shows."""
        return f"temperature={self.temperature:g}"
