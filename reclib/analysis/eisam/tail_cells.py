"""The two tails crossed: items that are head or tail in the prior, and head or tail in the data.

That items in the intersection of the two heads show a still stronger head effect, and that the data's tail
dominates, are the paper's [confirmed: abstract]; cells, contrasts and scales are ours (specification §7)
[derived by us].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from reclib.data.popularity import HEAD_SHARE, is_head, popularity_ranking
from reclib.evaluation.group_means import GroupMeans
from reclib.evaluation.metrics import METHOD, check_cutoffs
from reclib.evaluation.statistics import percentile_interval, resampling_weights
from reclib.schema import GROUP, METRIC, PAD_IDX, VALUE, InputError, K

# First letter: head or tail in the prior; second: in the data. "TH" is frequent and unknown to the model.
CELLS = ("HH", "HT", "TH", "TT")

# Weights of the cells' means, on the metric's own scale (additive).
CONTRASTS: dict[str, tuple[float, ...]] = {
    "prior": (0.5, 0.5, -0.5, -0.5),
    "data": (0.5, -0.5, 0.5, -0.5),
    "data minus prior": (0.0, -1.0, 1.0, 0.0),
    "prior in the data head": (1.0, 0.0, -1.0, 0.0),
    "prior in the data tail": (0.0, 1.0, 0.0, -1.0),
    "interaction": (1.0, -1.0, -1.0, 1.0),
}
LOG_ODDS = "interaction (log-odds)"
EXPOSURE = "exposure_ratio"
_CONTRAST = "contrast"


def head_flags(
    popularity: np.ndarray, *, share: float = HEAD_SHARE, by: Literal["items", "mass"] = "items"
) -> np.ndarray:
    """Which items are head, (N+1,) bool: the `share` most popular, or the fewest with `share` of the mass.

    popularity: (N+1,) counts or probabilities. Ties go by item_idx. Raises InputError for a share outside
    (0, 1], another `by`, a negative or NaN popularity, and a mass of zero.
    """
    values = np.asarray(popularity, dtype=np.float64)
    if not 0 < share <= 1 or by not in ("items", "mass"):
        raise InputError(f'head of share {share} by {by!r}: choose one in (0, 1], by "items" or "mass"')
    if not (values[1:] >= 0).all() or values[1:].sum() == 0:
        raise InputError("a popularity is negative, NaN or zero for all items: no head can be told")
    if by == "items":
        return is_head(values, share)
    ranking = popularity_ranking(values)
    above = np.cumsum(values[ranking]) - values[ranking]  # the mass of all more popular items
    flags = np.zeros(len(values), dtype=bool)
    flags[ranking[above < share * values[1:].sum() * (1 - 1e-12)]] = True
    return flags


def item_cells(
    prior: np.ndarray,
    data: np.ndarray,
    *,
    share: float = HEAD_SHARE,
    by: Literal["items", "mass"] = "items",
) -> np.ndarray:
    """The cell of every item, (N+1,) of `CELLS`; "" for padding. prior, data: (N+1,) popularities."""
    if np.shape(prior) != np.shape(data):
        raise InputError(
            f"popularities of {np.shape(prior)} and {np.shape(data)}: pass two of the same items"
        )
    heads = [head_flags(popularity, share=share, by=by) for popularity in (prior, data)]
    cells = np.array(CELLS)[2 * ~heads[0] + ~heads[1]]
    cells[PAD_IDX] = ""
    return cells


def cell_table(means: GroupMeans, cells: np.ndarray) -> pd.DataFrame:
    """The means of each cell with intervals over users, and how much each rests on.

    means: `group_means` of the test windows by `cells[target]`; cells: (N+1,) of `item_cells`.
    Returns method, metric, k, group (the cell), value, low, high, n (test examples), n_items. A cell without
    test examples has NaN.
    """
    low, high = percentile_interval(means.draws)
    parts = [
        means.keys.assign(
            group=cell,
            value=means.mean[at],
            low=low[at],
            high=high[at],
            n=means.n[at],
            n_items=int((cells == cell).sum()),
        )
        for at, cell in enumerate(means.groups)
    ]
    return pd.concat(parts, ignore_index=True)


def contrast_table(means: GroupMeans) -> pd.DataFrame:
    """The `CONTRASTS` of the cells' means for each method and metric, with intervals over users.

    interaction = HH − HT − TH + TT on the metric's scale; of HR also on the scale of log-odds, with half a
    hit and half a miss added to each cell, as the two scales can disagree.
    Returns method, metric, k, contrast, value, low, high, n (test examples).
    """
    return _table(means.keys, _point(means), _drawn(means), means)


def difference_in_differences(means: GroupMeans, *, reference: str) -> pd.DataFrame:
    """Each contrast of every method minus that of one that never sees a title, on the same resamples.

    An ID-only recommender cannot know the prior: what "prior" effect it shows comes from items' popularity
    in the data, and is subtracted. reference: its method, such as "sasrec".
    Returns method, reference, metric, k, contrast, value, low, high, n.
    Raises InputError where there is no such method, or nothing beside it.
    """
    theirs = means.of(reference)
    others = [name for name in means.keys[METHOD].unique() if name != reference]
    if not others:
        raise InputError(f"only {reference} is there: a difference needs another method")
    parts = []
    for name in others:
        ours = means.of(name)
        if not ours.keys[[METRIC, K]].equals(theirs.keys[[METRIC, K]]):
            raise InputError(f"{name} and {reference} do not have the same metrics in the same order")
        point = _point(ours) - _point(theirs)
        draws = _drawn(ours) - _drawn(theirs)
        part = _table(ours.keys, point, draws, ours)
        part.insert(1, "reference", reference)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def exposure_table(
    lists: Mapping[str, np.ndarray],
    target_idx: np.ndarray,
    user_id: np.ndarray,
    cells: np.ndarray,
    cutoffs: Sequence[int],
    *,
    generator: np.random.Generator,
    n_resamples: int = 1000,
) -> pd.DataFrame:
    """How often each cell is recommended for how often it is wanted, with intervals over users.

    exposure ratio = (share of the recommended places) / (share of the test targets);  1 is in proportion

    lists: method → (W, K') item_idx, best first, 0 where a list has no more items; target_idx, user_id: (W,).
    Returns method, metric ("exposure_ratio"), k, group, value, low, high, n, n_items, as `cell_table`; NaN
    for a cell without test examples. Raises InputError for lists of other windows or items.
    """
    users, user = np.unique(np.asarray(user_id), return_inverse=True)
    code = _cell_codes(cells)
    wanted = _user_counts(user, code[np.asarray(target_idx)][:, None], len(users))
    blocks = list(resampling_weights(len(users), generator=generator, n_resamples=n_resamples))
    parts = []
    for method, items in lists.items():
        check_cutoffs(cutoffs, n_items=len(cells) - 1, depth=items.shape[1])
        if len(items) != len(user) or items.min() < PAD_IDX or items.max() >= len(cells):
            raise InputError(f"the lists of {method} are of other windows or of another catalogue")
        for k in cutoffs:
            shown = _user_counts(user, code[items[:, :k]], len(users))
            value = _ratio(shown.sum(axis=0), wanted.sum(axis=0))
            low, high = percentile_interval(np.concatenate([_ratio(w @ shown, w @ wanted) for w in blocks]))
            part = pd.DataFrame({GROUP: CELLS, VALUE: value, "low": low, "high": high})
            part["n"] = wanted.sum(axis=0).astype(np.int64)
            part["n_items"] = [int((cells == cell).sum()) for cell in CELLS]
            part = part.assign(method=method, metric=EXPOSURE, k=k)
            parts.append(part[[METHOD, METRIC, K, GROUP, VALUE, "low", "high", "n", "n_items"]])
    return pd.concat(parts, ignore_index=True).astype({K: "Int64"})


def _point(means: GroupMeans) -> np.ndarray:
    return _contrasts(means, means.mean[None], means.n[None])


def _drawn(means: GroupMeans) -> np.ndarray:
    return _contrasts(means, means.draws, means.n_draws)


def _contrasts(means: GroupMeans, values: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Contrasts of cell means (R, 4, M) of n (R, 4) examples: (R, contrasts, M).

    The interaction's log-odds come last, NaN for other metrics than HR.
    """
    if means.groups != CELLS:
        raise InputError(f"groups {means.groups}: contrasts are of the cells {CELLS}")
    weights = np.array(list(CONTRASTS.values()))
    # A contrast leaves out the cells of weight 0, so that an empty one (NaN) takes nothing else with it.
    terms = np.where(weights[:, :, None] != 0, weights[:, :, None] * values[:, None], 0.0)
    is_rate = (means.keys[METRIC] == "HR").to_numpy()
    hits = np.where(is_rate, values * n[:, :, None], np.nan)
    odds = np.log((hits + 0.5) / (n[:, :, None] - hits + 0.5))
    log_odds = np.einsum("c,rcm->rm", np.array(CONTRASTS["interaction"]), odds)
    return np.concatenate([terms.sum(axis=2), log_odds[:, None]], axis=1)


def _table(keys: pd.DataFrame, point: np.ndarray, draws: np.ndarray, means: GroupMeans) -> pd.DataFrame:
    low, high = percentile_interval(draws)
    parts = [
        keys.assign(contrast=name, value=point[0, at], low=low[at], high=high[at], n=int(means.n.sum()))
        for at, name in enumerate([*CONTRASTS, LOG_ODDS])
    ]
    table = pd.concat(parts, ignore_index=True)
    is_of_metric = (table[_CONTRAST] != LOG_ODDS) | (table[METRIC] == "HR")
    return table[is_of_metric].reset_index(drop=True)


def _cell_codes(cells: np.ndarray) -> np.ndarray:
    """Place of each item's cell in `CELLS`; 4 for padding."""
    codes = pd.Index(CELLS).get_indexer(pd.Index(cells))
    return np.where(codes < 0, len(CELLS), codes)


def _user_counts(user: np.ndarray, code: np.ndarray, n_users: int) -> np.ndarray:
    """How often each cell occurs among each user's rows of codes (W, K): (U, 4)."""
    flat = user[:, None] * (len(CELLS) + 1) + code
    counts = np.bincount(flat.ravel(), minlength=n_users * (len(CELLS) + 1))
    return counts.reshape(n_users, -1)[:, : len(CELLS)].astype(np.float64)


def _ratio(shown: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Share of the places over share of the targets, NaN where nothing is wanted or shown."""
    product = shown * wanted.sum(axis=-1, keepdims=True)
    base = wanted * shown.sum(axis=-1, keepdims=True)
    return np.where(base > 0, product / np.where(base > 0, base, 1.0), np.nan)
