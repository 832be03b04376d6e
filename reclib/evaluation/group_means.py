"""Means of metrics in groups of examples, with draws of a bootstrap that keeps each user's examples together.

Contrasts of groups and of methods are then made from the draws, so that all share their resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from reclib.evaluation.metrics import METHOD, WINDOW
from reclib.evaluation.statistics import resampling_weights
from reclib.schema import METRIC, VALUE, InputError, K

KEYS = [METHOD, METRIC, K]


@dataclass(frozen=True, eq=False)
class GroupMeans:
    """Means of M metrics in G groups.

    keys: method, metric, k of each metric, M rows; groups: G names
    mean: (G, M), NaN for a group without examples; n: (G,) examples
    draws: (R, G, M) and n_draws: (R, G), the same of R resamples of the users
    """

    keys: pd.DataFrame
    groups: tuple[str, ...]
    mean: np.ndarray
    n: np.ndarray
    draws: np.ndarray
    n_draws: np.ndarray

    def of(self, method: str) -> GroupMeans:
        """The metrics of one method. Raises InputError for a method that is not there."""
        chosen = (self.keys[METHOD] == method).to_numpy()
        if not chosen.any():
            raise InputError(f"no method {method!r}: there are {', '.join(self.keys[METHOD].unique())}")
        keys = self.keys[chosen].reset_index(drop=True)
        mean, draws = self.mean[:, chosen], self.draws[:, :, chosen]
        return GroupMeans(keys, self.groups, mean, self.n, draws, self.n_draws)


def group_means(
    hits: pd.DataFrame,
    group: Sequence[str] | np.ndarray,
    user_id: np.ndarray,
    *,
    groups: Sequence[str],
    generator: np.random.Generator,
    n_resamples: int = 1000,
) -> GroupMeans:
    """Means of every method and metric in each group of windows.

    A resample draws users with replacement, each with all of its windows; all methods, metrics and groups
    share it.

    hits: method, window (0…W−1), metric, k, value, as `metrics.per_window` gives them for each method;
    group: (W,) name of each window's group; user_id: (W,); groups: the names in their order.
    Raises InputError where a method does not cover all windows once, and for a group that is not named.
    """
    keys, values = _wide(hits, len(user_id))
    code = pd.Index(groups).get_indexer(pd.Index(group))
    if len(code) != len(values) or (code < 0).any():
        bad = int((code < 0).argmax()) if (code < 0).any() else min(len(code), len(values))
        raise InputError(f"window {bad}: its group is none of {', '.join(groups)}; one label a window")
    sums, n = _user_sums(values, code, user_id, len(groups))
    drawn, drawn_n = [], []
    for weights in resampling_weights(len(sums), generator=generator, n_resamples=n_resamples):
        drawn.append((weights @ sums.reshape(len(sums), -1)).reshape(-1, *sums.shape[1:]))
        drawn_n.append(weights @ n)
    n_draws = np.concatenate(drawn_n)
    draws = _divided(np.concatenate(drawn), n_draws[:, :, None])
    total = n.sum(axis=0)
    mean = _divided(sums.sum(axis=0), total[:, None])
    return GroupMeans(keys, tuple(groups), mean, total.astype(np.int64), draws, n_draws)


def _wide(hits: pd.DataFrame, n_windows: int) -> tuple[pd.DataFrame, np.ndarray]:
    """The (method, metric, k) of each column, and the values (W, M)."""
    column = hits.groupby(KEYS, sort=False, dropna=False).ngroup()
    keyed = hits.assign(column=column)
    keys = keyed.drop_duplicates("column")[KEYS].reset_index(drop=True)
    is_double = keyed.duplicated([WINDOW, "column"]).any()
    if is_double or len(keyed) != n_windows * len(keys):
        raise InputError(
            f"{len(keyed)} rows for {n_windows} windows and {len(keys)} metrics: every method and metric "
            "needs each window once"
        )
    values = keyed.pivot(index=WINDOW, columns="column", values=VALUE).sort_index()
    if values.isna().to_numpy().any() or values.index[-1] != n_windows - 1:
        raise InputError(f"the windows of the metrics are not 0…{n_windows - 1}, each with a value")
    return keys, values.to_numpy(dtype=np.float64)


def _user_sums(
    values: np.ndarray, code: np.ndarray, user_id: np.ndarray, n_groups: int
) -> tuple[np.ndarray, np.ndarray]:
    """Sums of each user's values in each group, (U, G, M), and how many there are, (U, G)."""
    users, user = np.unique(np.asarray(user_id), return_inverse=True)
    sums = np.zeros((len(users), n_groups, values.shape[1]))
    n = np.zeros((len(users), n_groups))
    np.add.at(sums, (user, code), values)
    np.add.at(n, (user, code), 1.0)
    return sums, n


def _divided(sums: np.ndarray, n: np.ndarray) -> np.ndarray:
    return np.where(n > 0, sums / np.where(n > 0, n, 1.0), np.nan)
