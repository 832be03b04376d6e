"""What a step of each method costs, in steps of ERM: over catalogues, over batches, and in passes.

That item-wise sharpness can be had by an efficient penalty is the paper's [confirmed: abstract]; the methods
whose steps are timed are our reading of it (specification §3.4 to §3.7) [derived by us].
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from reclib.analysis.eisam.sharpness_steps import StepModel, random_lm_model, sequence_model
from reclib.config import SHARPNESS_FAMILY, Profile, SharpnessConfig
from reclib.evaluation.metrics import METHOD
from reclib.training.examples import Examples, Weighed

ERM, COPIES, NAIVE = "erm", "copies", "naive"
METHODS = {
    name: replace(SHARPNESS_FAMILY[name], alignment_every=0)
    for name in ("reweight", "sam", "eisam2", "eisam", "hinge", "exact")
}
SHARED = ("reweight", "sam", "eisam2", "eisam", "hinge")  # at most one ascent for a batch
OF_ALL_SIZES = ("sam", "eisam2", "eisam")
SECONDS_A_ROUND = 0.2  # shorter rounds are repeated, where there is more than one


@dataclass(frozen=True, kw_only=True)
class CostConfig:
    """At which sizes steps are timed.

    catalogues: numbers of items; batches: windows of a batch, at the second of the catalogues; rounds: at
    least
    """

    catalogues: tuple[int, ...]
    batches: tuple[int, ...]
    rounds: int


def cost_config(profile: Profile) -> CostConfig:
    """The sizes of a profile."""
    checks = profile.checks
    return CostConfig(catalogues=checks.catalogues, batches=checks.batches, rounds=checks.rounds)


def cost_step(config: CostConfig, *, seed: int, workdir: Path) -> dict[str, pd.DataFrame]:
    """Time the passes of single steps on one thread, all methods in turn in one run.

    SASRec under cross-entropy over the whole catalogue, and a small random LM with LoRA under MSL, without
    the optimiser, which is the same for all.

    Returns "sizes" (model, n_items, method, seconds, ratio: to a step of ERM), "batches" (model, batch,
    method, seconds, ratio), and "passes" (method, forwards,
    backwards, targets: distinct ones of the batch).
    """
    with one_thread():
        return {
            "sizes": _by_catalogue(config),
            "batches": _by_batch(config),
            "passes": _passes(config.catalogues[0]),
        }


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for a while, so that CPU seconds are those of the work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _by_catalogue(config: CostConfig) -> pd.DataFrame:
    makers: dict[str, Callable[[int], StepModel]] = {
        "SASRec": lambda n_items: sequence_model(n_items, positions="last"),
        "language model": lambda n_items: random_lm_model(n_items, "msl", n_layers=2, width=128),
    }
    parts = []
    for name, make in makers.items():
        for n_items in config.catalogues:
            model = make(n_items)
            ways = {method: (model, METHODS[method]) for method in OF_ALL_SIZES}
            part = timed({ERM: (model, None), **ways}, rounds=config.rounds)
            parts.append(part.assign(model=name, n_items=n_items))
    table = pd.concat(parts, ignore_index=True)
    return table[["model", "n_items", METHOD, "seconds", "ratio"]]


def _by_batch(config: CostConfig) -> pd.DataFrame:
    """All methods; the exact step by adapters of their own ("copies"), and item by item ("naive")."""
    parts = []
    for batch in config.batches:
        small: dict[str, Any] = {"n_windows": batch, "n_layers": 1, "width": 64}
        shared = random_lm_model(config.catalogues[1], "msl", **small)
        apart = random_lm_model(config.catalogues[1], "msl", share_head=False, **small)
        ways = {method: (shared, METHODS[method]) for method in SHARED}
        ways |= {COPIES: (apart, METHODS["exact"]), NAIVE: (item_by_item(shared), METHODS["exact"])}
        part = timed({ERM: (shared, None), **ways}, rounds=config.rounds)
        parts.append(part.assign(model="language model", batch=batch))
    table = pd.concat(parts, ignore_index=True)
    return table[["model", "batch", METHOD, "seconds", "ratio"]]


def timed(ways: Mapping[str, tuple[StepModel, SharpnessConfig | None]], *, rounds: int) -> pd.DataFrame:
    """Least CPU seconds of a step of each way, all taking turns: method, seconds, ratio (to the first)."""
    spent: dict[str, list[float]] = {
        name: [_seconds(model, config)] for name, (model, config) in ways.items()
    }
    shortest = max(1e-6, min(values[0] for values in spent.values()))
    for _ in range(max(rounds, min(10 * (rounds - 1), int(SECONDS_A_ROUND / shortest)))):
        for name, (model, config) in ways.items():
            spent[name].append(_seconds(model, config))
    least = {name: min(values[1:]) for name, values in spent.items()}
    first = next(iter(least.values()))
    rows = [(name, seconds, seconds / first) for name, seconds in least.items()]
    return pd.DataFrame(rows, columns=[METHOD, "seconds", "ratio"])


def _seconds(model: StepModel, config: SharpnessConfig | None) -> float:
    started = time.process_time()
    model.step(config)
    return time.process_time() - started


def cost_panels(sizes: pd.DataFrame, batches: pd.DataFrame) -> pd.DataFrame:
    """Both tables for a figure: panel (the label of its axis), size, method, ratio; ERM is 1 and left out."""
    parts = [
        pd.DataFrame(
            {"panel": f"items, {name}", "size": rows["n_items"], METHOD: rows[METHOD], "ratio": rows["ratio"]}
        )
        for name, rows in sizes.groupby("model", sort=False)
    ]
    parts.append(batches.rename(columns={"batch": "size"})[["size", METHOD, "ratio"]])
    parts[-1].insert(0, "panel", "windows of a batch")
    table = pd.concat(parts, ignore_index=True)
    return table[table[METHOD] != ERM].reset_index(drop=True)


def item_by_item(model: StepModel) -> StepModel:
    """The same batch without weights of its own for each item: the exact step then goes from item to item."""
    return replace(model, examples=lambda: replace(model.examples(), copies=None))


@dataclass
class Passes:
    """How often a batch went through a model, and how often gradients came back."""

    forwards: int = 0
    backwards: int = 0

    def count(self, examples: Examples) -> Examples:
        """The same examples, counted from now on."""

        def forward(tables: Tensor | None, is_first: bool) -> Weighed:
            self.forwards += 1
            found = examples.forward(tables, is_first)
            return found._replace(totals=self._counted(found.totals), losses=self._counted(found.losses))

        return replace(examples, forward=forward)

    def _counted(self, tensor: Tensor) -> Tensor:
        if tensor.requires_grad:
            tensor.register_hook(self._came_back)
        return tensor

    def _came_back(self, gradient: Tensor) -> None:
        self.backwards += 1


def _passes(n_items: int) -> pd.DataFrame:
    """Passes of a step of each method on one batch of 16 windows: method, forwards, backwards, targets."""
    shared = random_lm_model(n_items, "msl", n_layers=1, width=32)
    apart = random_lm_model(n_items, "msl", n_layers=1, width=32, share_head=False)
    naive = item_by_item(shared)
    ways = {ERM: (shared, SHARPNESS_FAMILY[ERM])} | {name: (shared, METHODS[name]) for name in SHARED}
    ways |= {COPIES: (apart, METHODS["exact"]), NAIVE: (naive, METHODS["exact"])}
    rows = []
    for name, (model, config) in ways.items():
        passes = Passes()
        examples = passes.count(model.examples())
        found = examples().item_idx
        passes.forwards = passes.backwards = 0
        model.sharpness(replace(config, alignment_every=0)).outcome(examples, model.parameters, step=1)
        rows.append((name, passes.forwards, passes.backwards, len(np.unique(found.numpy()))))
    return pd.DataFrame(rows, columns=[METHOD, "forwards", "backwards", "targets"])
