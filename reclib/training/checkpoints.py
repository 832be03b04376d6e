"""Adapters and small states as files, and which checkpoint a killed run may go on from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from reclib.files import atomic_write
from reclib.models.causal_lm import CausalLM, adapter_state

ADAPTER_FILE = "adapter.safetensors"
STATE_FILE = "training_state.json"
COMPLETE_FILE = "complete"


def save_adapter(lm: CausalLM, path: Path) -> None:
    """Write the LoRA weights, and nothing else, in one step; `load_adapter` reads them."""
    state = {name: weight.detach().cpu().contiguous() for name, weight in adapter_state(lm).items()}
    atomic_write(path, lambda partial: save_file(state, partial))


def save_state(state: Mapping[str, Any], path: Path) -> None:
    """Write JSON values in one step."""
    text = json.dumps(state, indent=1)
    atomic_write(path, lambda partial: partial.write_text(text, "utf-8"))


def load_state(path: Path) -> dict[str, Any]:
    """Read the file of `save_state`."""
    return json.loads(path.read_text("utf-8"))


def mark_complete(checkpoint: Path) -> None:
    """State that every file of a checkpoint is written, and only then remove the checkpoints before it."""
    (checkpoint / COMPLETE_FILE).touch()
    for other in checkpoint.parent.glob("checkpoint-*"):
        if other != checkpoint:
            shutil.rmtree(other)


def drop_checkpoints(folder: Path) -> None:
    """Remove all that a finished training could go on from; a half-removed checkpoint is not complete."""
    for mark in folder.glob(f"checkpoint-*/{COMPLETE_FILE}"):
        mark.unlink()
    if folder.is_dir():
        shutil.rmtree(folder)


def latest_checkpoint(folder: Path) -> Path | None:
    """The complete `checkpoint-<step>` of the most steps; half-written ones are removed.

    Returns None where there is none to go on from.
    """
    complete = []
    for checkpoint in folder.glob("checkpoint-*"):
        if (checkpoint / COMPLETE_FILE).exists():
            complete.append(checkpoint)
        else:
            shutil.rmtree(checkpoint)
    return max(complete, key=lambda checkpoint: int(checkpoint.name.rpartition("-")[2]), default=None)
