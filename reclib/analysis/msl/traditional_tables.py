"""The cells of traditional recommenders, and their tables: accuracy, seeds, tuning, rows for the registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from reclib import artifacts
from reclib.analysis.long_tail import PRINTED_DATASETS
from reclib.analysis.msl.traditional import CUTOFF, TraditionalBench, TuneTraditionalConfig
from reclib.analysis.workbench import DATA_SEED
from reclib.artifacts import Artifact
from reclib.config import Profile
from reclib.data.load import load
from reclib.evaluation.baselines import POPULARITY, baseline_rows
from reclib.evaluation.metrics import ALL, METHOD, head_or_tail, per_window, summarise
from reclib.schema import GROUP, METRIC, RANK, VALUE, K
from reclib.seeding import numpy_generator

# A cloze that hides targets alone has one task a window and has learnt it by heart within a few epochs; it
# was made to hide any item ([BERT4Rec] §3.6), and windows that overlap only hide others of theirs.
CLOZES = ("bert4rec",)

PRINTED = {"sasrec": "SASRec", "bert4rec": "BERT4Rec"}  # names in [MSL] Table 5


@dataclass(frozen=True)
class Tested:
    """One data set with its tuned backbones: what tuning tried, and one run a seed."""

    bench: TraditionalBench
    tuned: Mapping[str, Artifact]
    runs: Mapping[str, list[Artifact]]


def configs(profile: Profile, source: str) -> dict[str, TuneTraditionalConfig]:
    """The configuration of each backbone on a data set."""
    settings = profile.traditional
    return {
        name: TuneTraditionalConfig(
            data=replace(profile.data, source=source),
            backbone=replace(settings.backbone, name=name),
            train=replace(settings.train, positions="every") if name in CLOZES else settings.train,
            learning_rates=settings.learning_rates,
            dropouts=settings.dropouts,
            weight_decays=settings.weight_decays,
        )
        for name in settings.backbones
    }


def run_all(profile: Profile, artifact: Callable[..., Artifact] = artifacts.get_or_compute) -> list[Tested]:
    """Every data set and backbone of a profile, tuned, and trained from each seed."""
    tested = []
    for source in profile.traditional.sources:
        data = replace(profile.data, source=source)
        bench = TraditionalBench(load(data, seed=DATA_SEED), artifact)
        of = configs(profile, source)
        runs = {name: [bench.tested(each, seed=seed) for seed in profile.seeds] for name, each in of.items()}
        tested.append(Tested(bench, {name: bench.tuned(each) for name, each in of.items()}, runs))
    return tested


def comparison_table(tested: list[Tested], profile: Profile) -> pd.DataFrame:
    """Means with intervals on all, head and tail targets, popularity beside.

    Intervals are over users, and over seeds where there are several; popularity counts training and
    validation windows, as the others are trained on both.
    Returns dataset, method, metric, k, group, value, low, high, n.
    """
    parts = []
    for each in tested:
        dataset, target = each.bench.whole, each.bench.whole.test.target_idx
        cutoffs = profile.evaluation.cutoffs
        tables = [
            per_window(run["windows"][RANK], cutoffs, n_items=dataset.n_items).assign(method=name, seed=seed)
            for name, runs in each.runs.items()
            for seed, run in enumerate(runs)
        ]
        popular = baseline_rows(dataset.counts, target, cutoffs, seen="kept")
        tables.append(popular[(popular[METHOD] == POPULARITY) & popular[K].notna()])
        table = summarise(
            pd.concat(tables, ignore_index=True),
            head_or_tail(target, dataset.counts),
            generator=numpy_generator(0, "traditional"),
            cluster=dataset.test.user_id,
            n_resamples=profile.evaluation.bootstrap,
        )
        table.insert(0, "dataset", dataset.name)
        parts.append(table)
    return pd.concat(parts, ignore_index=True)


def seeds_table(tested: list[Tested], profile: Profile) -> pd.DataFrame:
    """What the seeds differ by, and what it is worth to leave seen items out of the ranking.

    Returns dataset, method, metric, k, mean, deviation (over seeds, NaN for one), mean_without_seen, seeds.
    """
    parts = []
    for each in tested:
        for method, runs in each.runs.items():
            kept, removed = (
                pd.concat([_means(run["windows"][column], each, profile) for run in runs], axis=1)
                for column in (RANK, "rank_without_seen")
            )
            table = pd.DataFrame(
                {
                    "mean": kept.mean(axis=1),
                    "deviation": kept.std(axis=1),
                    "mean_without_seen": removed.mean(axis=1),
                    "seeds": len(runs),
                }
            ).reset_index()
            parts.append(table.assign(dataset=each.bench.dataset.name, method=method))
    columns = ["dataset", METHOD, METRIC, K, "mean", "deviation", "mean_without_seen", "seeds"]
    return pd.concat(parts, ignore_index=True)[columns]


def _means(ranks: pd.Series, each: Tested, profile: Profile) -> pd.Series:
    table = per_window(ranks, profile.evaluation.cutoffs, n_items=each.bench.dataset.n_items)
    return table.groupby([METRIC, K], sort=False)[VALUE].mean()


def tuning_table(tested: list[Tested]) -> pd.DataFrame:
    """What tuning tried: dataset, method, learning_rate, dropout, weight_decay, ndcg (validation), epochs.

    Also seconds, and is_chosen.
    """
    parts = []
    for each in tested:
        for method, tuned in each.tuned.items():
            table = tuned["tried"]
            names = {"dataset": each.bench.dataset.name, METHOD: method}
            chosen = np.arange(len(table)) == int(table["ndcg"].argmax())
            parts.append(table.assign(**names, is_chosen=chosen)[[*names, *table.columns, "is_chosen"]])
    return pd.concat(parts, ignore_index=True)


def panels(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of a comparison for `figures.comparison_grid`: NDCG at the cut-off on all and on tail targets."""
    rows = table[(table[METRIC] == "NDCG") & (table[K] == CUTOFF) & (table[GROUP] != "head")]
    return rows.assign(backbone="sasrec").reset_index(drop=True)


def printed_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of [MSL] Table 5 for the registry; none where the data set is not the paper's."""
    known = table["dataset"].isin(list(PRINTED_DATASETS)) & table[METHOD].isin(list(PRINTED))
    return [
        {
            "paper": "MSL",
            "table": "5",
            "dataset": PRINTED_DATASETS[row["dataset"]],
            "method": PRINTED[row[METHOD]],
            "metric": f"{row[METRIC]}@{row[K]}",
            "protocol": "full_ranking",
            "ours": row[VALUE],
            "ours_low": row["low"],
            "ours_high": row["high"],
        }
        for row in table[known & (table[GROUP] == ALL)].to_dict("records")
    ]
