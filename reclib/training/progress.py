"""What training reports: numbers for the log, lines where there is no progress bar, and the trace table."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from torch import Tensor
from transformers import TrainerCallback


class Progress:
    """Numbers for the log: means since the last entry, and totals since the start."""

    def __init__(self) -> None:
        self.n_tokens, self.seconds = 0, 0.0
        self._latest: dict[str, float] = {}
        self._sums: dict[str, Tensor] = {}
        self._weight = 0
        self._started = time.perf_counter()

    def start_step(self) -> None:
        """An optimisation step begins."""
        self._started = time.perf_counter()

    def add(self, parts: Mapping[str, Tensor], *, weight: int, n_tokens: int) -> None:
        """Take up the parts of one micro-batch, means over `weight` target tokens."""
        self.n_tokens += n_tokens
        self._weight += weight
        for name, part in parts.items():
            self._sums[name] = self._sums.get(name, 0.0) + part * weight

    def end_step(self, latest: Mapping[str, float]) -> None:
        """An optimisation step ends; `latest` are numbers of the step that are not averaged."""
        self._latest = dict(latest)
        self.seconds += time.perf_counter() - self._started

    def entry(self) -> dict[str, float]:
        """Numbers of one log entry; the means start anew."""
        means = {name: float(total) / self._weight for name, total in self._sums.items()}
        self._sums, self._weight = {}, 0
        return {**means, **self._latest, "seconds": self.seconds, "tokens": self.n_tokens}

    def state(self) -> dict[str, float]:
        """The totals, as JSON values."""
        return {"tokens": self.n_tokens, "seconds": self.seconds}

    def load(self, state: Mapping[str, float]) -> None:
        """Go on from totals of `state`."""
        self.n_tokens, self.seconds = int(state["tokens"]), float(state["seconds"])


class ProgressLines(TrainerCallback):
    """One line a log entry, for output that is not a terminal: step, loss, seconds, and what is left."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Print an entry of the training log."""
        if state.is_world_process_zero and logs and "loss" in logs:
            left = logs["seconds"] / state.global_step * (state.max_steps - state.global_step)
            print(
                f"step {state.global_step}/{state.max_steps}  loss {logs['loss']:.4f}  "
                f"{logs['seconds']:.0f} s, {left:.0f} s left",
                flush=True,
            )


def trace_table(history: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The Trainer's log as a long table (step, name, value), ordered by step and name."""
    rows = [
        (entry["step"], name, float(value))
        for entry in history
        for name, value in entry.items()
        if name not in ("step", "epoch", "total_flos") and not name.startswith("train_")
    ]
    return pd.DataFrame(sorted(rows), columns=["step", "name", "value"])
