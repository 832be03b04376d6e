"""What becomes of accuracy where a hit is an item of the target's title, not the target itself.

[MSL]'s released code compares titles as strings; ours ranks items, and those of one title follow one another.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from reclib.analysis.workbench import Workbench
from reclib.artifacts import Artifact
from reclib.config import Profile
from reclib.decoding.lists import listed_items
from reclib.evaluation.metrics import per_window
from reclib.evaluation.ranks import ranks_by_title
from reclib.schema import RANK, TARGET_IDX
from reclib.text.title_index import TitleIndex


def policy_table(
    ranked: Mapping[tuple[str, int], Artifact], bench: Workbench, profile: Profile
) -> pd.DataFrame:
    """Means over windows and seeds under both policies.

    Lists are those of items, so a list with items of one title has fewer distinct titles than K.
    Returns method, metric, k, by_item, by_title, shared (share of targets whose title another item has).
    """
    title = title_numbers(bench.dataset.titles)
    is_shared = np.isin(np.arange(len(title)), TitleIndex(bench.dataset.titles).shared())
    parts: dict[str, list[pd.DataFrame]] = {"by_item": [], "by_title": []}
    for (method, _), artifact in ranked.items():
        windows = artifact["windows"]
        target = windows[TARGET_IDX].to_numpy()
        lists = listed_items(artifact["lists"], n_lists=len(windows), length=profile.decoding.top_k)
        ranks = {"by_item": windows[RANK], "by_title": ranks_by_title(lists, target, title)}
        for policy, rank in ranks.items():
            values = per_window(
                rank,
                profile.evaluation.cutoffs,
                n_items=bench.dataset.n_items,
                depth=profile.decoding.top_k,
            )
            parts[policy].append(values.assign(method=method, shared=is_shared[target].mean()))
    keys = ["method", "metric", "k", "shared"]
    means = {name: pd.concat(of).groupby(keys, sort=False)["value"].mean() for name, of in parts.items()}
    return pd.DataFrame(means).reset_index()[["method", "metric", "k", "by_item", "by_title", "shared"]]


def title_numbers(titles: list[str]) -> np.ndarray:
    """A number for each item's title, equal for equal titles, (N+1,); padding has one of its own, −1."""
    return np.append(-1, pd.factorize(np.asarray(titles, dtype=object))[0])
