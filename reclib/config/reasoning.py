"""Settings of the training windows that a language model reasons about."""

from __future__ import annotations

from dataclasses import dataclass, field

from reclib.config.sequence import TextConfig
from reclib.schema import InputError, settle


@dataclass(frozen=True, kw_only=True)
class ReasoningConfig:
    """What a language model writes for LLM-CF, and what embeds it.

    n_windows: training windows that are reasoned about, every other one with an item that was not chosen
    max_new_tokens: of each text; users_per_batch: texts written at once
    text: what embeds the texts and the titles
    """

    n_windows: int = 32
    max_new_tokens: int = 32
    users_per_batch: int = 16
    text: TextConfig = field(default_factory=TextConfig)

    def __post_init__(self) -> None:
        settle(self, "reasoning", positive=("n_windows", "max_new_tokens", "users_per_batch"))
        if self.n_windows < 2:
            raise InputError(f"reasoning.n_windows is {self.n_windows}: one of each outcome makes two")


SMOKE_REASONING = ReasoningConfig(n_windows=8, max_new_tokens=8, text=TextConfig(encoder="random"))

PAPER_REASONING = ReasoningConfig(
    n_windows=10_000,  # released code of LLM-CF
    max_new_tokens=256,  # released code of LLM-CF
    users_per_batch=16,  # released code of LLM-CF
    text=TextConfig(
        encoder="all-minilm-l6-v2",  # ours: the released code has an encoder of 768 dimensions
        max_tokens=256,  # ours: the encoder's limit
    ),
)
