"""The rows and columns of the tables of sequence recommenders that figures show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from reclib.analysis.sequence_cells import ABLATIONS, ALIGNMENT, BASE, FAEREC, REDUNDANCY
from reclib.analysis.sequence_tables import GROUP_LABELS, MAIN_K
from reclib.evaluation.metrics import ALL, METHOD, TAIL
from reclib.schema import GROUP, METRIC, VALUE, K

_ENDS = [VALUE, "low", "high"]
GRID = ["dataset", "backbone", METHOD, METRIC, K, GROUP, *_ENDS]


def comparison_panels(
    table: pd.DataFrame,
    *,
    metric: str = "NDCG",
    groups: Sequence[str] = (ALL, TAIL),
    methods: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Rows of a comparison for `figures.comparison_grid`: one metric at 10, panels by place and group."""
    rows = table[(table[METRIC] == metric) & (table[K] == MAIN_K) & table[GROUP].isin(list(groups))]
    if methods is not None:
        rows = rows[rows[METHOD].isin(list(methods))]
    order = rows[GROUP].map({group: place for place, group in enumerate(groups)})
    places = rows.groupby(["dataset", "backbone"], sort=False).ngroup()
    rows = rows.assign(place=places, order=order).sort_values(["place", "order"], kind="stable")
    return rows[[*GRID, "n"]].reset_index(drop=True)


def backbone_panels(table: pd.DataFrame, *, metric: str = "NDCG") -> pd.DataFrame:
    """The same with backbones as the rows of each panel: runs without a method, and popularity once."""
    rows = table[table[METHOD] == BASE]
    popular = table[(table[METHOD] == "popularity") & (table["backbone"] == table["backbone"].iloc[0])]
    named = rows.assign(**{METHOD: rows["backbone"]})
    both = pd.concat([named, popular], ignore_index=True).assign(backbone="sasrec")
    return comparison_panels(both, metric=metric, groups=(ALL, "head", TAIL))


def popularity_panels(
    table: pd.DataFrame, methods: Sequence[str], *, backbone: str, metric: str = "NDCG"
) -> pd.DataFrame:
    """Rows for `figures.accuracy_by_popularity`: the five groups, of one backbone; table: by popularity.

    Runs without a method go by the backbone's name where nothing else is shown.
    """
    rows = table[(table[METRIC] == metric) & (table[K] == MAIN_K) & (table["backbone"] == backbone)]
    rows = rows[rows[METHOD].isin(list(methods)) & rows[GROUP].isin(GROUP_LABELS)]
    place = rows[METHOD].map({method: at for at, method in enumerate(methods)})
    at = rows.groupby("dataset", sort=False).ngroup()
    rows = rows.assign(at=at, place=place).sort_values(["at", "place"], kind="stable")
    if tuple(methods) == (BASE,):
        rows = rows.assign(method=backbone)
    return rows[["dataset", METHOD, METRIC, K, GROUP, *_ENDS, "n"]].reset_index(drop=True)


def cost_panel(table: pd.DataFrame, cost: pd.DataFrame, *, metric: str = "NDCG") -> pd.DataFrame:
    """Rows for `figures.accuracy_and_cost`: each backbone's accuracy and the CPU seconds of its training."""
    rows = table[
        (table[METRIC] == metric) & (table[K] == MAIN_K) & (table[GROUP] == ALL) & (table[METHOD] == BASE)
    ]
    seconds = cost[cost[METHOD] == BASE].set_index("backbone")["train_cpu_seconds"]
    rows = rows.assign(**{METHOD: rows["backbone"], "seconds": rows["backbone"].map(seconds)})
    return rows[[METHOD, "seconds", METRIC, K, *_ENDS]].reset_index(drop=True)


def ablation_panels(differences: pd.DataFrame) -> pd.DataFrame:
    """Rows for `figures.comparison_grid`: each ablation minus FAERec in NDCG@10, on all and tail targets."""
    rows = differences[differences[METHOD].isin([BASE, *ABLATIONS]) & (differences[METRIC] == "NDCG")]
    name = f"change in NDCG@{MAIN_K}"
    rows = rows.assign(value=rows["difference"], metric=name)
    panels = comparison_panels(rows, metric=name)
    return panels.assign(**{K: pd.array([pd.NA] * len(panels), dtype="Int64")})


def sensitivity_panels(table: pd.DataFrame, *, metric: str = "HR") -> pd.DataFrame:
    """Rows for `figures.sensitivity` from a comparison of `sensitivity_cells`; the backbone in each panel."""
    rows = table[(table[METRIC] == metric) & (table[K] == MAIN_K) & (table[GROUP] == ALL)]
    parts = []
    for dataset in rows["dataset"].unique():
        own = rows[rows["dataset"] == dataset]
        for parameter in (REDUNDANCY, ALIGNMENT):
            swept = own[own[METHOD].str.startswith(f"{parameter}_")]
            setting = swept[METHOD].str.removeprefix(f"{parameter}_").astype(float)
            base = own[own[METHOD] == BASE].assign(parameter=parameter, setting=np.nan)
            parts += [base, swept.assign(parameter=parameter, setting=setting, **{METHOD: FAEREC})]
    columns = ["dataset", "parameter", "setting", METHOD, METRIC, K, *_ENDS]
    return pd.concat(parts, ignore_index=True)[columns]


def best_settings(panels: pd.DataFrame) -> pd.DataFrame:
    """The setting of each parameter with the highest value, and how far the values spread over the range.

    Returns dataset, parameter, setting, value, low, high, spread (highest minus lowest value).
    """
    rows = []
    for (dataset, parameter), own in panels.dropna(subset="setting").groupby(
        ["dataset", "parameter"], sort=False
    ):
        best = own.sort_values(VALUE).iloc[-1]
        spread = own[VALUE].max() - own[VALUE].min()
        rows.append((dataset, parameter, best["setting"], *best[_ENDS], spread))
    return pd.DataFrame(rows, columns=["dataset", "parameter", "setting", *_ENDS, "spread"])


def gain_panels(differences: pd.DataFrame, *, metric: str = "NDCG") -> pd.DataFrame:
    """Rows for `figures.comparison_grid`: FAERec minus its backbone, on all and tail targets, by backbone."""
    rows = differences[(differences[METHOD] == FAEREC) & (differences[METRIC] == metric)]
    name = f"gain in {metric}@{MAIN_K}"
    rows = rows.assign(value=rows["difference"], metric=name, method=rows["backbone"], backbone="sasrec")
    panels = comparison_panels(rows, metric=name)
    return panels.assign(**{K: pd.array([pd.NA] * len(panels), dtype="Int64")})
