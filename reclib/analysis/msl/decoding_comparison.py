"""One model, several ways to a list of ten: what they find, and what they cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reclib.analysis.workbench import Workbench
from reclib.artifacts import Artifact
from reclib.config import DataConfig, LMConfig, Profile
from reclib.decoding.beam import constrained_beam_search
from reclib.decoding.exact import exact_scores, exact_top_k
from reclib.decoding.lists import Lists
from reclib.decoding.search_trie import SearchTrie
from reclib.evaluation.statistics import bootstrap_interval
from reclib.seeding import numpy_generator

N_WINDOWS = {"smoke": 8, "default": 16, "paper": 256}
USERS_PER_BATCH = 8


@dataclass(frozen=True, kw_only=True)
class ComparisonConfig:
    """How many held-out windows are decoded by every protocol, and the length of their lists."""

    data: DataConfig
    lm: LMConfig
    n_windows: int
    top_k: int
    num_beams: int
    max_tokens: int


def config(profile: Profile) -> ComparisonConfig:
    """Configuration of the comparison in a profile."""
    return ComparisonConfig(
        data=profile.data,
        lm=profile.lm,
        n_windows=N_WINDOWS[profile.name],
        top_k=profile.decoding.top_k,
        num_beams=profile.decoding.num_beams,
        max_tokens=profile.tune.max_tokens,
    )


def decoding_step(
    config: ComparisonConfig, *, seed: int, workdir: Path, bench: Workbench, adapter: Artifact | None
) -> dict[str, pd.DataFrame]:
    """Table "windows": window, method, overlap with the exact top K (share of its items), cpu_seconds.

    Methods: "exact" (best-first search), "beam_valid", "beam_full" (as transformers scores beams), and
    "catalogue" (the probability of every item). The exact lists are checked against the catalogue's.
    """
    windows = bench.held_out(config.n_windows)
    prompts, lm = bench.prompts(windows), bench.with_adapter(adapter)
    search = SearchTrie.build(bench.trie, lm.device)
    beams = {"num_beams": config.num_beams}
    methods: dict[str, Callable[[Any], Lists]] = {
        "exact": lambda part: exact_top_k(lm, part, search, k=config.top_k),
        "beam_valid": lambda part: constrained_beam_search(lm, part, search, scoring="valid", **beams),
        "beam_full": lambda part: constrained_beam_search(lm, part, search, scoring="full", **beams),
        "catalogue": lambda part: _top(exact_scores(lm, part, search), config.top_k),
    }
    rows = []
    for first in range(0, len(windows), USERS_PER_BATCH):
        batch = np.arange(first, min(first + USERS_PER_BATCH, len(windows)))
        part = prompts.take(batch)
        lists, seconds = {}, {}
        for name, decode in methods.items():
            started = time.process_time()
            lists[name] = decode(part).items
            seconds[name] = (time.process_time() - started) / len(batch)
        for name, items in lists.items():
            for place, window in enumerate(batch):
                shared = len(np.intersect1d(items[place], lists["exact"][place])) / config.top_k
                rows.append((window, name, shared, seconds[name]))
    return {"windows": pd.DataFrame(rows, columns=["window", "method", "overlap", "cpu_seconds"])}


def table(results: Mapping[str, Artifact]) -> pd.DataFrame:
    """Means over windows with bootstrap intervals: model, method, metric, value, low, high.

    metric: "overlap" (share of the exact top K that a list holds), "cpu_seconds" a user (of batches of
    eight users; no interval, since a batch is timed as a whole).
    """
    rows = []
    for model, artifact in results.items():
        for method, windows in artifact["windows"].groupby("method", sort=False):
            overlap = windows["overlap"].to_numpy()
            low, high = bootstrap_interval(overlap, generator=numpy_generator(0, f"overlap {model} {method}"))
            rows.append((model, method, "overlap", overlap.mean(), float(low), float(high)))
            seconds = windows["cpu_seconds"].mean()
            rows.append((model, method, "cpu_seconds", seconds, np.nan, np.nan))
    return pd.DataFrame(rows, columns=["model", "method", "metric", "value", "low", "high"])


def panel(table: pd.DataFrame, model: str) -> pd.DataFrame:
    """The rows of one model, as `figures.decoding_cost` draws them."""
    return table[table["model"] == model].drop(columns="model").reset_index(drop=True)


def _top(scores: np.ndarray, k: int) -> Lists:
    """The K best items of each row, ties by item_idx, as best-first search orders them."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return Lists(order.astype(np.int32), np.take_along_axis(scores, order, axis=1))
