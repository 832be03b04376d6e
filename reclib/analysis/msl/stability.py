"""How much the methods of the MSL paper differ from seed to seed ([MSL] Table 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import f as f_distribution

from reclib.analysis.long_tail import PRINTED_DATASETS
from reclib.analysis.msl.runs import METHODS, PREFERENCE, REFERENCE, Cell
from reclib.analysis.msl.tables import held_out_metrics, held_out_users
from reclib.analysis.workbench import Workbench
from reclib.artifacts import Artifact
from reclib.config import Profile, StabilityConfig, override
from reclib.evaluation.statistics import paired_bootstrap
from reclib.seeding import numpy_generator

OURS = "msl_ats"
SAME_REFERENCE = "sdpo_same_reference"  # S-DPO's own draws alone: one adapter of LML for all seeds
STABILITY_METHODS = (*METHODS, SAME_REFERENCE)
PRINTED = {PREFERENCE: "S-DPO", OURS: "MSL"}  # names in [MSL] Table 3
PRINTED_SOURCES = ("msl_book", "msl_toy")  # data sets of [MSL] Table 3
_KEYS = ["metric", "k"]
Ranked = Mapping[tuple[str, int], Artifact]


def stability_profile(profile: Profile, settings: StabilityConfig | None = None) -> Profile:
    """The profile with the data set, model and sizes of its runs from several seeds; or of other settings."""
    settings = settings or profile.msl_tables.stability
    return override(
        profile,
        **{
            "data.source": settings.source,
            "data.synthetic.n_users": settings.n_users,
            "data.synthetic.n_items": settings.n_items,
            "lm.name": settings.lm,
            "tune.n_windows": settings.n_windows,
            "tune.epochs": settings.epochs,
            "tune.learning_rate": settings.learning_rate,
            "evaluation.n_windows": settings.evaluation_windows,
            "decoding.users_per_batch": settings.users_per_batch,
            "hybrid.grounding.users_per_batch": settings.users_per_batch,
            "msl_tables.preference_windows": settings.n_windows,
        },
    )


def cells(profile: Profile) -> dict[tuple[str, int], Cell]:
    """The grid of methods and seeds."""
    changed = stability_profile(profile)
    seeds = profile.msl_tables.stability.seeds
    grid = {(name, s): Cell(profile=changed, method=name, seed=s) for name in METHODS for s in seeds}
    same = {(SAME_REFERENCE, s): replace(grid[PREFERENCE, s], reference_seed=seeds[0]) for s in seeds}
    return {**grid, **same}


def seed_table(ranked: Ranked, bench: Workbench, profile: Profile) -> pd.DataFrame:
    """Mean over the windows by run: method, seed, metric, k, value."""
    parts = []
    for (method, seed), artifact in ranked.items():
        windows = held_out_metrics(artifact, bench, profile)
        means = windows.groupby(_KEYS, sort=False, dropna=False)["value"].mean().reset_index()
        parts.append(means.assign(method=method, seed=seed))
    return pd.concat(parts, ignore_index=True)[["method", "seed", *_KEYS, "value"]]


def spread_table(seeds: pd.DataFrame) -> pd.DataFrame:
    """Mean and deviation over the seeds, and the deviation over that of MSL with ATS.

    Returns method, metric, k, seeds, mean, deviation, relative (deviation over mean, the per cent of [MSL]
    Table 3), ratio, low, high: the 95 % interval of a ratio of deviations of Gaussian runs, by F. A ratio to
    0, as of runs without a hit, is missing, and so is its interval.
    """
    by_run = seeds.groupby(["method", *_KEYS], sort=False, dropna=False)["value"]
    table = by_run.agg(seeds="size", mean="mean", deviation="std").reset_index()
    own = table[table["method"] == OURS].set_index(_KEYS)
    reference = own.loc[pd.MultiIndex.from_frame(table[_KEYS]), ["deviation", "seeds"]].to_numpy()
    ratio = table["deviation"] / reference[:, 0]
    freedom = table["seeds"] - 1, reference[:, 1] - 1
    high, low = (np.sqrt(f_distribution.ppf(tail, *freedom)) for tail in (0.025, 0.975))
    ratio = ratio.where(reference[:, 0] > 0)
    relative = (table["deviation"] / table["mean"]).where(table["mean"] > 0)
    return table.assign(relative=relative, ratio=ratio, low=ratio / low, high=ratio / high)


def step_table(ranked: Ranked, bench: Workbench, profile: Profile, *, k: int = 10) -> pd.DataFrame:
    """NDCG@K of S-DPO minus LML, and of MSL with ATS minus S-DPO: method, reference, difference, low, high.

    Paired by window and seed; intervals are over users and seeds.
    """
    values = {key: window_ndcg(artifact, bench, profile, k) for key, artifact in ranked.items()}
    users = held_out_users(next(iter(ranked.values())), bench)
    rows = []
    for method, reference in ((PREFERENCE, REFERENCE), (OURS, PREFERENCE)):
        seeds = [seed for name, seed in values if name == method]
        ours, theirs = (np.stack([values[name, seed] for seed in seeds]) for name in (method, reference))
        found = paired_bootstrap(
            ours,
            theirs,
            generator=numpy_generator(0, f"stability {method} {reference}"),
            cluster=users,
            n_resamples=profile.evaluation.bootstrap,
        )
        rows.append((method, reference, found.mean, found.low, found.high))
    return pd.DataFrame(rows, columns=["method", "reference", "difference", "low", "high"])


def window_ndcg(artifact: Artifact, bench: Workbench, profile: Profile, k: int) -> np.ndarray:
    """NDCG@K of each held-out window of a run, (W,)."""
    table = held_out_metrics(artifact, bench, profile)
    rows = table[(table["metric"] == "NDCG") & (table["k"] == k)]
    return rows.sort_values("window")["value"].to_numpy()


def shown_seeds(seeds: pd.DataFrame, *, k: int = 10) -> pd.DataFrame:
    """Rows of `seed_table` that the figure shows: NDCG@K."""
    return seeds[(seeds["metric"] == "NDCG") & (seeds["k"] == k)].reset_index(drop=True)


def printed_rows(spread: pd.DataFrame, dataset: str, seeds: tuple[int, ...]) -> list[dict[str, Any]]:
    """Rows of [MSL] Table 3 for the registry; none where the data set is not one of the table's."""
    if dataset not in PRINTED_SOURCES:
        return []
    rows = spread[(spread["metric"] == "NDCG") & (spread["k"] == 10) & spread["method"].isin(list(PRINTED))]
    about = {"paper": "MSL", "table": "3", "dataset": PRINTED_DATASETS[dataset], "protocol": "exact_top_k"}
    about["seeds"] = " ".join(map(str, seeds))
    return [
        {**about, "method": PRINTED[row["method"]], "metric": f"NDCG@10 {printed}", "ours": row[ours]}
        for row in rows.to_dict("records")
        for printed, ours in (("mean", "mean"), ("std", "deviation"))
    ]
