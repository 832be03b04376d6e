"""What the MSL study found about the checkable statements of its specification, as rows for the registry."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from reclib.analysis.findings import Finding, finding, row_finding
from reclib.analysis.msl.tables import component_difference, gradient_ratio
from reclib.evaluation.statistics import paired_bootstrap
from reclib.seeding import numpy_generator


def gradient_statement(table: pd.DataFrame, dataset: str) -> list[Finding]:
    """Statement 1a: early in LML training ‖∇𝓛¹‖ exceeds ‖∇𝓛²‖; holds if at all probes of a first quarter."""
    early = gradient_ratio(table).query("training == 'first quarter'").iloc[0]
    note = "median, lowest and highest ratio of the norms over the first quarter of training"
    return [row_finding("msl", "1a", dataset, bool(early["low"] > 1), note, early, value="ratio")]


def component_statement(table: pd.DataFrame, dataset: str, *, seed: int) -> list[Finding]:
    """Statement 1b: 𝓛² is lower when it alone is optimised; holds if the interval is above 0."""
    found = component_difference(table, seed=seed)
    note = "𝓛² under LML minus 𝓛² under MSL, nats per token, second half of training, steps resampled"
    values = {"value": found.mean, "low": found.low, "high": found.high}
    return [finding("msl", "1b", dataset, found.low > 0, note, **values)]


def weights_statement(
    weights: Mapping[str, pd.DataFrame], dataset: str, *, seed: int, threshold: float = 0.1
) -> list[Finding]:
    """Statement 2: MSL has more weights below `threshold` than LML, each model under its own loss.

    Holds if twice as many, which is ours. weights: `gradients.position_weights` of the models tuned with
    "lml" and "msl", of the same windows; the interval resamples windows.
    """
    choices = {method: table[~table["is_forced"]] for method, table in weights.items()}
    small = {method: (choices[method][method] < threshold).to_numpy(float) for method in ("lml", "msl")}
    found = paired_bootstrap(
        small["msl"],
        small["lml"],
        generator=numpy_generator(seed, "small weights"),
        cluster=choices["msl"]["sample"].to_numpy(),
    )
    note = (
        f"share of weights below {threshold:g} at positions with a choice, MSL minus LML, windows resampled"
    )
    holds = bool(small["msl"].mean() > 2 * small["lml"].mean())
    values = {"value": found.mean, "low": found.low, "high": found.high}
    return [finding("msl", "2", dataset, holds, f"{note}; holds if doubled", **values)]


def temperature_statements(table: pd.DataFrame, dataset: str) -> list[Finding]:
    """Statements 3a (best fixed τ on NDCG@10 inside the range, above 1) and 3c (ATS within its interval).

    3a holds if the best fixed τ is inside the range and its interval lies above the values of both ends.
    3c holds if the interval of ATS on NDCG@10 reaches the value of the best fixed τ. Without a hit at any
    fixed τ there is no best one, and neither holds.
    """
    rows = table[(table["metric"] == "NDCG") & (table["k"] == table["k"].max())]
    fixed, ats = rows[rows["method"] == "msl"], rows[rows["method"] == "msl_ats"].iloc[0]
    best = fixed.loc[fixed["value"].idxmax()]
    if best["value"] == 0:
        note = f"no hit at any of {len(fixed)} fixed temperatures"
        return [finding("msl", number, dataset, False, note) for number in ("3a", "3c")]
    ends = fixed[fixed["temperature"].isin([fixed["temperature"].min(), fixed["temperature"].max()])]
    inside = bool(best["temperature"] not in set(ends["temperature"]) and best["low"] > ends["value"].max())
    where = f"best of {len(fixed)} fixed temperatures; its interval reaches from {best['low']:.4f}, "
    where += f"the best end of the range has {ends['value'].max():.4f}"
    ats_values = {"value": ats["value"] - best["value"], "low": ats["low"] - best["value"]}
    note = f"NDCG@10 of ATS minus that of the best fixed τ ({best['temperature']:g}), interval of ATS"
    return [
        finding("msl", "3a", dataset, inside, where, value=float(best["temperature"])),
        finding("msl", "3c", dataset, bool(ats["high"] >= best["value"]), note, **ats_values),
    ]


def accuracy_statement(differences: pd.DataFrame, dataset: str) -> list[Finding]:
    """Statement 4a: MSL with ATS is above LML on NDCG@10; holds if the paired interval is above 0."""
    rows = differences[(differences["method"] == "msl_ats") & (differences["metric"] == "NDCG")]
    one = rows.sort_values("k").iloc[-1]
    note = f"paired difference of NDCG@{one['k']} on held-out windows"
    if pd.isna(one["low"]):
        note += ", the same in each: no interval"
    return [row_finding("msl", "4a", dataset, bool(one["low"] > 0), note, one)]
