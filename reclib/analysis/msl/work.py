"""How much arithmetic a training step does."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count
from transformers import TrainerCallback

_aten = torch.ops.aten


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _attention_backward(gradient: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_backward_flop_count(gradient, query, key, value)


# what torch's counter leaves out
_OF_CPU = {
    _aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    _aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}


class StepWork(TrainerCallback):
    """Counts the floating-point operations of the first optimisation step, which warms up and is not timed.

    flops: of products and attention, forward and backward, 2 for a multiplication and an addition; masked
    entries of attention are computed, and count
    """

    def __init__(self) -> None:
        self.flops = 0
        self._counter: FlopCounterMode | None = None

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A step begins."""
        if not self.flops:
            self._counter = FlopCounterMode(display=False, custom_mapping=_OF_CPU)
            self._counter.__enter__()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A step ends."""
        if self._counter is not None:
            self._counter.__exit__(None, None, None)
            self.flops, self._counter = self._counter.get_total_flops(), None
