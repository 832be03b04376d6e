"""What a training step of each method costs, in one run on one machine ([MSL] Fig. 7).

Each method is trained for a few steps in a process of its own, so that its peak of memory is its own. The
first step warms up and is left out. Time is of the processor on a CPU, so that other work on the machine does
not count, and of the clock on a GPU.
"""

from __future__ import annotations

import multiprocessing
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from transformers import TrainerCallback

from reclib.analysis.machine import clock, high_water, peak_flops, reset_high_water
from reclib.analysis.msl import steps as msl
from reclib.analysis.msl.runs import METHODS, PREFERENCE, REFERENCE
from reclib.analysis.msl.work import StepWork
from reclib.analysis.workbench import Workbench
from reclib.config import DataConfig, LMConfig, PreferenceConfig, Profile, TuneConfig
from reclib.training.checkpoints import ADAPTER_FILE, save_adapter
from reclib.training.lm_trainer import fine_tune
from reclib.training.preference import prefer

BASE = "msl"  # what the costs are compared with
_TIMES = ["seconds_per_window", "low", "high", "once_per_window"]
_WORK = ["tokens_per_window", "tokens_per_second", "share_of_peak"]
_COLUMNS = ["method", "clock", *_TIMES, *_WORK, "memory", "of_msl", "total_of_msl"]


@dataclass(frozen=True, kw_only=True)
class CostConfig:
    """What is measured; `tune.n_windows` training windows in steps of `tune.batch_size`.

    product: width of the square matrices whose product gives the machine's peak
    """

    data: DataConfig
    lm: LMConfig
    tune: TuneConfig
    methods: tuple[str, ...] = METHODS
    product: int = 1024


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
        trace_every=1,
    )
    product = 8192 if torch.cuda.is_available() else 1024  # 2 ms of an H200, 50 of a core
    return CostConfig(data=profile.data, lm=profile.lm, tune=tune, product=product)


def cost_step(config: CostConfig, *, seed: int, workdir: Path) -> dict[str, pd.DataFrame]:
    """Tables "steps" (method, step, seconds, tokens) and "runs" (method, before, memory, clock, flops, peak).

    tokens: those that a step runs, of prompts and answers; before: seconds from the start to the first step,
    in which S-DPO asks its reference; memory: peak above the loaded model, in MB, NaN where the system does
    not tell; flops: of the first step; peak: see `machine.peak_flops`. What training writes is not kept.
    """
    steps, runs = [], []
    for method in config.methods:
        with tempfile.TemporaryDirectory(dir=workdir) as folder:  # never one from which training would go on
            found = _measured(config, method, seed, Path(folder))
        steps.append(found.pop("steps").assign(method=method))
        runs.append({"method": method, **found})
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
    """Train by one method in this process: what `cost_step` has of a method."""
    torch.set_num_threads(n_threads)
    bench = Workbench(config.data, config.lm, max_tokens=config.tune.max_tokens)
    lm = bench.fresh_lm(seed=seed)
    shared = (lm, bench.dataset, bench.trie, bench.item_tokens)
    is_narrow = lm.device.type == "cuda" and torch.cuda.is_bf16_supported()  # as `training_arguments` has it
    dtype = torch.bfloat16 if is_narrow else getattr(torch, config.lm.dtype)
    peak = peak_flops(lm.device, dtype, width=config.product)
    times, work, held = _StepTimes(lm.device), StepWork(), reset_high_water(lm.device)
    given: dict[str, Any] = {"seed": seed, "workdir": folder, "callbacks": [times, work]}
    times.start()
    if method == PREFERENCE:
        save_adapter(lm, folder / ADAPTER_FILE)
        reference = folder / ADAPTER_FILE
        log = prefer(*shared, config.tune, PreferenceConfig(), reference=reference, **given)["trace"]
    else:
        log = fine_tune(*shared, replace(config.tune, objective=msl.METHODS[method]), **given)["trace"]
    tokens = log.loc[log["name"] == "tokens", "value"].diff().fillna(log["value"]).to_numpy(np.int64)
    steps = pd.DataFrame({"step": range(len(tokens)), "seconds": times.steps, "tokens": tokens})
    about = {"before": times.before, "memory": (high_water(lm.device) - held) / 1e6, "clock": times.clock}
    return {"steps": steps, **about, "flops": work.flops, "peak": peak}


class _StepTimes(TrainerCallback):
    """Seconds of each optimisation step, and from `start` to the beginning of training."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.clock = "wall" if device.type == "cuda" else "cpu"
        self.steps: list[float] = []
        self.before = 0.0

    def start(self) -> None:
        """Start the clock."""
        self._since = clock(self.device)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """All is prepared: prompts are tokenised, and the reference has been asked."""
        self.before = clock(self.device) - self._since

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A step begins."""
        self._since = clock(self.device)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A step ends."""
        self.steps.append(clock(self.device) - self._since)


def cost_table(steps: pd.DataFrame, runs: pd.DataFrame, config: CostConfig, *, epochs: int) -> pd.DataFrame:
    """Cost of training by method, and over that of MSL.

    Returns method, clock, seconds_per_window (median step), low and high (smallest and largest step),
    once_per_window (the reference's pass); tokens_per_window and tokens_per_second of the steps, and
    share_of_peak: their operations a second over those of a product of matrices; memory, of_msl: a training
    of so many epochs over MSL's, its own steps and pass alone; total_of_msl: with the tuning of the reference
    by LML before.
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
        work = _work(steps[steps["method"] == method], run, config.tune.batch_size)
        rows.append((method, run["clock"], *times, *work, run["memory"], own / base, total / base))
    return pd.DataFrame(rows, columns=_COLUMNS)


def _work(steps: pd.DataFrame, run: dict[Any, Any], batch_size: int) -> tuple[float, float, float]:
    """Tokens a window, tokens a second, and the share of the peak, of the timed steps.

    The operations of a token are those of the first step, which is not timed.
    """
    first, timed = steps[steps["step"] == 0], steps[steps["step"] > 0]
    a_second = timed["tokens"].sum() / timed["seconds"].sum()
    flops = run["flops"] / first["tokens"].sum()
    return timed["tokens"].mean() / batch_size, a_second, flops * a_second / run["peak"]


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
