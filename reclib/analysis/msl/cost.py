"""What a training step of each method costs, in one run on one machine ([MSL] Fig. 7).

Each method is trained for a few steps in a process of its own, so that its peak of memory is its own. The
first step warms up and is left out. Time is of the processor on a CPU, so that other work on the machine does
not count, and of the clock on a GPU.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from transformers import TrainerCallback

from reclib.analysis.msl import steps as msl
from reclib.analysis.msl.runs import METHODS, PREFERENCE, REFERENCE
from reclib.analysis.workbench import Workbench
from reclib.config import DataConfig, LMConfig, PreferenceConfig, Profile, TuneConfig
from reclib.training.checkpoints import ADAPTER_FILE, save_adapter
from reclib.training.lm_trainer import fine_tune
from reclib.training.preference import prefer

BASE = "msl"  # what the costs are compared with
_TIMES = ["seconds_per_window", "low", "high", "once_per_window"]
_COLUMNS = ["method", "clock", *_TIMES, "memory", "of_msl", "total_of_msl"]


@dataclass(frozen=True, kw_only=True)
class CostConfig:
    """What is measured; `tune.n_windows` training windows in steps of `tune.batch_size`."""

    data: DataConfig
    lm: LMConfig
    tune: TuneConfig
    methods: tuple[str, ...] = METHODS


def cost_config(profile: Profile) -> CostConfig:
    """Configuration of the measurement in a profile."""
    settings = profile.msl_tables
    tune = replace(
        profile.tune,
        n_windows=settings.cost_windows,
        epochs=1,
        batch_size=settings.cost_batch,
        micro_batch_size=min(profile.tune.micro_batch_size, settings.cost_batch),
        save_every=settings.cost_windows,  # no checkpoint within the run
    )
    return CostConfig(data=profile.data, lm=profile.lm, tune=tune)


def cost_step(config: CostConfig, *, seed: int, workdir: Path) -> dict[str, pd.DataFrame]:
    """Tables "steps" (method, step, seconds) and "runs" (method, before, memory, clock).

    before: seconds from the start to the first step, in which S-DPO asks its reference; memory: peak above
    the loaded model, in MB, NaN where the system does not tell. What training writes is not kept.
    """
    steps, runs = [], []
    for method in config.methods:
        with tempfile.TemporaryDirectory(dir=workdir) as folder:  # never one from which training would go on
            found = _measured(config, method, seed, Path(folder))
        steps.append(
            pd.DataFrame({"method": method, "step": range(len(found["steps"])), "seconds": found["steps"]})
        )
        runs.append({"method": method, **{name: found[name] for name in ("before", "memory", "clock")}})
    return {"steps": pd.concat(steps, ignore_index=True), "runs": pd.DataFrame(runs)}


def _measured(config: CostConfig, method: str, seed: int, folder: Path) -> dict[str, Any]:
    """`measure` in a process of its own; here for a random model, whose memory says nothing."""
    n_threads = torch.get_num_threads()
    if config.lm.name == "random":
        return measure(config, method, seed, folder, n_threads)
    # a fresh interpreter: a forked one would start with this one's memory and threads
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(measure, config, method, seed, folder, n_threads).result()


def measure(config: CostConfig, method: str, seed: int, folder: Path, n_threads: int) -> dict[str, Any]:
    """Train by one method in this process: seconds of each step, seconds before the first, peak memory."""
    torch.set_num_threads(n_threads)
    bench = Workbench(config.data, config.lm, max_tokens=config.tune.max_tokens)
    lm = bench.fresh_lm(seed=seed)
    shared = (lm, bench.dataset, bench.trie, bench.item_tokens)
    times, memory = _StepTimes(lm.device), _Peak(lm.device)
    given: dict[str, Any] = {"seed": seed, "workdir": folder, "callbacks": [times]}
    times.start()
    if method == PREFERENCE:
        save_adapter(lm, folder / ADAPTER_FILE)
        prefer(*shared, config.tune, PreferenceConfig(), reference=folder / ADAPTER_FILE, **given)
    else:
        fine_tune(*shared, replace(config.tune, objective=msl.METHODS[method]), **given)
    return {"steps": times.steps, "before": times.before, "memory": memory.megabytes(), "clock": times.clock}


class _StepTimes(TrainerCallback):
    """Seconds of each optimisation step, and from `start` to the beginning of training."""

    def __init__(self, device: torch.device) -> None:
        self.is_cuda = device.type == "cuda"
        self.clock = "wall" if self.is_cuda else "cpu"
        self.steps: list[float] = []
        self.before = 0.0

    def start(self) -> None:
        """Start the clock."""
        self._since = self._now()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """All is prepared: prompts are tokenised, and the reference has been asked."""
        self.before = self._now() - self._since

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A step begins."""
        self._since = self._now()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A step ends."""
        self.steps.append(self._now() - self._since)

    def _now(self) -> float:
        if self.is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter() if self.is_cuda else time.process_time()


class _Peak:
    """Peak memory of a device from now on, above what is in use now."""

    def __init__(self, device: torch.device) -> None:
        self.is_cuda = device.type == "cuda"
        if self.is_cuda:
            torch.cuda.reset_peak_memory_stats()
            self._before = float(torch.cuda.memory_allocated())
        else:
            _forget_peak()
            self._before = _resident("VmRSS")

    def megabytes(self) -> float:
        """The peak so far, in MB."""
        peak = float(torch.cuda.max_memory_allocated()) if self.is_cuda else _resident("VmHWM")
        return (peak - self._before) / 1e6


def _forget_peak() -> None:
    """Set this process's high-water mark to what is resident now, where the system can."""
    path = Path("/proc/self/clear_refs")
    if path.exists() and os.access(path, os.W_OK):
        path.write_text("5", encoding="ascii")


def _resident(field: str) -> float:
    """VmRSS (resident now) or VmHWM (its peak) of this process in bytes; NaN where it is not told."""
    path = Path("/proc/self/status")
    found = re.search(rf"{field}:\s+(\d+) kB", path.read_text("utf-8")) if path.exists() else None
    return 1024.0 * int(found[1]) if found else float("nan")


def cost_table(steps: pd.DataFrame, runs: pd.DataFrame, config: CostConfig, *, epochs: int) -> pd.DataFrame:
    """Cost of training by method, and over that of MSL.

    Returns method, clock, seconds_per_window (median step), low and high (smallest and largest step),
    once_per_window (the reference's pass), memory, of_msl: a training of so many epochs over MSL's, its own
    steps and pass alone; total_of_msl: with the tuning of the reference by LML before.
    """
    before = dict(zip(runs["method"], runs["before"].astype(float), strict=True))
    by_window = {
        method: steps.loc[(steps["method"] == method) & (steps["step"] > 0), "seconds"].to_numpy(float)
        / config.tune.batch_size
        for method in runs["method"]
    }
    base, of_reference = (float(np.median(by_window[method])) for method in (BASE, REFERENCE))
    rows = []
    for run in runs.to_dict("records"):
        method, seconds = run["method"], by_window[run["method"]]
        is_preferred = method == PREFERENCE
        once = (before[method] - before[REFERENCE]) / config.tune.n_windows if is_preferred else 0.0
        own = float(np.median(seconds)) + once / epochs
        times = (float(np.median(seconds)), seconds.min(), seconds.max(), once)
        total = own + (of_reference if is_preferred else 0.0)
        rows.append((method, run["clock"], *times, run["memory"], own / base, total / base))
    return pd.DataFrame(rows, columns=_COLUMNS)


def training_seconds(cost: pd.DataFrame, profile: Profile) -> dict[str, float]:
    """Seconds of a whole training of the profile by method; of S-DPO with the tuning of its reference."""
    step = dict(zip(cost["method"], cost["seconds_per_window"].astype(float), strict=True))
    once = dict(zip(cost["method"], cost["once_per_window"].astype(float), strict=True))
    epochs, n_preferred = profile.tune.epochs, profile.msl_tables.preference_windows
    seconds = {method: each * profile.tune.n_windows * epochs for method, each in step.items()}
    seconds[PREFERENCE] = seconds[REFERENCE] + n_preferred * (step[PREFERENCE] * epochs + once[PREFERENCE])
    return seconds


def figure_table(comparison: pd.DataFrame, cost: pd.DataFrame, profile: Profile) -> pd.DataFrame:
    """Accuracy over training time and memory: method, cost, amount, metric, k, value, low, high."""
    rows = comparison[(comparison["group"] == "all") & comparison["method"].isin(list(cost["method"]))]
    rows = rows[(rows["metric"] == "NDCG") & (rows["k"] == rows["k"].max())]
    memory = dict(zip(cost["method"], cost["memory"].astype(float), strict=True))
    amounts = {"seconds": training_seconds(cost, profile), "memory": memory}
    parts = [
        rows.assign(cost=name, amount=rows["method"].map(amount)).drop(columns=["group", "n"])
        for name, amount in amounts.items()
        if np.isfinite(list(amount.values())).all()
    ]
    return pd.concat(parts, ignore_index=True)
