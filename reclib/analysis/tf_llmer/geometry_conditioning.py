"""How well conditioned trainings are where they have the same loss, with and without normalised items."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from reclib.analysis.tf_llmer.geometry import LM_MEAN
from reclib.analysis.tf_llmer.geometry_starts import ADAPTER, PCA, RANDOM, REC_PCA
from reclib.analysis.tf_llmer.geometry_training import BOUND, CONTEXT, EPOCH, LOSS, GeometryRun
from reclib.evaluation.statistics import resampling_weights
from reclib.schema import InputError
from reclib.seeding import numpy_generator

if TYPE_CHECKING:
    from reclib.artifacts import Artifact
    from reclib.config import Profile

STARTS = (RANDOM, ADAPTER, PCA, REC_PCA)
LLM_STARTS = (ADAPTER, PCA, REC_PCA)  # whose tables come from the LM: what the statement is about
MEASURES = ("kappa", "lambda_max", "effective_rank", "lambda_max_cv")
SERIES = ["start", "normalised"]

Trained = Mapping[GeometryRun, "Artifact"]


def conditioning_runs(profile: Profile) -> list[GeometryRun]:
    """Every start with and without normalised items, on the LM's mean-pooled table."""
    return [
        GeometryRun(start=start, table=LM_MEAN, is_normalised=is_normalised, seed=seed)
        for start in STARTS
        for is_normalised in (False, True)
        for seed in profile.seeds
    ]


def curves(trained: Trained) -> pd.DataFrame:
    """Along each training: start, normalised, epoch, loss and the measures; means over the seeds.

    loss: mean over contexts; kappa, lambda_max, effective_rank: medians; lambda_max_cv: deviation over mean.
    """
    parts = []
    for run, artifact in trained.items():
        by_epoch = artifact["contexts"].groupby(EPOCH)
        part = by_epoch[["kappa", "lambda_max", "effective_rank"]].median()
        part["lambda_max_cv"] = by_epoch["lambda_max"].agg(lambda each: each.std(ddof=0) / each.mean())
        parts.append(part.assign(loss=by_epoch[LOSS].mean(), start=run.start, normalised=run.is_normalised))
    table = pd.concat(parts).reset_index()
    table = table.groupby([*SERIES, EPOCH], sort=False, as_index=False).mean()
    return table[[*SERIES, EPOCH, LOSS, *MEASURES]]


def common_level(trained: Trained) -> float:
    """The lowest loss that every training reaches, among the epochs kept."""
    return max(float(run["contexts"].groupby(EPOCH)[LOSS].mean().min()) for run in trained.values())


def at_level(contexts: pd.DataFrame, level: float) -> pd.DataFrame:
    """κ, λ_max and effective rank of each context where the mean loss passes a level, one row a context.

    Between the two kept epochs around the level, by interpolation of logarithms in the loss; the first epoch
    itself where it is already below. Columns: context, kappa, lambda_max, effective_rank, epoch (a fraction).
    Raises InputError for a level that is not reached.
    """
    columns = ["kappa", "lambda_max", "effective_rank"]
    loss = contexts.groupby(EPOCH)[LOSS].mean()
    below = np.flatnonzero(loss.to_numpy() <= level)
    if not len(below):
        raise InputError(f"a loss of {level:.3f} is not reached: the lowest is {loss.min():.3f}")
    after = int(below[0])
    before = max(0, after - 1)
    drop = loss.iloc[before] - loss.iloc[after]
    share = float((loss.iloc[before] - level) / drop) if drop > 0 else 1.0
    share = min(max(share, 0.0), 1.0)
    ends = [
        contexts[contexts[EPOCH] == loss.index[place]].sort_values(CONTEXT)[columns].to_numpy()
        for place in (before, after)
    ]
    values = np.exp((1 - share) * np.log(ends[0]) + share * np.log(ends[1]))
    epoch = (1 - share) * loss.index[before] + share * loss.index[after]
    table = pd.DataFrame(values, columns=columns)
    return table.assign(context=np.arange(len(table)), epoch=float(epoch))


def at_equal_loss(trained: Trained, *, level: float | None = None) -> pd.DataFrame:
    """Each training at one level of the loss, by default the lowest that all reach; means over the seeds.

    Columns: start, normalised, level, epoch, kappa, lambda_max, effective_rank (medians), lambda_max_cv,
    share_of_bound (the largest λ_max over max r², of all epochs).
    """
    level = common_level(trained) if level is None else level
    rows = []
    for run, artifact in trained.items():
        contexts = artifact["contexts"]
        found = at_level(contexts, level)
        largest = found["lambda_max"]
        rows.append(
            {
                "start": run.start,
                "normalised": run.is_normalised,
                "level": level,
                "epoch": found["epoch"].iloc[0],
                **found[["kappa", "lambda_max", "effective_rank"]].median(),
                "lambda_max_cv": largest.std(ddof=0) / largest.mean(),
                "share_of_bound": float((contexts["lambda_max"] / contexts[BOUND]).max()),
            }
        )
    table = pd.DataFrame(rows).groupby([*SERIES, "level"], sort=False, as_index=False).mean()
    return table[[*SERIES, "level", "epoch", *MEASURES, "share_of_bound"]]


def normalisation_effect(trained: Trained, *, n_resamples: int, level: float | None = None) -> pd.DataFrame:
    """What normalisation changes at equal loss, start by start, with 95 % intervals over the contexts.

    level: by default the lowest that every training reaches. Columns: start, level, measure, value, low,
    high. "kappa_ratio": median κ without over with, of the same contexts and seeds; "cv_difference": cv of
    λ_max with minus without.
    """
    level = common_level(trained) if level is None else level
    by_start: dict[str, list[tuple[pd.DataFrame, pd.DataFrame]]] = {}
    for run, artifact in trained.items():
        if run.is_normalised:
            plain = GeometryRun(start=run.start, table=run.table, is_normalised=False, seed=run.seed)
            pair = (at_level(trained[plain]["contexts"], level), at_level(artifact["contexts"], level))
            by_start.setdefault(run.start, []).append(pair)
    effects: dict[str, Callable[[pd.DataFrame, pd.DataFrame, np.ndarray], float]]
    effects = {"kappa_ratio": _kappa_ratio, "cv_difference": _cv_difference}
    rows = []
    for start, pairs in by_start.items():
        drawn = _resamples(len(pairs[0][0]), n_resamples)
        for name, effect in effects.items():
            values = np.array([np.mean([effect(*pair, chosen) for pair in pairs]) for chosen in drawn])
            low, high = np.quantile(values[1:], (0.025, 0.975))
            rows.append((start, level, name, float(values[0]), float(low), float(high)))
    return pd.DataFrame(rows, columns=["start", "level", "measure", "value", "low", "high"])


def effect_by_pair(trained: Trained, *, n_resamples: int) -> pd.DataFrame:
    """`normalisation_effect` of each start at the lowest loss that its own two trainings reach."""
    starts = dict.fromkeys(run.start for run in trained)
    pairs = [{run: each for run, each in trained.items() if run.start == start} for start in starts]
    tables = [normalisation_effect(pair, n_resamples=n_resamples) for pair in pairs]
    return pd.concat(tables, ignore_index=True)


def _resamples(n_contexts: int, n_resamples: int) -> list[np.ndarray]:
    """All contexts, then contexts drawn with replacement."""
    blocks = resampling_weights(
        n_contexts, generator=numpy_generator(0, "resampled contexts"), n_resamples=n_resamples
    )
    drawn = [np.repeat(np.arange(n_contexts), weights.astype(int)) for block in blocks for weights in block]
    return [np.arange(n_contexts), *drawn]


def _kappa_ratio(plain: pd.DataFrame, normalised: pd.DataFrame, chosen: np.ndarray) -> float:
    without, with_ = (table["kappa"].to_numpy()[chosen] for table in (plain, normalised))
    return float(np.median(without) / np.median(with_))


def _cv_difference(plain: pd.DataFrame, normalised: pd.DataFrame, chosen: np.ndarray) -> float:
    without, with_ = (table["lambda_max"].to_numpy()[chosen] for table in (plain, normalised))
    return float(with_.std() / with_.mean() - without.std() / without.mean())
