"""Tables of item sharpness at matched training loss: by popularity, by side, along lines, and of batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from reclib.analysis.eisam.sharpness import N_GROUPS
from reclib.artifacts import Artifact
from reclib.data.popularity import HEAD_SHARE
from reclib.evaluation.metrics import HEAD, METHOD, SEED, TAIL
from reclib.evaluation.statistics import estimate, paired_bootstrap
from reclib.schema import GROUP
from reclib.seeding import numpy_generator

Measured = Mapping[str, Sequence[Artifact]]  # method → one run a seed

HEAD_DECILES = round(HEAD_SHARE * N_GROUPS)


def item_table(measured: Measured) -> pd.DataFrame:
    """Sharpness of each measured item in each run: method, seed, decile, item_idx, count, sharpness.

    Also loss and gradient_norm. All methods and seeds have the same items, as they are drawn once.
    seed: the place of the run.
    """
    parts = [
        run["items"].assign(method=method, seed=seed)
        for method, runs in measured.items()
        for seed, run in enumerate(runs)
    ]
    columns = [METHOD, SEED, "decile", "item_idx", "count", "loss", "gradient_norm", "sharpness"]
    return pd.concat(parts, ignore_index=True)[columns]


def decile_table(items: pd.DataFrame, *, n_resamples: int = 1000) -> pd.DataFrame:
    """Mean sharpness of the items of each decile of popularity, with its interval over items and seeds.

    Returns method, decile, items, count (their mean), value, low, high.
    """
    rows = []
    for (method, decile), own in items.groupby([METHOD, "decile"], sort=False):
        values = own.pivot(index=SEED, columns="item_idx", values="sharpness").to_numpy()
        generator = numpy_generator(0, "deciles")
        found = estimate(values, generator=generator, n_resamples=n_resamples)
        rows.append((method, decile, found.n, own["count"].mean(), found.mean, found.low, found.high))
    return pd.DataFrame(rows, columns=[METHOD, "decile", "items", "count", "value", "low", "high"])


def side_differences(items: pd.DataFrame, *, n_resamples: int = 1000) -> pd.DataFrame:
    """Mean sharpness on head and tail items, and its paired differences to ERM and to SAM.

    Head items are deciles 1 and 2, tail items the others; each decile weighs by the items measured in it.
    Returns method, reference, group, value, reference_value, difference, low, high, change (a share of the
    reference's), n (items).
    """
    wide = items.pivot(index=[METHOD, SEED], columns=["decile", "item_idx"], values="sharpness")
    is_head = wide.columns.get_level_values("decile") <= HEAD_DECILES
    rows = []
    for method in items[METHOD].unique():
        for reference in ("erm", "sam"):
            if method in (reference, "erm"):
                continue
            for group, member in ((HEAD, is_head), (TAIL, ~is_head)):
                ours, theirs = (wide.loc[name].loc[:, member].to_numpy() for name in (method, reference))
                generator = numpy_generator(0, "sides")
                found = paired_bootstrap(ours, theirs, generator=generator, n_resamples=n_resamples)
                means = (ours.mean(), theirs.mean())
                change = found.mean / means[1] if means[1] else np.nan
                rows.append(
                    (method, reference, group, *means, found.mean, found.low, found.high, change, found.n)
                )
    columns = [METHOD, "reference", GROUP, "value", "reference_value", "difference", "low", "high", "change"]
    return pd.DataFrame(rows, columns=[*columns, "n"])


def fit_table(measured: Measured) -> pd.DataFrame:
    """Training loss of each method, and how far from that of ERM it is.

    Means over the seeds. Returns method, epochs, training_loss, largest_gap (of any seed, nats).
    """
    rows = []
    for method, runs in measured.items():
        found = pd.DataFrame([dict(run["summary"]) for run in runs])
        target = found["target_loss"].astype(float)
        gap = (found["training_loss"] - target).abs().max() if target.notna().all() else 0.0
        rows.append((method, found["epochs"].mean(), found["training_loss"].mean(), gap))
    return pd.DataFrame(rows, columns=[METHOD, "epochs", "training_loss", "largest_gap"])


def slice_table(measured: Measured) -> pd.DataFrame:
    """Rise of the loss of head and of tail windows along lines through the weights, mean over the seeds.

    Returns method, group, direction, distance, rise (loss minus that at the weights).
    """
    parts = []
    for method, runs in measured.items():
        for run in runs:
            table = run["slices"]
            there = table[table["distance"] == 0].set_index(["group", "direction"])["loss"]
            before = there.reindex(pd.MultiIndex.from_frame(table[["group", "direction"]])).to_numpy()
            parts.append(table.assign(method=method, rise=table["loss"].to_numpy() - before))
    keys = [METHOD, "group", "direction", "distance"]
    return pd.concat(parts).groupby(keys, sort=False)["rise"].mean().reset_index()


def batch_means(measured: Measured) -> pd.DataFrame:
    """Means over batches and seeds of what `matched_sharpness.batch_table` measures, one row a method."""
    parts = [run["batches"].assign(method=method) for method, runs in measured.items() for run in runs]
    return pd.concat(parts).drop(columns="batch").groupby(METHOD, sort=False).mean().reset_index()
