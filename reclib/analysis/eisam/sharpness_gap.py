"""How far the loss on new windows lies above that of training, item by item, and how that falls with n.

That a bound decreases faster under item-wise regularisation is the paper's [confirmed: abstract]; its theorem
is not at hand, and what is checked is the shape of the gap (specification §5.3) [derived by us].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reclib.analysis.eisam.prior_study import target_nll
from reclib.analysis.eisam.sharpness import N_GROUPS, item_sharpness, sequence_losses
from reclib.analysis.eisam.sharpness_identities import shared_against_exact
from reclib.analysis.eisam.sharpness_steps import sequence_batch
from reclib.analysis.workbench import DATA_SEED, usual_device
from reclib.config import (
    SHARPNESS_FAMILY,
    BackboneConfig,
    DataConfig,
    Profile,
    SequenceTrainConfig,
    SharpnessConfig,
)
from reclib.data.dataset import Windows
from reclib.data.load import load
from reclib.evaluation.correlation import Correlation, partial_spearman
from reclib.evaluation.metrics import METHOD
from reclib.evaluation.power_law import power_law
from reclib.evaluation.statistics import resampling_weights
from reclib.models.backbones import build_backbone
from reclib.models.items import IdItems
from reclib.models.sequence_model import SequenceModel
from reclib.schema import ITEM_IDX, VALUE
from reclib.seeding import numpy_generator
from reclib.training.item_weights import popularity_buckets
from reclib.training.loop import fit
from reclib.training.methods.starting import drawn_weights

METHODS = ("erm", "reweight", "sam", "eisam")
REFERENCE = "erm"
EXACT_RADII, EXACT_WINDOWS, N_BATCHES = (0.01, 0.05, 0.1), 64, 4  # where (3) is compared with (1)
LEAST_FRESH = 3  # fresh windows of an item whose gap is looked at


@dataclass(frozen=True, kw_only=True)
class GapConfig:
    """One recommender, trained on some windows and measured on as many others of the same distribution.

    n_train, n_fresh: windows drawn at random from the training part of the data; radius: ρ of the measured
    sharpness; n_sharp: items it is measured on
    """

    data: DataConfig
    backbone: BackboneConfig
    train: SequenceTrainConfig
    sharpness: SharpnessConfig
    n_train: int
    n_fresh: int
    radius: float
    n_sharp: int


def gap_configs(profile: Profile) -> dict[str, GapConfig]:
    """Each method of `METHODS`: the profile's SASRec, the same number of epochs for all."""
    checks, traditional = profile.checks, profile.traditional
    train = replace(
        traditional.train,
        loss="cross_entropy",
        positions="last",
        epochs=checks.epochs,
        learning_rate=traditional.learning_rates[0],
    )
    return {
        name: GapConfig(
            data=profile.data,
            backbone=traditional.backbone,
            train=train,
            sharpness=replace(SHARPNESS_FAMILY[name], radius=checks.radius, alignment_every=0),
            n_train=checks.n_train,
            n_fresh=checks.n_fresh,
            radius=checks.radius,
            n_sharp=checks.n_sharp,
        )
        for name in METHODS
    }


def gap_step(config: GapConfig, *, seed: int, workdir: Path) -> dict[str, Any]:
    """Train, and measure every item's loss on the windows of training, on fresh ones, and its sharpness.

    Training and fresh windows are drawn at random from the same part, so they are exchangeable, as a bound
    asks; those of a split by time are not. Items without a training window are left out.

    Returns "items": item_idx, decile (1 the most popular), n, n_fresh, loss, fresh_loss (NaN without a fresh
    window), gap, sharpness (NaN where it was not measured); "totals": loss, fresh_loss over windows; and
    "alignment": the shared ascent against an exact one.
    """
    dataset = load(config.data, seed=DATA_SEED)
    train, fresh = drawn_parts(dataset.train, config, seed=DATA_SEED)
    with drawn_weights(seed):
        encoder = build_backbone(config.backbone, max_length=train.history.shape[1])
        model = SequenceModel(IdItems(dataset.n_items, config.backbone.d_model), encoder)
    model = model.to(usual_device())
    sharpness = None if config.sharpness.step == "erm" else config.sharpness
    fit(model, train, config.train, validate=None, seed=seed, workdir=workdir, sharpness=sharpness)
    items, totals = _losses_by_item(model, train, fresh)
    counts = np.bincount(train.target_idx, minlength=dataset.n_items + 1)
    items.insert(1, "decile", popularity_buckets(counts, N_GROUPS)[items[ITEM_IDX]] + 1)
    measured = item_sharpness(
        sequence_losses(model, train),
        [weight for weight in model.parameters() if weight.requires_grad],
        train.target_idx,
        counts,
        radius=config.radius,
        items_per_decile=-(-config.n_sharp // N_GROUPS),
        seed=DATA_SEED,
    )
    return {
        "items": items.merge(measured[[ITEM_IDX, "sharpness"]], how="left"),
        "totals": totals,
        "alignment": _alignment(model, train, counts, config),
    }


def _alignment(model: SequenceModel, train: Windows, counts: np.ndarray, config: GapConfig) -> pd.DataFrame:
    """How near the shared ascent is to the exact one at the trained weights, on some batches of training.

    Columns batch and those of `shared_against_exact`.
    """
    model.eval()
    parts = []
    for number in range(N_BATCHES):
        rows = slice(number * EXACT_WINDOWS, (number + 1) * EXACT_WINDOWS)
        batch = sequence_batch(model, train.take(np.arange(len(train))[rows]), counts, config.train)
        parts.append(shared_against_exact(batch, radii=EXACT_RADII).assign(batch=number))
    return pd.concat(parts, ignore_index=True)


def drawn_parts(windows: Windows, config: GapConfig, *, seed: int) -> tuple[Windows, Windows]:
    """Windows to train on, and others, drawn at random without replacement."""
    order = numpy_generator(seed, "gap windows").permutation(len(windows))
    n_train = min(config.n_train, len(windows) // 2)
    return windows.take(order[:n_train]), windows.take(order[n_train : n_train + config.n_fresh])


def _losses_by_item(
    model: SequenceModel, train: Windows, fresh: Windows
) -> tuple[pd.DataFrame, dict[str, float]]:
    tables, totals = [], {}
    for windows, n, loss in ((train, "n", "loss"), (fresh, "n_fresh", "fresh_loss")):
        nll = pd.Series(target_nll(model, windows))
        totals[loss] = float(nll.mean())
        table = nll.groupby(windows.target_idx).agg(["size", "mean"])
        tables.append(table.rename(columns={"size": n, "mean": loss}))
    items = tables[0].join(tables[1], how="left").rename_axis(ITEM_IDX).reset_index()
    items["n_fresh"] = items["n_fresh"].fillna(0).astype(np.int64)
    return items.assign(gap=items["fresh_loss"] - items["loss"]), totals


def gap_by_decile(items: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Means over the items of each decile of popularity, with the standard error of the gap.

    items: method → table "items" of `gap_step`. Returns method, decile, items, n, loss, fresh_loss, gap,
    gap_error, sharpness.
    """
    parts = []
    for method, table in items.items():
        grouped = counted(table).groupby("decile")
        means = grouped[["n", "loss", "fresh_loss", "gap", "sharpness"]].mean()
        means.insert(0, "items", grouped.size())
        means.insert(5, "gap_error", grouped["gap"].sem())
        parts.append(means.reset_index().assign(method=method))
    table = pd.concat(parts, ignore_index=True)
    return table[[METHOD, *table.columns.drop(METHOD)]]


def counted(items: pd.DataFrame) -> pd.DataFrame:
    """The items with enough fresh windows for a gap."""
    return items[items["n_fresh"] >= LEAST_FRESH]


def gap_slopes(items: Mapping[str, pd.DataFrame], *, seed: int, n_resamples: int = 1000) -> pd.DataFrame:
    """The exponent b of gap = a n^b of each method, and its difference to ERM's, on the same items.

    Every resample draws items, the same for all methods; the exponent is that of `evaluation.power_law`, as
    gaps of single items may be negative.
    Returns method, value, low, high, difference, difference_low, difference_high (NaN for ERM), n (items).
    """
    tables = {name: counted(table).set_index(ITEM_IDX) for name, table in items.items()}
    n = tables[REFERENCE]["n"].to_numpy()
    generator = numpy_generator(seed, "gap slopes")
    weights = np.concatenate(list(resampling_weights(len(n), generator=generator, n_resamples=n_resamples)))
    exponents = {}
    for name, table in tables.items():
        gap = table.loc[tables[REFERENCE].index, "gap"].to_numpy()
        exponents[name] = (float(power_law(n, gap)), power_law(n, gap, weights))
    rows = []
    for name, (value, drawn) in exponents.items():
        low, high = np.nanquantile(drawn, (0.025, 0.975))
        difference, ends = np.nan, (np.nan, np.nan)
        if name != REFERENCE:
            difference = value - exponents[REFERENCE][0]
            ends = tuple(np.nanquantile(drawn - exponents[REFERENCE][1], (0.025, 0.975)))
        rows.append((name, value, low, high, difference, *ends, len(n)))
    columns = [METHOD, VALUE, "low", "high", "difference", "difference_low", "difference_high", "n"]
    return pd.DataFrame(rows, columns=columns)


def gap_and_sharpness(items: pd.DataFrame, *, seed: int, n_resamples: int = 1000) -> Correlation:
    """Spearman's correlation of an item's gap and its sharpness at a fixed n."""
    table = counted(items)
    table = table[table["sharpness"].notna()]
    return partial_spearman(
        table["gap"].to_numpy(),
        table["sharpness"].to_numpy(),
        table["n"].to_numpy(),
        generator=numpy_generator(seed, "gap and sharpness"),
        n_resamples=n_resamples,
    )
