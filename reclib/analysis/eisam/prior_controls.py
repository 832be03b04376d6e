"""What a measured prior must pass before anything is said with it (specification §6.3) [derived by us]."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from reclib.evaluation.correlation import Correlation, spearman
from reclib.schema import VALUE, InputError

STABLE_TEMPLATES, STABLE_MODELS = 0.9, 0.6  # least Spearman between two templates, and two model families


def correlation_table(
    items: pd.DataFrame, *, generator: np.random.Generator, n_resamples: int = 1000
) -> pd.DataFrame:
    """Spearman's correlation of prior and data popularity: of all items, and without ambiguous titles.

    Whatever is said of the two tails is said beside these numbers. items: `prior_popularity.item_table`.
    Returns items ("all", "unambiguous"), value, low, high, n; a group of fewer than 3 items has no row.
    """
    groups = {"all": np.ones(len(items), dtype=bool), "unambiguous": ~items["is_ambiguous"].to_numpy()}
    rows = []
    for name, member in groups.items():
        if member.sum() >= 3:
            chosen = items[member]
            prior, count = chosen["prior_popularity"].to_numpy(), chosen["count"].to_numpy()
            found = spearman(prior, count, generator=generator, n_resamples=n_resamples)
            rows.append((name, *found))
    return pd.DataFrame(rows, columns=["items", VALUE, "low", "high", "n"])


def stability_table(
    log_prior: np.ndarray,
    templates: Sequence[str],
    *,
    generator: np.random.Generator,
    n_resamples: int = 1000,
) -> pd.DataFrame:
    """Spearman's correlation of each two templates' priors; below 0.9 the measure is noise.

    log_prior: (B, N+1). Returns template, other, value, low, high, n, is_stable; no row for one template.
    """
    rows = []
    for a, b in combinations(range(len(templates)), 2):
        found = spearman(log_prior[a, 1:], log_prior[b, 1:], generator=generator, n_resamples=n_resamples)
        rows.append((templates[a], templates[b], *found, bool(found.value >= STABLE_TEMPLATES)))
    return pd.DataFrame(rows, columns=["template", "other", VALUE, "low", "high", "n", "is_stable"])


def agreement_table(
    measures: Mapping[str, np.ndarray],
    reference: str,
    *,
    generator: np.random.Generator,
    n_resamples: int = 1000,
) -> pd.DataFrame:
    """Spearman's correlation of each measure of the same items with one of them.

    For priors of other titles ("given", "article_behind", "without_subtitle") or of another model, where 0.6
    is asked for, and for secondary measures. Items that a measure has no number for (NaN) are left out there;
    fewer than 3 items have no correlation (NaN).

    measures: name → (N,). Returns measure, reference, value, low, high, n.
    Raises InputError where the reference is not among the measures.
    """
    if reference not in measures:
        raise InputError(f"no measure {reference!r}: the measures are {', '.join(measures)}")
    own = np.asarray(measures[reference], dtype=float)
    rows = []
    for name, values in measures.items():
        if name != reference:
            both = ~np.isnan(np.asarray(values, dtype=float)) & ~np.isnan(own)
            found = Correlation(np.nan, np.nan, np.nan, int(both.sum()))
            if found.n >= 3:
                chosen = np.asarray(values)[both]
                found = spearman(chosen, own[both], generator=generator, n_resamples=n_resamples)
            rows.append((name, reference, *found))
    return pd.DataFrame(rows, columns=["measure", "reference", VALUE, "low", "high", "n"])


def shuffled_prior(
    prior: np.ndarray, counts: np.ndarray, *, generator: np.random.Generator, smallest_group: int = 1
) -> np.ndarray:
    """The placebo: the prior with its values exchanged among items of equal training counts, (N+1,).

    As if titles were shuffled among those items. It keeps the correlation with the data and nothing else, so
    every effect of the prior beside the data must vanish. Few frequent items share a count; with
    `smallest_group` above 1, neighbours in the order of counts are put together until a group has so many.

    prior, counts: (N+1,), entry 0 stays. Raises InputError on unequal lengths and a group below 1.
    """
    if prior.shape != counts.shape or smallest_group < 1:
        raise InputError(
            f"prior {prior.shape}, counts {counts.shape}, groups of {smallest_group}: pass one value an item "
            "each and groups of 1 or more"
        )
    shuffled = prior.copy()
    order = np.argsort(counts[1:], kind="stable") + 1
    _, place, size = np.unique(counts[order], return_index=True, return_counts=True)
    first = 0
    for stop in place + size:
        is_last = stop == len(order)
        if stop - first >= smallest_group or is_last:
            if is_last and stop - first < smallest_group:
                first = max(0, stop - smallest_group)  # the last group reaches back to be large enough
            members = order[first:stop]
            shuffled[members] = shuffled[generator.permutation(members)]
            first = stop
    return shuffled
