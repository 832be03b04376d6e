"""What a training shows while it runs: a bar at a terminal or in a notebook, else a line an epoch."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping

from tqdm.auto import tqdm
from transformers.utils import is_in_notebook

from reclib import paths


class EpochLines:
    """Loss, validation metric, windows a second, and the most time that is left."""

    def __init__(self, stage: str, *, n_epochs: int, done: int = 0) -> None:
        self.stage, self.n_epochs, self.first = stage, n_epochs, done
        self._epoch, self._started = done, time.perf_counter()
        # a batch run shows text only
        is_text = paths.RUN_STARTED in os.environ or not (is_in_notebook() or sys.stderr.isatty())
        self._bar = None if is_text else tqdm(total=n_epochs, initial=done, desc=stage, unit="epoch")

    def show(self, numbers: Mapping[str, float]) -> None:
        """An epoch ended with these numbers."""
        self._epoch += 1
        seconds = time.perf_counter() - self._started
        left = seconds / (self._epoch - self.first) * (self.n_epochs - self._epoch)
        measured = f"  validation {numbers['validation']:.4f}" if "validation" in numbers else ""
        text = f"loss {numbers['loss']:.4f}{measured}  {numbers['windows_per_second']:,.0f} windows/s"
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update()
            return
        line = f"{self.stage}: epoch {self._epoch}/{self.n_epochs}  {text}  at most {left:.0f} s left"
        print(line, flush=True)

    def close(self) -> None:
        """No more epochs."""
        if self._bar is not None:
            self._bar.close()
