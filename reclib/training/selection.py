"""Which epoch's adapter is kept: by validation windows, never by test windows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from transformers import TrainerCallback

from reclib.models.causal_lm import CausalLM
from reclib.training.checkpoints import save_adapter
from reclib.training.likelihood import catalogue_log_likelihood


class BestEpoch(TrainerCallback):
    """Keeps the adapter of the epoch with the lowest catalogue log-likelihood loss on validation windows.

    Measured before the epoch's last checkpoint is written, so a resumed run never misses an epoch.
    """

    def __init__(self, lm: CausalLM, measured: tuple[Any, ...], *, path: Path) -> None:
        """`measured`: what `catalogue_log_likelihood` takes after the LM; path: of the best adapter."""
        self.lm, self.measured, self.path = lm, measured, path

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """After an epoch's last step."""
        if state.global_step % (state.max_steps // int(args.num_train_epochs)):
            return
        value = float(catalogue_log_likelihood(self.lm, *self.measured).mean())
        earlier = [
            entry["valid_catalogue_nll"] for entry in state.log_history if "valid_catalogue_nll" in entry
        ]
        state.log_history.append({"step": state.global_step, "valid_catalogue_nll": value})
        if state.is_world_process_zero and value < min(earlier, default=np.inf):
            save_adapter(self.lm, self.path)
