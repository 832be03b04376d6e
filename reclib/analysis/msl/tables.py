"""Tables of the MSL study, from the artifacts of its steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from reclib.analysis.long_tail import PRINTED_DATASETS
from reclib.analysis.workbench import Workbench
from reclib.artifacts import Artifact
from reclib.config import ObjectiveConfig, Profile
from reclib.data.popularity import train_counts
from reclib.evaluation.baselines import baseline_rows
from reclib.evaluation.metrics import catalogue_nll, head_or_tail, per_window, summarise
from reclib.evaluation.statistics import Estimate, paired_bootstrap
from reclib.seeding import numpy_generator

# Our methods under the names that [MSL] Tables 5 and 6 print.
PRINTED = {"lml": "LML", "msl": "MSL (w/o tau)", "msl_ats": "MSL (w/ ATS)"}


def gradient_table(trace: pd.DataFrame) -> pd.DataFrame:
    """Gradient norms of the parts of LML at each probe: step, part ("lml_valid", "lml_item"), value."""
    prefix = "probe_gradient_"
    rows = trace[trace["name"].isin([f"{prefix}lml_valid", f"{prefix}lml_item"])]
    part = rows["name"].str.removeprefix(prefix)
    return pd.DataFrame({"step": rows["step"], "part": part, "value": rows["value"]}).reset_index(drop=True)


def gradient_ratio(table: pd.DataFrame) -> pd.DataFrame:
    """‖∇𝓛¹‖ / ‖∇𝓛²‖ at the start, and its median over the first quarter and over all of training."""
    norms = table.pivot(index="step", columns="part", values="value").sort_index()
    ratio = norms["lml_valid"] / norms["lml_item"]
    early = ratio[ratio.index <= ratio.index.max() / 4]
    return pd.DataFrame(
        {
            "training": ["before the first step", "first quarter", "all"],
            "ratio": [ratio.iloc[0], early.median(), ratio.median()],
            "low": [ratio.iloc[0], early.min(), ratio.min()],
            "high": [ratio.iloc[0], early.max(), ratio.max()],
        }
    )


def component_table(traces: Mapping[str, pd.DataFrame], *, span: int = 9) -> pd.DataFrame:
    """𝓛² of the training batches, by the loss that is optimised; smoothed over `span` logged steps.

    Returns step, method, value and smoothed, nats per target token. The runs of one seed see the same
    batches in the same order, so their difference is paired.
    """
    parts = []
    for method, trace in traces.items():
        rows = trace[trace["name"] == "lml_item"].sort_values("step")
        smoothed = rows["value"].rolling(span, center=True, min_periods=1).mean()
        parts.append(
            pd.DataFrame(
                {"step": rows["step"], "method": method, "value": rows["value"], "smoothed": smoothed}
            )
        )
    return pd.concat(parts, ignore_index=True)


def component_difference(table: pd.DataFrame, *, seed: int, n_resamples: int = 1000) -> Estimate:
    """Mean over the second half of training of 𝓛² under LML minus 𝓛² when it alone is optimised.

    Paired by step; the interval resamples steps. Positive: 𝓛² is lower when it alone is optimised.
    """
    values = table.pivot(index="step", columns="method", values="value").sort_index()
    late = values.iloc[len(values) // 2 :]
    return paired_bootstrap(
        late["lml"].to_numpy(),
        late["msl"].to_numpy(),
        generator=numpy_generator(seed, "component difference"),
        n_resamples=n_resamples,
    )


def sorted_weights(weights: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Weights of each model under the loss it was tuned with, largest first: method, rank, weight.

    Only positions with a choice are kept: at forced ones the weight under MSL is 0 by definition.
    """
    parts = []
    for method, table in weights.items():
        column = "lml" if method == "lml" else "msl"
        values = np.sort(table.loc[~table["is_forced"], column].to_numpy())[::-1]
        parts.append(
            pd.DataFrame({"method": method, "rank": np.arange(1, len(values) + 1), "weight": values})
        )
    return pd.concat(parts, ignore_index=True)


def small_weights(weights: pd.DataFrame, *, threshold: float = 0.1) -> pd.DataFrame:
    """Where in the title the small weights of one model stand, under LML and under MSL.

    Among the positions with a choice, those with a weight below `threshold`.
    Returns method ("lml", "msl"), position, small, positions, share (of the method's small weights).
    Source: [MSL] §4.2.1: on Office 61 % of them are at the first three tokens.
    """
    choices = weights[~weights["is_forced"]]
    parts = []
    for method in ("lml", "msl"):
        small = choices[method] < threshold
        table = small.groupby(choices["position"]).agg(["sum", "size"]).reset_index()
        table.columns = pd.Index(["position", "small", "positions"])
        parts.append(
            table.assign(
                method=method, small=table["small"].astype(int), share=table["small"] / max(1, small.sum())
            )
        )
    return pd.concat(parts, ignore_index=True)[["method", "position", "small", "positions", "share"]]


def held_out_metrics(artifact: Artifact, bench: Workbench, profile: Profile) -> pd.DataFrame:
    """HR, NDCG and catalogue_nll of every held-out window: window, metric, k, value."""
    windows = artifact["windows"]
    ranks = per_window(
        windows["rank"],
        profile.evaluation.cutoffs,
        n_items=bench.dataset.n_items,
        depth=profile.decoding.top_k,
    )
    return pd.concat([ranks, catalogue_nll(windows["catalogue_nll"].to_numpy())], ignore_index=True)


def held_out_users(artifact: Artifact, bench: Workbench) -> np.ndarray:
    """The user of each held-out window of a run, (W,): intervals keep a user's windows together."""
    return bench.held_out(len(artifact["windows"])).user_id


def comparison_table(
    ranked: Mapping[tuple[str, int], Artifact], bench: Workbench, profile: Profile
) -> pd.DataFrame:
    """Means with intervals by method, on all, head and tail targets; popularity and uniform beside.

    Intervals are over users, and over seeds where there are several.
    Returns method, metric, k, group, value, low, high, n.
    """
    first = next(iter(ranked.values()))
    target = first["windows"]["target_idx"].to_numpy()
    counts = train_counts(bench.dataset)
    parts = [
        held_out_metrics(artifact, bench, profile).assign(method=method, seed=seed)
        for (method, seed), artifact in ranked.items()
    ]
    baselines = baseline_rows(counts, target, profile.evaluation.cutoffs, seen="kept")
    return summarise(
        pd.concat([*parts, baselines], ignore_index=True),
        head_or_tail(target, counts),
        generator=numpy_generator(0, "comparison"),
        cluster=held_out_users(first, bench),
        n_resamples=profile.evaluation.bootstrap,
    )


def wide(table: pd.DataFrame) -> pd.DataFrame:
    """A comparison as people read it: methods down, metrics across, by group."""
    k = table["k"].astype("string").fillna("")
    label = table["metric"].where(k == "", table["metric"] + "@" + k)
    return (
        table.assign(label=label)
        .pivot_table(index=["group", "method"], columns="label", values="value", sort=False)
        .round(4)
    )


def differences_table(
    ranked: Mapping[tuple[str, int], Artifact], bench: Workbench, profile: Profile, *, reference: str = "lml"
) -> pd.DataFrame:
    """Paired differences to a reference method on the same windows and seeds, with intervals.

    Over users, and over seeds where there are several. Returns method, metric, k, difference, low, high.
    """
    rows = []
    seeds = [seed for method, seed in ranked if method == reference]
    methods = list(dict.fromkeys(method for method, _ in ranked if method != reference))
    values = {key: held_out_metrics(artifact, bench, profile) for key, artifact in ranked.items()}
    for method in methods:
        of_method = [values[key] for key in ranked if key[0] == method]
        of_reference = [values[reference, seed] for seed in seeds]
        for (metric, k), _ in values[reference, seeds[0]].groupby(["metric", "k"], sort=False, dropna=False):
            ours, theirs = (
                np.stack([_column(one, metric, k) for one in side]) for side in (of_method, of_reference)
            )
            found = paired_bootstrap(
                ours,
                theirs,
                generator=numpy_generator(0, f"difference {method} {metric}"),
                cluster=held_out_users(ranked[reference, seeds[0]], bench),
                n_resamples=profile.evaluation.bootstrap,
            )
            rows.append((method, metric, k, found.mean, found.low, found.high))
    return pd.DataFrame(rows, columns=["method", "metric", "k", "difference", "low", "high"])


def _column(table: pd.DataFrame, metric: Any, k: Any) -> np.ndarray:
    same_k = table["k"].isna() if pd.isna(k) else table["k"] == k
    return table.loc[(table["metric"] == metric) & same_k].sort_values("window")["value"].to_numpy()


def temperature_table(
    ranked: Mapping[str, Artifact],
    objectives: Mapping[str, ObjectiveConfig],
    tuned: Mapping[str, Artifact],
    bench: Workbench,
    profile: Profile,
) -> pd.DataFrame:
    """Held-out metrics over the temperature; ATS at its last temperature, with the range it went through.

    Returns method ("msl" for every fixed τ, "msl_ats"), metric, k, temperature, temperature_low,
    temperature_high (NaN for a fixed τ), value, low, high.
    """
    table = comparison_table({(name, 0): artifact for name, artifact in ranked.items()}, bench, profile)
    table = table[(table["group"] == "all") & table["method"].isin(list(objectives))]
    ats = tuned["msl_ats"]["trace"].query("name == 'temperature'").sort_values("step")["value"]
    is_ats = table["method"] == "msl_ats"
    fixed = table["method"].map({name: objective.temperature for name, objective in objectives.items()})
    return (
        table.assign(
            temperature=fixed.where(~is_ats, ats.iloc[-1]).astype(float),
            temperature_low=np.where(is_ats, ats.min(), np.nan),
            temperature_high=np.where(is_ats, ats.max(), np.nan),
            method=np.where(is_ats, "msl_ats", "msl"),
        )
        .sort_values(["method", "temperature"])
        .reset_index(drop=True)
    )


def adaptive_table(tuned: Artifact) -> pd.DataFrame:
    """The adaptive temperature during training, beside its equation's solution before the clamp."""
    names = ["temperature", "temperature_solution", "target_gap", "logit_variance", "mean_valid_tokens"]
    trace = tuned["trace"]
    return trace[trace["name"].isin(names)].pivot(index="step", columns="name", values="value")[names]


def cost_table(tuned: Mapping[tuple[str, int], Artifact]) -> pd.DataFrame:
    """What training cost: optimisation steps, LM tokens, seconds and tokens a second, by method and seed."""
    rows = []
    for (method, seed), artifact in tuned.items():
        last = artifact["trace"].sort_values("step").groupby("name")["value"].last()
        steps = int(artifact["trace"]["step"].max())
        speed = round(last["tokens"] / last["seconds"])
        rows.append((method, seed, steps, int(last["tokens"]), round(last["seconds"], 1), speed))
    return pd.DataFrame(rows, columns=["method", "seed", "steps", "tokens", "seconds", "tokens_per_second"])


def printed_rows(
    table: pd.DataFrame, differences: pd.DataFrame, bench: Workbench, profile: Profile
) -> list[dict[str, Any]]:
    """Rows of [MSL] Tables 5 (BIGRec) and 6 for the registry; none where the data set is not the paper's."""
    dataset = PRINTED_DATASETS.get(bench.dataset.name)
    if dataset is None:
        return []
    protocol = "exact_top_k" if profile.decoding.protocol == "exact_top_k" else "constrained_beam_valid"
    rows = []
    for row in table[(table["group"] == "all") & table["k"].notna()].to_dict("records"):
        metric = f"{row['metric']}@{row['k']}"
        shared = {"paper": "MSL", "dataset": dataset, "metric": metric, "protocol": protocol}
        shared |= {"ours": row["value"], "ours_low": row["low"], "ours_high": row["high"]}
        change = differences[
            (differences["method"] == row["method"])
            & (differences["metric"] == row["metric"])
            & (differences["k"] == row["k"])
        ]
        for paper_table, name, reference in _printed_names(row["method"], metric):
            against = {}
            if not change.empty:
                one = change.iloc[0]
                against = {
                    "reference": reference,
                    "difference": one["difference"],
                    "difference_low": one["low"],
                    "difference_high": one["high"],
                }
            rows.append({**shared, "table": paper_table, "method": name, **against})
    return rows


def _printed_names(method: str, metric: str) -> list[tuple[str, str, str]]:
    """Where the paper prints a method: table, its name there, and that of LML."""
    names = {"lml": "BIGRec+LML", "msl_ats": "BIGRec+MSL"}
    places = [("5", names[method], "BIGRec+LML")] if method in names else []
    if method in PRINTED and metric == "NDCG@10":
        places.append(("6", PRINTED[method], "LML"))
    return places


def comparison_panels(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of a comparison that the figure shows: HR@10, NDCG@10 and catalogue_nll on all targets."""
    return _shown(table[table["group"] == "all"])


def group_panels(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of a comparison that the figure by group shows: catalogue_nll on head and tail targets."""
    return _shown(table[(table["group"] != "all") & (table["metric"] == "catalogue_nll")])


def temperature_panels(table: pd.DataFrame) -> pd.DataFrame:
    """Rows and columns of `temperature_table` that the figure shows: NDCG@10 and catalogue_nll."""
    rows = _shown(table[table["metric"] != "HR"])
    return rows.drop(columns=["group", "n"])


def _shown(table: pd.DataFrame) -> pd.DataFrame:
    """The rows at the largest cut-off, and those without one."""
    return table[table["k"].isna() | (table["k"] == table["k"].max())].reset_index(drop=True)
