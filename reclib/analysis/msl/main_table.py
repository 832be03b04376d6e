"""The main table of the MSL paper: all methods on the same test windows ([MSL] Table 5).

A row is a method with the ranks of its targets, one series a seed, whatever made them: `rows` puts together
those that exist here, and a table takes any list of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from reclib import artifacts
from reclib.analysis.long_tail import PRINTED_DATASETS
from reclib.analysis.msl import reasoning, teaching, traditional_tables
from reclib.analysis.msl.method_baselines import MethodBench
from reclib.analysis.msl.runs import PREFERENCE, REFERENCE, Cell, GetOrCompute, ranked, tuned
from reclib.analysis.msl.traditional import TraditionalBench
from reclib.analysis.workbench import Workbench
from reclib.artifacts import Artifact
from reclib.config import Profile
from reclib.data.popularity import train_counts
from reclib.evaluation.baselines import POPULARITY, baseline_rows
from reclib.evaluation.metrics import ALL, head_or_tail, per_window, summarise
from reclib.evaluation.statistics import paired_bootstrap
from reclib.schema import RANK
from reclib.seeding import numpy_generator

STUDENT = "sasrec"  # of the methods on it ([MSL] §5.1.2)
ON_STUDENT = {"dros": "SASRec+DROS", "llm_cf": "LLM-CF", "dllm2rec": "DLLM2Rec"}  # names in [MSL] Table 5
_KEYS = ["metric", "k"]


@dataclass(frozen=True)
class Row:
    """A method of the table.

    ranks: of the held-out targets, one series a seed, `<NA>` below the list
    reference: the method that it is compared with, pair by pair
    printed: its name and that of its reference in [MSL] Table 5, where this table is what records it; the
        latter is not read where there is no reference
    """

    method: str
    ranks: tuple[pd.Series, ...]
    protocol: str
    reference: str | None = None
    printed: tuple[str, str] | None = None


def rows(profile: Profile, bench: Workbench, artifact: GetOrCompute = artifacts.get_or_compute) -> list[Row]:
    """The rows that exist here: sequence recommenders, those that a language model teaches, and BIGRec.

    BIGRec is the fine-tuned language model itself, decoded among the items.
    """
    return [*sequence_rows(profile, bench, artifact), *language_rows(profile, bench, artifact)]


def language_rows(profile: Profile, bench: Workbench, artifact: GetOrCompute) -> list[Row]:
    """BIGRec under each loss that a profile compares; notebook 14 records LML and MSL with ATS."""
    printed = {PREFERENCE: ("BIGRec+S-DPO", "BIGRec+LML")}
    found = []
    for method in profile.msl_tables.methods:
        cells = [Cell(profile=profile, method=method, seed=seed) for seed in profile.seeds]
        ranks = tuple(ranked(cell, artifact, bench=bench)["windows"][RANK] for cell in cells)
        reference = None if method == REFERENCE else REFERENCE
        found.append(Row(method, ranks, profile.decoding.protocol, reference, printed.get(method)))
    return found


def sequence_rows(profile: Profile, bench: Workbench, artifact: GetOrCompute) -> list[Row]:
    """SASRec and BERT4Rec, tuned; on SASRec DROS, DLLM2Rec taught by the adapter of LML, and LLM-CF."""
    configs = traditional_tables.configs(profile, profile.data.source)
    backbones = TraditionalBench(bench.dataset, artifact)
    seeds = profile.seeds
    runs = {name: [backbones.tested(config, seed=s) for s in seeds] for name, config in configs.items()}
    taught = MethodBench(
        backbones,
        teacher=teaching.load_teacher(taught_by(profile, bench, artifact)),
        examples=reasoning.load_reasoned(reasoned(profile, bench, artifact)),
    )
    budget = profile.msl_tables.method_budget
    printed = {name: (as_printed, "SASRec") for name, as_printed in ON_STUDENT.items()}
    for name in ON_STUDENT:
        runs[name] = [taught.tested(configs[STUDENT], name, budget=budget, seed=seed) for seed in seeds]
    kept = bench.held_out_rows(profile.evaluation.n_windows)
    return [
        Row(
            name,
            tuple(each["windows"][RANK].iloc[kept].reset_index(drop=True) for each in of),
            "full_ranking",
            STUDENT if name in printed else None,
            printed.get(name),
        )
        for name, of in runs.items()
    ]


def taught_by(profile: Profile, bench: Workbench, artifact: GetOrCompute) -> Artifact:
    """The teacher of DLLM2Rec: the language model tuned with LML ([MSL] §5.1.2 has BIGRec)."""
    adapter = tuned(Cell(profile=profile, method=REFERENCE, seed=profile.seeds[0]), artifact, bench=bench)
    config = teaching.teacher_config(profile, n_windows=profile.msl_tables.taught_windows)
    return artifact(
        "teach",
        teaching.teacher_step,
        config,
        upstream=bench.upstream(adapter),
        seed=profile.seeds[0],
        adapter=adapter,
        bench=bench,
    )


def reasoned(profile: Profile, bench: Workbench, artifact: GetOrCompute) -> Artifact:
    """What the language model reasoned about some training windows, for LLM-CF."""
    return artifact(
        "reason",
        reasoning.reason_step,
        reasoning.reasoned_config(profile),
        upstream=bench.upstream(),
        seed=profile.seeds[0],
        bench=bench,
    )


def table(found: Sequence[Row], bench: Workbench, profile: Profile) -> pd.DataFrame:
    """Means with intervals on all, head and tail targets, popularity beside.

    Intervals are over users, and over seeds where there are several.
    Returns method, metric, k, group, value, low, high, n.
    """
    windows = bench.held_out(profile.evaluation.n_windows)
    counts = train_counts(bench.dataset)
    ours = [_by_window(row, bench, profile).assign(method=row.method) for row in found]
    popular = baseline_rows(counts, windows.target_idx, profile.evaluation.cutoffs, seen="kept")
    popular = popular[(popular["method"] == POPULARITY) & popular["k"].notna()]
    return summarise(
        pd.concat([*ours, popular], ignore_index=True),
        head_or_tail(windows.target_idx, counts),
        generator=numpy_generator(0, "main table"),
        cluster=windows.user_id,
        n_resamples=profile.evaluation.bootstrap,
    )


def differences(found: Sequence[Row], bench: Workbench, profile: Profile) -> pd.DataFrame:
    """Each method minus its reference on the same windows and seeds, paired.

    Intervals are over users, and over seeds where there are several. Where one of the two has one run for all
    seeds, as a traditional recommender may, that run is compared with each.
    Returns method, reference, metric, k, difference, low, high.
    """
    users = bench.held_out(profile.evaluation.n_windows).user_id
    values = {row.method: _by_window(row, bench, profile) for row in found}
    parts = []
    for row in found:
        if row.reference is None:
            continue
        for key, ours in values[row.method].groupby(_KEYS, sort=False):
            theirs = values[row.reference].groupby(_KEYS, sort=False).get_group(key)
            change = paired_bootstrap(
                *np.broadcast_arrays(*(_runs(side) for side in (ours, theirs))),
                generator=numpy_generator(0, f"main table {row.method} {key}"),
                cluster=users,
                n_resamples=profile.evaluation.bootstrap,
            )
            parts.append((row.method, row.reference, *key, change.mean, change.low, change.high))
    columns = ["method", "reference", *_KEYS, "difference", "low", "high"]
    return pd.DataFrame(parts, columns=columns)


def _by_window(row: Row, bench: Workbench, profile: Profile) -> pd.DataFrame:
    """HR and NDCG of each window and seed: window, metric, k, value, seed."""
    cutoffs, n_items = profile.evaluation.cutoffs, bench.dataset.n_items
    runs = [
        per_window(ranks, cutoffs, n_items=n_items).assign(seed=seed) for seed, ranks in enumerate(row.ranks)
    ]
    return pd.concat(runs, ignore_index=True)


def _runs(values: pd.DataFrame) -> np.ndarray:
    """(R, W)."""
    return values.pivot(index="seed", columns="window", values="value").to_numpy()


def panels(comparison: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """Rows for `figures.comparison_grid`: NDCG at the largest cut-off on all, head and tail targets."""
    shown = comparison[(comparison["metric"] == "NDCG") & (comparison["k"] == comparison["k"].max())]
    return shown.assign(dataset=dataset, backbone=STUDENT).reset_index(drop=True)


def printed_rows(
    found: Sequence[Row], comparison: pd.DataFrame, changes: pd.DataFrame, dataset: str
) -> list[dict[str, Any]]:
    """Rows of [MSL] Table 5 for the registry; none where the data set is not the paper's."""
    if dataset not in PRINTED_DATASETS:
        return []
    by_key = {(each["method"], each["metric"], each["k"]): each for each in changes.to_dict("records")}
    recorded = []
    for row in found:
        if row.printed is None:
            continue
        name, reference = row.printed
        own = comparison[(comparison["method"] == row.method) & (comparison["group"] == ALL)]
        for each in own.to_dict("records"):
            about = {
                "paper": "MSL",
                "table": "5",
                "dataset": PRINTED_DATASETS[dataset],
                "method": name,
                "metric": f"{each['metric']}@{each['k']}",
                "protocol": row.protocol,
                "ours": each["value"],
                "ours_low": each["low"],
                "ours_high": each["high"],
            }
            if row.reference is not None:
                change = by_key[row.method, each["metric"], each["k"]]
                about |= {
                    "reference": reference,
                    "difference": change["difference"],
                    "difference_low": change["low"],
                    "difference_high": change["high"],
                }
            recorded.append(about)
    return recorded
