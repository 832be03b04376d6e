"""Tables of Lemmas 1 and 2 of the MSL paper, from the artifacts of `analysis.msl.bound`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from reclib.analysis.msl.bound import SLACK, minus_log_ndcg
from reclib.artifacts import Artifact
from reclib.evaluation.statistics import bootstrap_interval
from reclib.seeding import numpy_generator

# Rows of a table by number of valid tokens: the lowest of each group. Below 8 the moments say little.
EDGES = (2, 8, 32, 128, 512)
LILLIEFORS = 0.886  # over √m: the 5 % limit of the distance for m > 30, from Lilliefors (1967), table 1
BRANCHES = ("falling", "rising")
PARTS = ("ndcg", "rank", "mass", "invalid")


def sample_table(bounds: Mapping[str, Artifact]) -> pd.DataFrame:
    """Both sides of Lemma 1, sample by sample.

    Returns model, window, minus_log_ndcg, method ("msl", "lml"), value.
    """
    parts = []
    for model, artifact in bounds.items():
        windows = artifact["windows"]
        about = {"model": model, "window": windows["window"]}
        about["minus_log_ndcg"] = minus_log_ndcg(windows["rank"].to_numpy())
        parts += [pd.DataFrame({**about, "method": loss, "value": windows[loss]}) for loss in ("msl", "lml")]
    return pd.concat(parts, ignore_index=True)


def slack_table(bounds: Mapping[str, Artifact], *, n_resamples: int = 1000) -> pd.DataFrame:
    """LML as the sum of what Lemma 1 adds on: model, part, value, low, high; means over targets, in nats.

    ndcg: −log NDCG. rank: from log log2(r + 1) to log r, r the rank. mass: from log r to −log P_valid = MSL,
    the probability that is not on the r best titles in equal parts. invalid: from MSL to LML, 𝓛¹.
    """
    rows = []
    for model, artifact in bounds.items():
        windows = artifact["windows"]
        ndcg, rank = minus_log_ndcg(windows["rank"].to_numpy()), np.log(windows["rank"].to_numpy())
        msl, lml = windows["msl"].to_numpy(), windows["lml"].to_numpy()
        steps = np.stack([ndcg, rank - ndcg, msl - rank, lml - msl], axis=1)
        generator = numpy_generator(0, f"slack {model}")
        low, high = bootstrap_interval(steps, generator=generator, n_resamples=n_resamples)
        rows += list(zip([model] * 4, PARTS, steps.mean(axis=0), low, high, strict=True))
    return pd.DataFrame(rows, columns=["model", "part", "value", "low", "high"])


def violations_table(bounds: Mapping[str, Artifact]) -> pd.DataFrame:
    """How often either side of Lemma 1 fails, by what is ranked and how.

    Returns model, ranked_by, positives, pairs (of a window and a positive), above_msl and above_lml (pairs
    whose −log NDCG is larger), msl_above_lml; NaN where it was not looked at.
    """
    rows = []
    for model, artifact in bounds.items():
        windows, catalogue, lists = (artifact[name] for name in ("windows", "catalogue", "lists"))
        for ranked_by, rank in (("P_valid of titles", "rank"), ("P_valid of items", "item_rank")):
            counts = _above(minus_log_ndcg(windows[rank].to_numpy()), windows)
            rows.append((model, ranked_by, "targets", len(windows), *counts))
            kind = "title" if rank == "rank" else "item"
            above = catalogue[f"{kind}_violations"].sum()
            rows.append(
                (model, ranked_by, f"every {kind}", catalogue[f"{kind}s"].sum(), above, np.nan, np.nan)
            )
        for protocol, found in lists.groupby("protocol", sort=False):
            counts = _above(minus_log_ndcg(found["rank"].to_numpy()), found)
            rows.append((model, protocol, "listed items", len(found), *counts))
    counted = ["above_msl", "above_lml", "msl_above_lml"]
    return pd.DataFrame(rows, columns=["model", "ranked_by", "positives", "pairs", *counted])


def _above(ndcg: np.ndarray, table: pd.DataFrame) -> tuple[float, float, float]:
    """Pairs with −log NDCG above MSL, above LML, and with MSL above LML."""
    msl, lml = table["msl"].to_numpy(), table["lml"].to_numpy()
    known = not np.isnan(lml).any()
    above_lml, crossed = (ndcg > lml + SLACK).sum(), (msl > lml + SLACK).sum()
    return (ndcg > msl + SLACK).sum(), above_lml if known else np.nan, crossed if known else np.nan


def shape_table(logits: Mapping[str, Artifact]) -> pd.DataFrame:
    """How Gaussian the valid logits are, by their number.

    Returns method (the model), group (numbers of valid tokens), n_valid (their geometric mean), positions,
    skewness, kurtosis and distance (medians, the distance with its quartiles low and high), and accepted, the
    share of positions whose distance is within Lilliefors' 5 % limit (NaN up to 30 tokens: no such limit).
    """
    rows = []
    for model, artifact in logits.items():
        table = artifact["positions"]
        group = np.searchsorted(EDGES, table["n_valid"], side="right") - 1
        for place, found in table.groupby(group):
            n_valid = found["n_valid"].to_numpy()
            limit = np.where(n_valid > 30, LILLIEFORS / np.sqrt(n_valid), np.nan)
            accepted = (found["distance"] <= limit).mean() if (n_valid > 30).all() else np.nan
            low, middle, high = found["distance"].quantile([0.25, 0.5, 0.75])
            shape = {"skewness": found["skewness"].median(), "kurtosis": found["kurtosis"].median()}
            rows.append(
                {"method": model, "group": _label(int(place)), "n_valid": np.exp(np.log(n_valid).mean())}
                | {"positions": len(found), **shape, "distance": middle, "low": low, "high": high}
                | {"accepted": accepted}
            )
    return pd.DataFrame(rows)


def _label(place: int) -> str:
    last = place + 1 == len(EDGES)
    return f"{EDGES[place]} and more" if last else f"{EDGES[place]}–{EDGES[place + 1] - 1}"


def shape_panel(table: pd.DataFrame) -> pd.DataFrame:
    """Columns of `shape_table` that the figure shows."""
    return table[["method", "n_valid", "distance", "low", "high"]]


def root_table(logits: Mapping[str, Artifact]) -> pd.DataFrame:
    """How often there is a temperature with P(τ) = η, exactly and by Lemma 2, and how far the two are apart.

    Returns model, positions ("open": η above chance at the position; "narrow": not; "first open": the first
    such position of each target), branch, n, exact and lemma (shares with a root), both, and of those the
    median and quartiles of the lemma's τ over the exact one.
    """
    rows = []
    for model, artifact in logits.items():
        for name, found in _selections(artifact["positions"]).items():
            for branch in BRANCHES if name != "narrow" else ("rising",):
                exact, lemma = found[branch], found[f"approximate_{branch}"]
                ratio = (lemma / exact).dropna()
                quartiles = ratio.quantile([0.25, 0.5, 0.75]) if len(ratio) else [np.nan] * 3
                shares = (exact.notna().mean(), lemma.notna().mean(), len(ratio) / max(1, len(found)))
                rows.append((model, name, branch, len(found), *shares, *quartiles))
    columns = [
        "model",
        "positions",
        "branch",
        "n",
        "exact",
        "lemma",
        "both",
        "ratio_low",
        "ratio",
        "ratio_high",
    ]
    return pd.DataFrame(rows, columns=columns)


def _selections(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Positions where η is above chance, is not, and the first of each window where it is."""
    chosen = table[table["is_open"]]
    return {
        "open": chosen,
        "narrow": table[~table["is_open"]],
        "first open": chosen.sort_values("position").drop_duplicates("window"),
    }


def root_points(logits: Mapping[str, Artifact]) -> pd.DataFrame:
    """Positions with a root both exactly and by Lemma 2: method (the model), branch, exact, lemma."""
    parts = []
    for model, artifact in logits.items():
        table = artifact["positions"]
        for branch in BRANCHES:
            both = table[[branch, f"approximate_{branch}"]].dropna().set_axis(["exact", "lemma"], axis=1)
            parts.append(both.assign(method=model, branch=branch))
    return pd.concat(parts, ignore_index=True)[["method", "branch", "exact", "lemma"]]
