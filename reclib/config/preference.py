"""Settings of preference tuning against a reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from reclib.schema import settle


@dataclass(frozen=True, kw_only=True)
class PreferenceConfig:
    """Softmax-DPO: the target preferred to items drawn as negatives, each against a frozen reference.

    beta: β, how strongly the policy is held to the reference
    n_negatives: items drawn for each window, once for all epochs
    unseen_by: what they are drawn apart from, beside the target: all that the "user" has in training
        windows, or the items of the "window" alone, as the released code does
    """

    beta: float = 1.0  # released script; 0.1 where it is left to the code
    n_negatives: int = 3  # released script and code
    unseen_by: Literal["user", "window"] = "user"  # ours

    def __post_init__(self) -> None:
        settle(self, "preference", positive=("beta", "n_negatives"))
