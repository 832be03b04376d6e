"""Our results under the names that [FAERec] Tables 1–5 print them, as rows for the registry.

Only its own data sets have rows there. A folder below RECLIB_DATA named beauty, grocery or yelp is taken for
one of them; results on other data sets stand in the notebooks' own tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from reclib.analysis.sequence_cells import ABLATIONS, BASE, FAEREC, IN_DIVERSITY, METHODS, datasets
from reclib.analysis.sequence_tables import MAIN_K
from reclib.evaluation.metrics import ALL, METHOD, TAIL
from reclib.schema import GROUP, METRIC, K

if TYPE_CHECKING:
    from reclib.analysis.sequence import SequenceBench

PRINTED_DATASETS = {"beauty": "Beauty", "grocery": "Grocery", "yelp": "Yelp"}
PRINTED_BACKBONES = {
    "sasrec": "SASRec",
    "fmlp": "FMLP-Rec",
    "lrurec": "LRURec",
    "narm": "NARM",
    "lightsans": "LightSANs",
    "gmlp": "gMLP",
}
PRINTED_METHODS = {
    BASE: "Base",
    "cities": "CITIES",
    "loam": "LOAM",
    "melt": "MELT",
    "rlmrec_con": "RLMRec-Con",
    "rlmrec_gen": "RLMRec-Gen",
    "llminit": "LLMInit",
    "llm_esr": "LLM-ESR",
    FAEREC: "FAERec",
    "without_gate": "w/o AGF",
    "without_item_alignment": "w/o ILA",
    "without_feature_alignment": "w/o FLA",
    "without_curriculum": "w/o CLS",
    "without_popularity_groups": "w/o PG",
}


@dataclass(frozen=True)
class PrintedTable:
    """What one table of the paper prints: its settings, data sets, backbones and methods."""

    setting: str
    datasets: tuple[str, ...]
    backbones: tuple[str, ...]
    methods: tuple[str, ...]


_MAIN = ("sasrec", "fmlp", "lrurec")
TABLES = {
    "2": PrintedTable(
        "{} backbone; leave-one-out, full ranking", ("beauty", "grocery", "yelp"), _MAIN, METHODS
    ),
    "3": PrintedTable("{} backbone, ablation", ("beauty",), _MAIN, (BASE, FAEREC, *ABLATIONS)),
    "4": PrintedTable(
        "{} backbone", ("beauty", "grocery", "yelp"), ("narm", "lightsans", "gmlp"), (BASE, FAEREC)
    ),
    "5": PrintedTable("{} backbone", ("beauty",), _MAIN, IN_DIVERSITY),
}


def accuracy_rows(table: str, comparison: pd.DataFrame, differences: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of [FAERec] Tables 2, 3 or 4: HR@10 and NDCG@10, on all and on tail targets.

    comparison, differences: of `sequence_tables`; a difference to another printed method goes into the row.
    """
    rows = comparison[comparison[K] == MAIN_K]
    rows = rows.assign(printed_metric=rows[METRIC] + f"@{MAIN_K}", subset=rows[GROUP])
    rows = rows[rows["subset"].isin([ALL, TAIL])]
    return [_row(table, row, differences) for row in _of_table(table, rows)]


def coverage_rows(coverage: pd.DataFrame, differences: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of [FAERec] Table 5: Coverage@10 and Tail_Coverage@10."""
    names = {ALL: f"Coverage@{MAIN_K}", TAIL: f"Tail_Coverage@{MAIN_K}"}
    rows = coverage[coverage[GROUP].isin(list(names))]
    rows = rows.assign(printed_metric=rows[GROUP].map(names), subset=ALL)
    return [_row("5", row, differences) for row in _of_table("5", rows)]


def statistics_rows(bench: SequenceBench) -> list[dict[str, Any]]:
    """Rows of [FAERec] Table 1: users, items, sparsity and mean length of the profile's data sets."""
    rows = []
    for dataset in (bench.dataset(data) for data in datasets(bench.profile)):
        if dataset.name in PRINTED_DATASETS:
            values = {
                "users": dataset.n_users,
                "items": dataset.n_items,
                "sparsity": 1 - dataset.density,
                "average length": dataset.n_interactions / dataset.n_users,
            }
            place = {"paper": "FAERec", "table": "1", "dataset": PRINTED_DATASETS[dataset.name]}
            rows += [
                {**place, "method": "-", "metric": metric, "ours": float(value), "protocol": "statistics"}
                for metric, value in values.items()
            ]
    return rows


def _of_table(table: str, rows: pd.DataFrame) -> list[dict[Any, Any]]:
    printed = TABLES[table]
    of_table = (
        rows["dataset"].isin(printed.datasets)
        & rows["backbone"].isin(printed.backbones)
        & rows[METHOD].isin(printed.methods)
    )
    return rows[of_table].to_dict("records")


def _row(table: str, row: Mapping[Any, Any], differences: pd.DataFrame) -> dict[str, Any]:
    return {
        "paper": "FAERec",
        "table": table,
        "dataset": PRINTED_DATASETS[row["dataset"]],
        "setting": TABLES[table].setting.format(PRINTED_BACKBONES[row["backbone"]]),
        "method": PRINTED_METHODS[row[METHOD]],
        "subset": row["subset"],
        "metric": row["printed_metric"],
        "ours": row["value"],
        "ours_low": row["low"],
        "ours_high": row["high"],
        "protocol": "full_ranking",
        **_against(row, differences),
    }


def _against(row: Mapping[Any, Any], differences: pd.DataFrame) -> dict[str, Any]:
    keys = ["dataset", "backbone", METHOD, METRIC, K, GROUP]
    same = (differences[keys] == pd.Series({key: row[key] for key in keys})).all(axis=1)
    if not same.any():
        return {}
    one = differences[same].iloc[0]
    return {
        "reference": PRINTED_METHODS[one["reference"]],
        "difference": one["difference"],
        "difference_low": one["low"],
        "difference_high": one["high"],
    }
