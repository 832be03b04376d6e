"""What makes a test example a hit: popularity in the data, popularity in the prior, or both together.

    logit P(hit) = b0 + b_data z(log n) + b_prior z(log q) + b_both z(log n) z(log q) + controls

The specification's regression (§7) [derived by us], with errors clustered by user
(`evaluation.clustered_logit`). Where hits are too few for it, the same terms explain a graded outcome, such
as the logarithm of the target's probability, by least squares (`evaluation.clustered_linear`) [derived by
us].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from reclib.data.dataset import Windows
from reclib.evaluation.clustered import ClusteredFit
from reclib.evaluation.clustered_linear import clustered_linear
from reclib.evaluation.clustered_logit import clustered_logit
from reclib.evaluation.metrics import METHOD
from reclib.schema import PAD_IDX, USER_ID, VALUE, InputError, check

DATA, PRIOR, BOTH, CONSTANT = "data", "prior", "data × prior", "constant"
HIT, LOG_DATA, LOG_PRIOR = "hit", "log_data", "log_prior"
_NORMAL_95 = 1.959964


def hit_examples(
    windows: Windows,
    ranks: Mapping[str, pd.Series],
    items: pd.DataFrame,
    *,
    k: int,
    title_tokens: np.ndarray | None = None,
    categories: Sequence[str] | None = None,
) -> pd.DataFrame:
    """One row a method and test window: whether it hit, popularities of the target, and controls.

    ranks: method → (W,) Int64; items: `prior_popularity.item_table`; title_tokens: (N,); categories: (N,)
    texts of names, such as "Action Comedy".
    Returns method, user_id, hit (rank ≤ k), log_data = log(n + 1), as items without a training interaction
    occur, log_prior, history_length, and title_tokens and same_category (items of the history that share a
    category with the target) where they are given.
    Raises InputError for ranks of other windows and for items of another catalogue.
    """
    target = np.asarray(windows.target_idx)
    if target.max(initial=0) > len(items):
        raise InputError(f"a target is item {target.max()}, the table has {len(items)}: pass all items")
    row = items.iloc[target - 1]
    base = pd.DataFrame(
        {
            USER_ID: np.asarray(windows.user_id),
            LOG_DATA: np.log1p(row["count"].to_numpy(dtype=float)),
            LOG_PRIOR: np.log(row["prior_popularity"].to_numpy(dtype=float)),
            "history_length": (windows.history != PAD_IDX).sum(axis=1),
        }
    )
    if title_tokens is not None:
        base["title_tokens"] = np.asarray(title_tokens)[target - 1]
    if categories is not None:
        base["same_category"] = shared_categories(windows, categories)
    parts = []
    for method, rank in ranks.items():
        if len(rank) != len(target):
            raise InputError(f"{method} has {len(rank)} ranks for {len(target)} windows")
        hit = (rank <= k).fillna(False).to_numpy(dtype=bool)
        parts.append(base.assign(hit=hit.astype(np.int64), method=method))
    table = pd.concat(parts, ignore_index=True)
    return table[[METHOD, USER_ID, HIT, *base.columns.drop(USER_ID)]]


def shared_categories(windows: Windows, categories: Sequence[str]) -> np.ndarray:
    """How many items of each history share a category with the target, (W,).

    categories: (N,) texts, their names divided by commas, or by blanks where there is no comma.
    """
    named = pd.Series([_names(text) for text in categories]).explode().dropna()
    code, names = pd.factorize(named)
    member = np.zeros((len(categories) + 1, len(names)), dtype=bool)  # (N+1, categories)
    member[named.index.to_numpy() + 1, code] = True
    wanted = member[windows.target_idx]
    shared = np.zeros(len(windows), dtype=np.int64)
    for column in windows.history.T:
        shared += (member[column] & wanted).any(axis=1)
    return shared


def hit_regression(
    examples: pd.DataFrame, *, controls: Sequence[str] = (), outcome: str = HIT
) -> pd.DataFrame:
    """Coefficients of each method with 95 % intervals, and what each term is worth.

    All columns are standardised over the method's examples, so a coefficient is per standard deviation. The
    drop in deviance is that of leaving out this term alone, all others staying.

    examples: of `hit_examples`; controls: names of its further columns; outcome: "hit", log-odds of which are
    explained, or the name of a column of numbers, which are explained themselves.
    Returns method, term ("constant", "data", "prior", "data × prior", then the controls), value, low, high,
    deviance_drop (NaN for the constant), n, n_users. Raises InputError as `clustered_logit` and
    `clustered_linear`.
    """
    _check(examples, controls, outcome)
    regress = _regression_of(outcome)
    parts = []
    for method, rows in examples.groupby(METHOD, sort=False):
        design = standard_columns(rows, controls)
        y, user = rows[outcome].to_numpy(), rows[USER_ID].to_numpy()
        fit = regress(design.to_numpy(), y, user)
        drops = [
            regress(design.drop(columns=term).to_numpy(), y, user).deviance - fit.deviance
            for term in design.columns[1:]
        ]
        part = _coefficients(fit, design.columns)
        part.insert(0, METHOD, method)
        parts.append(part.assign(deviance_drop=[np.nan, *drops], n=fit.n, n_users=fit.n_clusters))
    return pd.concat(parts, ignore_index=True)


def regression_difference(
    examples: pd.DataFrame, *, reference: str, controls: Sequence[str] = (), outcome: str = HIT
) -> pd.DataFrame:
    """Coefficients of every method minus those of one that never sees a title, with 95 % intervals.

    Both methods' examples in one regression in which every term may differ between them; as errors are
    clustered by user, the interval knows that both were tested on the same users.

    Returns method, reference, term, value, low, high, n, n_users.
    Raises InputError where there is no such method, and as `hit_regression`.
    """
    _check(examples, controls, outcome)
    methods = dict(list(examples.groupby(METHOD, sort=False)))
    if reference not in methods or len(methods) < 2:
        raise InputError(
            f"{reference} and another method are needed; there are {', '.join(map(str, methods))}"
        )
    theirs = methods.pop(reference)
    parts = []
    for method, ours in methods.items():
        designs = [standard_columns(rows, controls) for rows in (theirs, ours)]
        both = pd.concat(designs, ignore_index=True)
        is_ours = np.repeat([0.0, 1.0], [len(theirs), len(ours)])
        stacked = np.concatenate([both.to_numpy(), both.to_numpy() * is_ours[:, None]], axis=1)
        rows = pd.concat([theirs, ours])
        fit = _regression_of(outcome)(stacked, rows[outcome].to_numpy(), rows[USER_ID].to_numpy())
        part = _coefficients(fit, both.columns, first=len(both.columns))
        part.insert(0, METHOD, method)
        part.insert(1, "reference", reference)
        parts.append(part.assign(n=fit.n, n_users=fit.n_clusters))
    return pd.concat(parts, ignore_index=True)


def _names(text: object) -> list[str]:
    if not isinstance(text, str):
        return []
    names = text.split(",") if "," in text else text.split()
    return [name.strip() for name in names if name.strip()]


def _regression_of(outcome: str) -> Callable[[np.ndarray, np.ndarray, np.ndarray], ClusteredFit]:
    return clustered_logit if outcome == HIT else clustered_linear


def _coefficients(fit: ClusteredFit, terms: pd.Index, *, first: int = 0) -> pd.DataFrame:
    chosen = slice(first, first + len(terms))
    value, error = fit.coefficient[chosen], fit.error[chosen]
    low, high = value - _NORMAL_95 * error, value + _NORMAL_95 * error
    return pd.DataFrame({"term": terms, VALUE: value, "low": low, "high": high})


def standard_columns(rows: pd.DataFrame, controls: Sequence[str]) -> pd.DataFrame:
    """The columns of the regression of one method's examples: a constant, the terms and the controls."""
    data, prior = _standardised(rows[LOG_DATA]), _standardised(rows[LOG_PRIOR])
    terms = {CONSTANT: np.ones(len(rows)), DATA: data, PRIOR: prior, BOTH: data * prior}
    return pd.DataFrame(terms | {name: _standardised(rows[name]) for name in controls})


def _standardised(values: pd.Series) -> np.ndarray:
    array = values.to_numpy(dtype=np.float64)
    if not array.std() > 0:
        raise InputError(f"column {values.name} is the same for all examples (or NaN): leave it out")
    return (array - array.mean()) / array.std()


def _check(examples: pd.DataFrame, controls: Sequence[str], outcome: str) -> None:
    kinds = {METHOD: "string", USER_ID: "any", LOG_DATA: "float", LOG_PRIOR: "float"}
    kinds[outcome] = "int" if outcome == HIT else "float"
    check(examples, kinds | dict.fromkeys(controls, "float"), source="examples")
    if examples.empty:
        raise InputError("examples: no rows; a regression needs test examples")
