"""A sharpness-aware step over several processes is that of one process with as many micro-batches."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from reclib.config import SHARPNESS_FAMILY, ObjectiveConfig
from reclib.training.lm_trainer import fine_tune
from tests.training.toy import make_toy, tune_config

ROOT = Path(__file__).parents[2]


def train(workdir: Path, name: str) -> None:
    """Two steps of four windows, two at a time."""
    toy = make_toy(dtype="float32")
    config = tune_config(objective=ObjectiveConfig(name="msl", adaptive=True), n_windows=8, warmup_steps=0)
    sharpness = SHARPNESS_FAMILY[name]
    fine_tune(toy.lm, toy.dataset, toy.trie, toy.items, config, seed=0, workdir=workdir, sharpness=sharpness)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def in_processes(workdir: Path, name: str, n_processes: int) -> dict[str, torch.Tensor]:
    """The adapter that so many processes train together."""
    code = f"from tests.training.test_processes import *; train(Path({str(workdir)!r}), {name!r})"
    # Once in a while torch's threads of a group abort an interpreter that is shut down around them.
    code += "; sys.stdout.flush(); os._exit(0)"
    shared = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    shared |= {"WORLD_SIZE": str(n_processes), "ACCELERATE_USE_CPU": "true"}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(n_processes)
    ]
    outputs = [process.communicate(timeout=600)[0] for process in running]
    assert not any(process.returncode for process in running), "\n".join(outputs)
    # Only the first of a group that found each other reports.
    assert ["step 2/2" in output for output in outputs] == [True] + [False] * (n_processes - 1)
    return load_file(workdir / "adapter.safetensors")


def flat(weights: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([weights[name].flatten() for name in sorted(weights)])


def test_two_processes_are_one_with_two_micro_batches(tmp_path: Path) -> None:
    train(tmp_path / "one", "eisam")
    alone = flat(load_file(tmp_path / "one" / "adapter.safetensors"))
    together = flat(in_processes(tmp_path / "two", "eisam", 2))
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)
