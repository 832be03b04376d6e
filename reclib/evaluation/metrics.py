"""HR@K, NDCG@K, coverage@K and the catalogue log-likelihood as long tables: per window first, then means."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from reclib.data.popularity import is_head
from reclib.evaluation.statistics import LEVEL, resampled_means, seeds_interval
from reclib.schema import GROUP, METRIC, PAD_IDX, VALUE, InputError, K

WINDOW = "window"
METHOD = "method"
SEED = "seed"
ALL = "all"
HEAD, TAIL = "head", "tail"


def per_window(
    ranks: pd.Series, cutoffs: Sequence[int], *, n_items: int, depth: int | None = None
) -> pd.DataFrame:
    """HR@K and NDCG@K of every window, from the rank of its one target.

    HR@K = 1[rank ≤ K];  NDCG@K = 1[rank ≤ K] / log2(rank + 1), as the ideal DCG of a single target is 1.
    A target that is missing from its list (`<NA>`) scores 0.

    ranks: (W,) Int64; depth: length of the lists that the ranks come from, if they come from lists.
    Returns window (0…W−1), metric ("HR", "NDCG"), k, value; one row a window, metric and cut-off.
    Raises InputError for a cut-off below 1, above the catalogue or above `depth`, and for a rank below 1.
    """
    check_cutoffs(cutoffs, n_items=n_items, depth=depth)
    rank = ranks.astype("Float64").to_numpy(dtype=np.float64, na_value=np.inf)
    if (rank < 1).any():
        row = int((rank < 1).argmax())
        raise InputError(f"row {row}: rank {rank[row]:g} is below 1, the best rank")
    gain = 1 / np.log2(rank + 1)  # 0 where the target is missing
    parts = []
    for k in cutoffs:
        hit = rank <= k
        parts += [_long("HR", hit.astype(float), k), _long("NDCG", gain * hit, k)]
    return pd.concat(parts, ignore_index=True)


def catalogue_nll(nll: np.ndarray) -> pd.DataFrame:
    """Rows of metric "catalogue_nll" for −log P_valid(target) of every window, in nats; k is `<NA>`.

    nll: (W,). Raises InputError on a value that is negative or not finite, naming the row.
    """
    nll = np.asarray(nll, dtype=np.float64)
    bad = ~np.isfinite(nll) | (nll < 0)
    if bad.any():
        row = int(bad.argmax())
        raise InputError(f"row {row}: −log P is {nll[row]}, not a finite negative log-probability")
    return _long("catalogue_nll", nll, None)


def summarise(
    table: pd.DataFrame,
    groups: Sequence[str] | np.ndarray | pd.Categorical | None = None,
    *,
    generator: np.random.Generator,
    cluster: np.ndarray | None = None,
    n_resamples: int = 1000,
    level: float = LEVEL,
) -> pd.DataFrame:
    """Means over windows, and over seeds where there are several, with their intervals (`seeds_interval`).

    For all windows and for each group of them.

    table: (window, metric, k, value), `method` where it holds several methods, which are kept apart, and
    `seed` where it holds several runs; groups: (W,) label of window 0…W−1, such as `head_or_tail` gives;
    cluster: (W,) user of window 0…W−1, see `statistics.resampled_means`.
    Returns method (if given), metric, k, group ("all" first), value, low, high, n (windows).
    Raises InputError where the metrics and seeds of a method do not cover the same windows, each once.
    """
    parts = []
    methods = table.groupby(METHOD, sort=False) if METHOD in table else [(None, table)]
    for method, rows in methods:
        keys, windows, values = _wide(rows)
        for group, chosen in _groups(windows, groups):
            of_group = values[chosen]  # (windows of the group, seeds, metrics)
            draws = resampled_means(
                of_group,
                generator=generator,
                cluster=None if cluster is None else np.asarray(cluster)[windows[chosen]],
                n_resamples=n_resamples,
            )
            by_seed = of_group.mean(axis=0)
            low, high = seeds_interval(by_seed, draws, level=level)
            part = keys.assign(group=group, value=by_seed.mean(axis=0), low=low, high=high, n=len(of_group))
            if method is not None:
                part.insert(0, METHOD, method)
            parts.append(part)
    return pd.concat(parts, ignore_index=True)


def coverage(
    items: np.ndarray, cutoffs: Sequence[int], *, n_items: int, counts: np.ndarray | None = None
) -> pd.DataFrame:
    """Share of the catalogue that stands in at least one list.

    coverage@K = |∪_u list_u[:K]| / N, and the same within head and tail items if training `counts` are given.

    items: (B, K') item_idx, best first, 0 where a list has no more items; counts: (N+1,).
    Returns rows like `summarise`, low and high NaN, n = B. Raises InputError for an item outside 0…N.
    """
    items = np.asarray(items)
    check_cutoffs(cutoffs, n_items=n_items, depth=items.shape[1])
    if items.size and (items.min() < PAD_IDX or items.max() > n_items):
        raise InputError(f"a list holds an item outside 0…{n_items}: these lists are of another catalogue")
    members = {ALL: np.ones(n_items, dtype=bool)}
    if counts is not None:
        head = is_head(counts)[1:]
        members |= {HEAD: head, TAIL: ~head}
    rows = []
    for k in cutoffs:
        shown = np.zeros(n_items + 1, dtype=bool)
        shown[items[:, :k]] = True
        for group, member in members.items():
            share = shown[PAD_IDX + 1 :][member].mean() if member.any() else np.nan
            rows.append(("coverage", k, group, share, np.nan, np.nan, len(items)))
    table = pd.DataFrame(rows, columns=[METRIC, K, GROUP, VALUE, "low", "high", "n"])
    return table.astype({K: "Int64"})


def head_or_tail(target: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Whether each target is a head or a tail item, by training interactions only.

    target: (W,) item_idx; counts: (N+1,). Returns (W,) "head" or "tail".
    """
    return np.where(is_head(counts)[target], HEAD, TAIL)


def check_cutoffs(cutoffs: Sequence[int], *, n_items: int, depth: int | None = None) -> None:
    """Refuse cut-offs that no ranking of this catalogue, or no list of this length, can answer."""
    for k in cutoffs:
        if not 1 <= k <= n_items:
            raise InputError(f"cut-off K = {k}, the catalogue has {n_items} items: choose 1 to {n_items}")
        if depth is not None and k > depth:
            raise InputError(f"cut-off K = {k}, the lists hold {depth} items: make longer lists or lower K")
    if not cutoffs:
        raise InputError("no cut-offs: name at least one K, such as (5, 10)")


def _long(metric: str, values: np.ndarray, k: int | None) -> pd.DataFrame:
    table = pd.DataFrame({WINDOW: np.arange(len(values)), METRIC: metric, K: pd.NA, VALUE: values})
    table[K] = pd.array([k] * len(values), dtype="Int64")
    return table


def _wide(table: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """The (metric, k) of each column, the windows (W,), and the values (W, seeds, columns)."""
    column = table.groupby([METRIC, K], sort=False, dropna=False).ngroup()
    seed = table.groupby(SEED, sort=False, dropna=False).ngroup() if SEED in table else 0
    keyed = table.assign(column=column, run=seed)
    if keyed.duplicated([WINDOW, "run", "column"]).any():
        raise InputError(
            "a window has several values of one metric: add a `method` or `seed` column, or summarise one run"
        )
    keys = keyed.drop_duplicates("column").sort_values("column")[[METRIC, K]].reset_index(drop=True)
    values = keyed.pivot(index=WINDOW, columns=["run", "column"], values=VALUE).sort_index(axis=1)
    n_seeds = keyed["run"].nunique()
    if len(values) * n_seeds * len(keys) != len(keyed):
        raise InputError("the metrics and seeds do not cover the same windows: summarise them separately")
    return keys, values.index.to_numpy(), values.to_numpy().reshape(len(values), n_seeds, len(keys))


def _groups(
    windows: np.ndarray, groups: Sequence[str] | np.ndarray | pd.Categorical | None
) -> Iterator[tuple[str, np.ndarray]]:
    yield ALL, np.ones(len(windows), dtype=bool)
    if groups is None:
        return
    if len(groups) <= windows.max(initial=-1):
        raise InputError(
            f"{len(groups)} group labels for windows up to {windows.max()}: pass one label a window"
        )
    labels = pd.Categorical(pd.Series(groups))
    codes = labels.codes[windows]
    for code, label in enumerate(labels.categories):
        if (codes == code).any():
            yield str(label), codes == code
