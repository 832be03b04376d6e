"""Where the best temperature of MSL lies on several data sets, over several seeds ([MSL] Fig. 6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from reclib.analysis.findings import Finding, finding, row_finding
from reclib.analysis.msl.runs import Cell
from reclib.analysis.msl.stability import stability_profile, window_ndcg
from reclib.analysis.msl.tables import held_out_users
from reclib.analysis.workbench import Workbench
from reclib.artifacts import Artifact
from reclib.config import ObjectiveConfig, Profile
from reclib.evaluation.statistics import estimate, resampled_means
from reclib.schema import InputError
from reclib.seeding import numpy_generator

Ranked = Mapping[tuple[float, int], Artifact]
Values = Mapping[str, pd.DataFrame]  # of `ndcg`, by data set


def catalogues(profile: Profile) -> dict[str, Profile]:
    """The profile with each data set that the best temperature is looked for on, by a name for tables.

    Raises InputError where both are one.
    """
    found = {}
    for settings in (profile.msl_tables.temperature, profile.msl_tables.temperature_elsewhere):
        changed = replace(stability_profile(profile, settings), seeds=settings.seeds)
        is_made = settings.source == "synthetic"
        found[f"synthetic, {settings.n_items} items" if is_made else settings.source] = changed
    if len(found) == 1:
        raise InputError(
            f"msl_tables.temperature and temperature_elsewhere are both {next(iter(found))}: "
            "name two data sets"
        )
    return found


def cells(profile: Profile) -> dict[tuple[float, int], Cell]:
    """Runs of MSL by temperature and seed on one data set, of a profile of `catalogues`."""
    return {
        (tau, seed): Cell(profile=profile, method=ObjectiveConfig(name="msl", temperature=tau), seed=seed)
        for tau in profile.msl_tables.temperatures
        for seed in profile.seeds
    }


def ndcg(ranked: Ranked, bench: Workbench, profile: Profile, *, k: int = 10) -> pd.DataFrame:
    """NDCG@K by temperature, seed and test window: temperature, seed, window, user, value."""
    parts = []
    for (tau, seed), artifact in ranked.items():
        values, users = window_ndcg(artifact, bench, profile, k), held_out_users(artifact, bench)
        about = {"temperature": tau, "seed": seed, "window": np.arange(len(values)), "user": users}
        parts.append(pd.DataFrame({**about, "value": values}))
    return pd.concat(parts, ignore_index=True)


def curve_table(values: Values, *, n_resamples: int, k: int = 10) -> pd.DataFrame:
    """Rows of `figures.temperature_by_dataset`; intervals are over users and seeds."""
    rows = []
    for dataset, of_dataset in values.items():
        for tau, part in of_dataset.groupby("temperature"):
            by_window = part.pivot(index=["window", "user"], columns="seed", values="value")
            found = estimate(
                by_window.to_numpy().T,
                generator=numpy_generator(0, f"temperature curve {tau}"),
                cluster=by_window.index.get_level_values("user").to_numpy(),
                n_resamples=n_resamples,
            )
            rows.append((dataset, tau, found.mean, found.low, found.high))
    table = pd.DataFrame(rows, columns=["dataset", "temperature", "value", "low", "high"])
    missing = {"temperature_low": np.nan, "temperature_high": np.nan}
    return table.assign(method="msl", metric="NDCG", k=k, **missing).astype({"k": "Int64"})


def best_temperatures(values: pd.DataFrame, *, n_resamples: int) -> np.ndarray:
    """The temperature with the highest mean in each resample of users and seeds, (n_resamples,).

    One draw of users and seeds serves all temperatures, so that the choice is made again in each.
    """
    table = values.pivot(index=["window", "user"], columns=["seed", "temperature"], values="value")
    table = table.sort_index(axis=1)
    seeds, temperatures = (table.columns.unique(level) for level in ("seed", "temperature"))
    cube = table.to_numpy().reshape(len(table), len(seeds), len(temperatures))  # (W, S, T)
    generator = numpy_generator(0, "best temperature")
    users = table.index.get_level_values("user").to_numpy()
    by_seed = resampled_means(cube, generator=generator, cluster=users, n_resamples=n_resamples)
    drawn = generator.integers(len(seeds), size=(n_resamples, len(seeds)))
    means = np.take_along_axis(by_seed, drawn[:, :, None], axis=1).mean(axis=1)
    return temperatures.to_numpy()[means.argmax(axis=1)]


def best_table(values: Values, *, n_resamples: int) -> pd.DataFrame:
    """Where the best temperature lies: dataset, best, low, high (of its resamples), runs.

    The three are missing for a data set without a hit at any temperature.
    """
    return _best_table(values, _resampled(values, n_resamples))


def findings(values: Values, *, n_resamples: int) -> list[Finding]:
    """Statement 3a on each data set, and 3b: by which factor the one's best temperature is above the other's.

    3a holds if the interval of the best temperature lies inside the range, above 1; 3b if the interval of the
    factor lies above 1, where which of the two is on top is not part of it. Without a hit at any temperature
    a data set has no best one, and neither holds.
    """
    resampled = _resampled(values, n_resamples)
    best = _best_table(values, resampled)
    inside = [_inside_range(row, values) for _, row in best.iterrows()]
    if best["best"].isna().any():
        note = "no hit at any temperature on one of them"
        return [*inside, finding("msl", "3b", "; ".join(values), False, note)]
    return [*inside, _factor(best, resampled)]


def joined_findings(
    of_grid: Sequence[Mapping[str, Any]], of_catalogues: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """The findings of one run a temperature and those of `findings`, each statement once a data set.

    Where both have one, as on a profile whose own data set is among the catalogues, that of `findings` stays.
    """
    known = {(each["number"], each["dataset"]) for each in of_catalogues}
    return [*(each for each in of_grid if (each["number"], each["dataset"]) not in known), *of_catalogues]


def _resampled(values: Values, n_resamples: int) -> dict[str, np.ndarray]:
    return {name: best_temperatures(table, n_resamples=n_resamples) for name, table in values.items()}


def _best_table(values: Values, resampled: Mapping[str, np.ndarray]) -> pd.DataFrame:
    rows = []
    for dataset, of_dataset in values.items():
        best = of_dataset.groupby("temperature")["value"].mean().idxmax()
        low, high = np.quantile(resampled[dataset], (0.025, 0.975))
        if not of_dataset["value"].any():
            best = low = high = np.nan
        runs = of_dataset.groupby(["temperature", "seed"]).ngroups
        rows.append((dataset, best, low, high, runs))
    return pd.DataFrame(rows, columns=["dataset", "best", "low", "high", "runs"])


def _inside_range(row: pd.Series, values: Values) -> Finding:
    tried = sorted(values[row["dataset"]]["temperature"].unique())
    if pd.isna(row["best"]):
        return finding("msl", "3a", row["dataset"], False, "no hit at any temperature")
    holds = bool(max(1, tried[0]) < row["low"] and row["high"] < tried[-1])
    note = f"best of {tried[0]:g} to {tried[-1]:g} on NDCG@10, over users and seeds"
    return row_finding("msl", "3a", row["dataset"], holds, note, row, value="best")


def _factor(best: pd.DataFrame, resampled: Mapping[str, np.ndarray]) -> Finding:
    ordered = best.sort_values("best")
    low, high = ordered.iloc[0], ordered.iloc[-1]
    drawn = numpy_generator(0, "temperature factor").permutation(len(resampled[low["dataset"]]))
    factors = resampled[high["dataset"]] / resampled[low["dataset"]][drawn]
    bounds = np.quantile(factors, (0.025, 0.975))
    datasets = f"{high['dataset']}; {low['dataset']}"
    note = f"best temperature on the one over that on the other ({high['best']:g} and {low['best']:g}), "
    note += "over users and seeds"
    values = {"value": high["best"] / low["best"], "low": float(bounds[0]), "high": float(bounds[1])}
    return finding("msl", "3b", datasets, bool(bounds[0] > 1), note, **values)
