"""Held-out windows by language models and by a recommender that never sees a title, beside both tails.

That both long tails contribute to the gap between head and tail, and that the data's dominates, are the
paper's [confirmed: abstract]; what is compared here, and how, is ours (specification §7) [derived by us].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from reclib.analysis.eisam.hit_regression import hit_examples
from reclib.analysis.eisam.sharpness import ROWS_AT_ONCE, sequence_losses
from reclib.analysis.msl import runs as msl_runs
from reclib.analysis.msl import steps
from reclib.analysis.msl.traditional import RefitConfig, TraditionalBench, TuneTraditionalConfig
from reclib.analysis.msl.traditional_tables import configs
from reclib.analysis.workbench import Workbench
from reclib.artifacts import Artifact
from reclib.config import DataConfig, Profile
from reclib.data.dataset import Dataset, Windows
from reclib.decoding.lists import listed_items
from reclib.evaluation.full_ranking import rank_windows, recommend_lists
from reclib.evaluation.metrics import METHOD, WINDOW, catalogue_nll, per_window
from reclib.models.sequence_model import SequenceModel
from reclib.schema import METRIC, RANK, TARGET_IDX, VALUE, K

UNTUNED, TUNED, ID_ONLY = "untuned", "msl", "sasrec"
LANGUAGE_MODELS = (UNTUNED, "lml", TUNED)  # as notebooks 10 to 14 have tuned and ranked them
DEPTH = 10  # of every list
GRADED = "log_p"  # log of the target's probability among all items, nats: what few hits cannot show it may
NLL = "catalogue_nll"


def language_model_runs(
    profile: Profile, artifact: Callable[..., Artifact], bench: Workbench, *, seed: int
) -> dict[str, list[Artifact]]:
    """Held-out windows ranked by each of `LANGUAGE_MODELS`, one artifact a training seed.

    The steps are those of notebooks 10 to 14, and come from the cache where these have run.
    """
    rank = partial(
        artifact, "held_out", steps.held_out_step, steps.held_out_config(profile), seed=seed, bench=bench
    )
    runs = {UNTUNED: [rank(upstream=bench.upstream(), adapter=None)]}
    for name in LANGUAGE_MODELS[1:]:
        cells = [msl_runs.Cell(profile=profile, method=name, seed=each) for each in profile.seeds]
        adapters = [msl_runs.tuned(cell, artifact, bench=bench) for cell in cells]
        runs[name] = [rank(upstream=bench.upstream(each), adapter=each) for each in adapters]
    return runs


@dataclass(frozen=True, kw_only=True)
class IdOnlyConfig:
    """A sequence recommender of IDs on the training windows that language models learn from.

    epochs and setting are in `train` and `backbone`; n_windows: held-out windows, the language models' own
    """

    data: DataConfig
    model: RefitConfig
    n_windows: int
    part: str = "test"


def id_only_tuning(profile: Profile) -> TuneTraditionalConfig:
    """The tuning of SASRec on the profile's data, as where it is compared with language models."""
    return configs(profile, profile.data.source)[ID_ONLY]


def id_only_config(profile: Profile, chosen: Mapping[str, Any]) -> IdOnlyConfig:
    """The setting and number of epochs that tuning chose on validation windows.

    chosen: result "chosen" of `traditional.tune_step`.
    """
    tuned = id_only_tuning(profile)
    train = replace(
        tuned.train,
        learning_rate=chosen["learning_rate"],
        weight_decay=chosen["weight_decay"],
        epochs=int(chosen["epochs"]),
    )
    model = RefitConfig(
        data=tuned.data, backbone=replace(tuned.backbone, dropout=chosen["dropout"]), train=train
    )
    return IdOnlyConfig(data=profile.data, model=model, n_windows=profile.evaluation.n_windows)


def id_only_step(config: IdOnlyConfig, *, seed: int, workdir: Path, bench: Workbench) -> dict[str, Any]:
    """Train it on the training windows alone, and rank what the language models were ranked on.

    Unlike notebook 04's, which also learns from the validation windows: the counts n of the training windows
    are then what all models have seen. Returns tables as `steps.held_out_step`.
    """
    windows = bench.held_out(config.n_windows, part=config.part)
    traditional = TraditionalBench(bench.dataset, device=bench.device)
    fitted = traditional.fit(config.model, bench.dataset, is_validated=False, seed=seed, workdir=workdir)
    depth = min(DEPTH, bench.dataset.n_items)
    rank = rank_windows(fitted.model, windows, cutoff=depth, device=bench.device)
    table = {WINDOW: np.arange(len(windows)), TARGET_IDX: windows.target_idx, RANK: rank}
    lists = recommend_lists(fitted.model, windows, depth, device=bench.device)
    place = {
        WINDOW: np.repeat(np.arange(len(windows)), depth),
        RANK: np.tile(np.arange(1, depth + 1), len(lists)),
    }
    return {
        "windows": pd.DataFrame({**table, NLL: target_nll(fitted.model, windows)}),
        "lists": pd.DataFrame({**place, "item_idx": lists.ravel()}),
    }


@torch.no_grad()
def target_nll(model: SequenceModel, windows: Windows) -> np.ndarray:
    """−log P(target) among all items, (W,) float64, nats."""
    losses = sequence_losses(model, windows)
    rows = np.arange(len(windows))
    chunks = np.array_split(rows, range(ROWS_AT_ONCE, len(rows), ROWS_AT_ONCE))
    return torch.cat([losses(chunk).double() for chunk in chunks]).cpu().numpy()


@dataclass(frozen=True, eq=False)
class PriorStudy:
    """What is compared: several recommenders' runs on the same held-out windows, and both popularities.

    items: `prior_popularity.item_table`; runs: method → one artifact a seed, tables "windows" and "lists";
    cutoffs: K of HR and NDCG; bootstrap: resamples of an interval
    """

    dataset: Dataset
    windows: Windows
    items: pd.DataFrame
    runs: Mapping[str, Sequence[Artifact]]
    cutoffs: tuple[int, ...]
    bootstrap: int

    def hits(self) -> dict[str, int]:
        """How many held-out windows each method has its target in the list for, of the first seed."""
        return {name: int(runs[0]["windows"][RANK].notna().sum()) for name, runs in self.runs.items()}

    @property
    def prior(self) -> np.ndarray:
        """Prior popularity, (N+1,)."""
        return np.append(0.0, self.items["prior_popularity"].to_numpy())

    @property
    def counts(self) -> np.ndarray:
        """Training interactions, (N+1,)."""
        return np.append(0, self.items["count"].to_numpy())

    @cached_property
    def values(self) -> pd.DataFrame:
        """HR, NDCG and the graded outcome of every window, means over seeds.

        Columns method, window, metric, k, value.
        """
        parts = [self._values_of(run).assign(method=name) for name, runs in self.runs.items() for run in runs]
        keys = [METHOD, WINDOW, METRIC, K]
        table = pd.concat(parts).groupby(keys, sort=False, dropna=False)[VALUE].mean().reset_index()
        return table[[METHOD, WINDOW, METRIC, K, VALUE]]

    def _values_of(self, run: Artifact) -> pd.DataFrame:
        ranks = per_window(run["windows"][RANK], self.cutoffs, n_items=self.dataset.n_items, depth=self.depth)
        graded = catalogue_nll(run["windows"][NLL].to_numpy())
        graded[METRIC], graded[VALUE] = GRADED, -graded[VALUE]
        return pd.concat([ranks, graded], ignore_index=True)

    @property
    def depth(self) -> int:
        """Length of every list."""
        return min(DEPTH, self.dataset.n_items)

    @cached_property
    def examples(self) -> pd.DataFrame:
        """Rows of the regressions: one a method, seed and window, with the graded outcome and the controls.

        See `hit_regression.hit_examples`; a user's rows of several seeds are one cluster.
        """
        words = np.array([len(text.split()) for text in self.items["text"]])
        n_seeds = max(len(runs) for runs in self.runs.values())
        parts = []
        for seed in range(n_seeds):
            runs = {name: of[min(seed, len(of) - 1)] for name, of in self.runs.items()}
            ranks = {name: run["windows"][RANK] for name, run in runs.items()}
            part = hit_examples(self.windows, ranks, self.items, k=self.depth, title_tokens=words)
            graded = [-run["windows"][NLL].to_numpy(dtype=float) for run in runs.values()]
            part[GRADED] = np.concatenate(graded)
            part[TARGET_IDX] = np.tile(self.windows.target_idx, len(runs))
            parts.append(part.rename(columns={"title_tokens": "title_words"}))
        return pd.concat(parts, ignore_index=True)

    @property
    def controls(self) -> list[str]:
        """Controls of the regressions that differ between windows: history length, words of the title."""
        names = ["history_length", "title_words"]
        return [name for name in names if self.examples[name].nunique() > 1]

    def lists(self) -> dict[str, np.ndarray]:
        """Each method's lists, (seeds · W, K) item_idx, 0 where a list has no more items."""
        found = {}
        for name, runs in self.runs.items():
            found[name] = np.concatenate(
                [listed_items(run["lists"], n_lists=len(self.windows), length=self.depth) for run in runs]
            )
        return found


def study_of(
    profile: Profile, items: pd.DataFrame, runs: Mapping[str, Sequence[Artifact]], bench: Workbench
) -> PriorStudy:
    """The study of a profile's held-out windows. items: `prior_popularity.item_table`."""
    evaluation = profile.evaluation
    windows = bench.held_out(evaluation.n_windows)
    return PriorStudy(bench.dataset, windows, items, runs, evaluation.cutoffs, evaluation.bootstrap)
