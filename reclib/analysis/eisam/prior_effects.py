"""What each popularity is worth to each recommender: cells, contrasts, regressions, placebo, and how sure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from reclib.analysis.eisam.hit_regression import (
    BOTH,
    DATA,
    HIT,
    LOG_PRIOR,
    PRIOR,
    hit_regression,
    regression_difference,
    standard_columns,
)
from reclib.analysis.eisam.matched_contrast import matched_contrast
from reclib.analysis.eisam.prior_controls import shuffled_prior
from reclib.analysis.eisam.prior_study import GRADED, ID_ONLY, PriorStudy
from reclib.analysis.eisam.tail_cells import (
    CELLS,
    cell_table,
    contrast_table,
    difference_in_differences,
    exposure_table,
    head_flags,
    item_cells,
)
from reclib.evaluation.group_means import GroupMeans, group_means
from reclib.evaluation.metrics import METHOD
from reclib.schema import METRIC, TARGET_IDX, USER_ID, VALUE, K
from reclib.seeding import numpy_generator

HITS_PER_TERM = 10  # fewer hits than so many a coefficient, and the regression of hits is not fitted [ours]
N_PLACEBO = 200
SMALLEST_GROUP = 10  # items whose titles are exchanged: frequent items hardly share a count
N_GROUPS = 5  # of items by their counts, in the matched contrast
TERMS = (DATA, PRIOR, BOTH)


def cells_of(study: PriorStudy, *, share: float = 0.2, by: Literal["items", "mass"] = "items") -> np.ndarray:
    """The cell of every item, (N+1,); see `tail_cells.item_cells`."""
    return item_cells(study.prior, study.counts, share=share, by=by)


def cell_means(study: PriorStudy, cells: np.ndarray) -> GroupMeans:
    """Means of every metric in the four cells of the targets, with resamples of users."""
    return group_means(
        study.values,
        cells[study.windows.target_idx],
        study.windows.user_id,
        groups=CELLS,
        generator=numpy_generator(0, "prior cells"),
        n_resamples=study.bootstrap,
    )


def cell_tables(study: PriorStudy) -> dict[str, pd.DataFrame]:
    """Tables of the four cells: "cells", "contrasts", "differences" (to the ID-only model), "exposure"."""
    cells = cells_of(study)
    means = cell_means(study, cells)
    target, user = study.windows.target_idx, study.windows.user_id
    n_seeds = max(len(lists) for lists in study.lists().values()) // len(target)
    exposed = {
        name: np.tile(lists, (n_seeds * len(target) // len(lists), 1))
        for name, lists in study.lists().items()
    }
    exposure = exposure_table(
        exposed,
        np.tile(target, n_seeds),
        np.tile(user, n_seeds),
        cells,
        study.cutoffs,
        generator=numpy_generator(0, "prior exposure"),
        n_resamples=study.bootstrap,
    )
    return {
        "cells": cell_table(means, cells),
        "contrasts": contrast_table(means),
        "differences": difference_in_differences(means, reference=ID_ONLY),
        "exposure": exposure,
    }


def cells_at_other_splits(study: PriorStudy) -> pd.DataFrame:
    """The interaction, and what each popularity is worth, where head means something else.

    The top 20 % of the items, the top 10 %, and the fewest items with half of the popularity.
    Returns split, method, metric, k, contrast, value, low, high, n; the graded outcome and NDCG at the
    largest K.
    """
    splits: dict[str, tuple[float, Literal["items", "mass"]]] = {
        "20 % of the items": (0.2, "items"),
        "10 % of the items": (0.1, "items"),
        "half of the popularity": (0.5, "mass"),
    }
    parts = []
    for name, (share, by) in splits.items():
        table = contrast_table(cell_means(study, cells_of(study, share=share, by=by)))
        chosen = table["contrast"].isin(["prior", "data", "interaction"])
        is_last = table[K].isna() | ((table[METRIC] == "NDCG") & (table[K] == study.depth))
        part = table[chosen & is_last].reset_index(drop=True)
        part.insert(0, "split", name)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def enough_hits(study: PriorStudy) -> dict[str, int]:
    """How many hits each method has, of those with enough of them for the regression of hits."""
    needed = HITS_PER_TERM * (len(TERMS) + len(study.controls) + 1)
    hits = study.examples.groupby(METHOD, sort=False)[HIT].sum()
    misses = study.examples.groupby(METHOD, sort=False)[HIT].count() - hits
    return {str(name): int(hits[name]) for name in hits.index if min(hits[name], misses[name]) >= needed}


def regressions(study: PriorStudy) -> pd.DataFrame:
    """Both regressions: of hits where there are enough, and of the logarithm of the target's probability.

    Returns outcome ("hit" or "log_p"), method, term, value, low, high, deviance_drop, n, n_users.
    """
    parts = []
    for outcome, rows in _by_outcome(study):
        part = hit_regression(rows, controls=study.controls, outcome=outcome)
        part.insert(0, "outcome", outcome)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def differences(study: PriorStudy) -> pd.DataFrame:
    """Coefficients of both regressions minus those of the model that never sees a title.

    Returns outcome, method, reference, term, value, low, high, n, n_users.
    """
    parts = []
    for outcome, rows in _by_outcome(study):
        if ID_ONLY in set(rows[METHOD]) and rows[METHOD].nunique() > 1:
            part = regression_difference(rows, reference=ID_ONLY, controls=study.controls, outcome=outcome)
            part.insert(0, "outcome", outcome)
            parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _by_outcome(study: PriorStudy) -> list[tuple[str, pd.DataFrame]]:
    """The outcomes with the examples that can tell of them."""
    able = study.examples[study.examples[METHOD].isin(list(enough_hits(study)))]
    return [(HIT, able)] * (not able.empty) + [(GRADED, study.examples)]


def placebo(study: PriorStudy, *, n_draws: int = N_PLACEBO) -> pd.DataFrame:
    """The prior's coefficients of the graded outcome with titles shuffled among items of like counts.

    Each draw exchanges the prior within groups of `SMALLEST_GROUP` items or more that are equally frequent,
    or nearly so, and the regression is fitted anew. Real effects lie outside what the draws give.
    Returns method, term ("prior", "data × prior"), value (titles as they are), low, high (2.5 and 97.5 % of
    the draws), n_draws, is_outside.
    """
    generator = numpy_generator(0, "prior placebo")
    real, drawn = _prior_terms(study, study.prior), []
    for _ in range(n_draws):
        shuffled = shuffled_prior(
            study.prior, study.counts, generator=generator, smallest_group=SMALLEST_GROUP
        )
        drawn.append(_prior_terms(study, shuffled)[VALUE].to_numpy())
    low, high = np.quantile(np.array(drawn), (0.025, 0.975), axis=0)
    value = real[VALUE].to_numpy()
    return real.assign(low=low, high=high, n_draws=n_draws, is_outside=(value < low) | (value > high))


def _prior_terms(study: PriorStudy, prior: np.ndarray) -> pd.DataFrame:
    """Coefficients of the prior and its interaction under another prior: method, term, value."""
    target = study.examples[TARGET_IDX].to_numpy()
    examples = study.examples.assign(**{LOG_PRIOR: np.log(prior[target])})
    rows = []
    for method, part in examples.groupby(METHOD, sort=False):
        design = standard_columns(part, study.controls)
        beta = np.linalg.lstsq(design.to_numpy(), part[GRADED].to_numpy(), rcond=None)[0]
        rows += [(method, term, beta[design.columns.get_loc(term)]) for term in (PRIOR, BOTH)]
    return pd.DataFrame(rows, columns=[METHOD, "term", VALUE])


def matched(study: PriorStudy) -> pd.DataFrame:
    """The prior's head minus its tail among items that are about as frequent, of every metric.

    See `matched_contrast.matched_contrast`.
    """
    return matched_contrast(
        study.values,
        study.windows.target_idx,
        study.windows.user_id,
        prior_head=head_flags(study.prior),
        counts=study.counts,
        generator=numpy_generator(0, "prior matched"),
        n_groups=N_GROUPS,
        n_resamples=study.bootstrap,
    )


def other_measures(study: PriorStudy, measures: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """The prior's coefficient of the graded regression under other measures, or without "It" and "Up".

    measures: name → (N,) a number of each item, such as the columns of `prior_sensitivity.sensitivity_step`;
    they enter as ranks, as some are logarithms and some are not. "unambiguous titles" leaves out the targets
    whose title is one content word or none.
    Returns measure, method, value, low, high, n; no row for a measure that is the same for all targets.
    """
    examples, parts = study.examples, []
    target = examples[TARGET_IDX].to_numpy()
    clear = ~study.items["is_ambiguous"].to_numpy()[target - 1]
    variants = {"unambiguous titles": examples[clear]}
    for name, numbers in measures.items():
        rank = pd.Series(np.asarray(numbers, dtype=float)).rank().to_numpy()[target - 1]
        if len(np.unique(rank[~np.isnan(rank)])) > 1:
            variants[name] = examples.assign(**{LOG_PRIOR: rank})[~np.isnan(rank)]
    for name, rows in variants.items():
        table = hit_regression(rows, controls=study.controls, outcome=GRADED)
        part = table.loc[table["term"] == PRIOR, [METHOD, VALUE, "low", "high", "n"]]
        part.insert(0, "measure", name)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


class Dominance(NamedTuple):
    """How many times the prior's deviance the data's popularity explains: an estimate and its interval."""

    value: float
    low: float
    high: float


def dominance(study: PriorStudy, method: str) -> Dominance:
    """(drop in deviance without log n) / (without log q) in the graded regression of one method.

    The interval resamples users, each with all of its windows.
    """
    rows = study.examples[study.examples[METHOD] == method]
    design = standard_columns(rows, study.controls)
    x, y = design.to_numpy(), rows[GRADED].to_numpy()
    users, user = np.unique(rows[USER_ID].to_numpy(), return_inverse=True)
    places = [list(design.columns).index(term) for term in (DATA, PRIOR)]
    generator = numpy_generator(0, f"dominance {method}")
    drawn = []
    for _ in range(study.bootstrap):
        weight = np.bincount(generator.integers(len(users), size=len(users)), minlength=len(users))[user]
        drawn.append(_ratio_of_drops(x, y, weight, places))
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Dominance(_ratio_of_drops(x, y, np.ones(len(y)), places), float(low), float(high))


def _ratio_of_drops(x: np.ndarray, y: np.ndarray, weight: np.ndarray, places: list[int]) -> float:
    """Δ deviance of the first column over that of the second, in weighted least squares."""
    root = np.sqrt(weight)
    whole = _log_error(x, y, root)
    first, second = (_log_error(np.delete(x, place, axis=1), y, root) - whole for place in places)
    return float(first / max(second, 1e-12))


def _log_error(x: np.ndarray, y: np.ndarray, root: np.ndarray) -> float:
    """Logarithm of the weighted mean square of what least squares leaves."""
    left = (y - x @ np.linalg.lstsq(x * root[:, None], y * root, rcond=None)[0]) * root
    return float(np.log((left**2).sum() / (root**2).sum()))
