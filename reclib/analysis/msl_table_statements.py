"""What the tables and lemmas of the MSL paper say here, as rows for the registry."""

from __future__ import annotations

from typing import Any

import pandas as pd


def bound_statement(violations: pd.DataFrame, dataset: str) -> list[dict[str, Any]]:
    """Statement 5: −log NDCG ≤ MSL ≤ LML; holds if no target of any model breaks either side.

    violations: `msl_bound_tables.violations_table`; items are ranked by P_valid of their titles, as the lemma
    has one description an item.
    """
    rows = violations[violations["positives"] == "targets"]
    of_titles = rows[rows["ranked_by"] == "P_valid of titles"]
    broken = int(of_titles[["above_msl", "msl_above_lml"]].to_numpy().sum())
    n_targets = int(of_titles["pairs"].sum())
    by_items = int(rows.loc[rows["ranked_by"] == "P_valid of items", "above_msl"].sum())
    note = f"targets of {len(of_titles)} models that break it, of {n_targets}; {by_items} where items that "
    note += "share a title are ranked apart"
    return [_finding("5", dataset, broken == 0, note, value=float(broken))]


def _finding(number: str, dataset: str, holds: bool, note: str, **values: float) -> dict[str, Any]:
    return {"spec": "msl", "number": number, "dataset": dataset, "holds": holds, "note": note, **values}
