"""What the tables and lemmas of the MSL paper say here, as rows for the registry."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from reclib.analysis.findings import Finding, finding, interval_text, row_finding

_OF_HYBRIDS = ("llara_msl_ats", "a_llmrec_msl_ats")


def bound_statement(violations: pd.DataFrame, dataset: str) -> list[Finding]:
    """Statement 5: −log NDCG ≤ MSL ≤ LML; holds if no target of any model breaks either side.

    violations: `bound_tables.violations_table`; items are ranked by P_valid of their titles, as the lemma
    has one description an item.
    """
    rows = violations[violations["positives"] == "targets"]
    of_titles = rows[rows["ranked_by"] == "P_valid of titles"]
    broken = int(of_titles[["above_msl", "msl_above_lml"]].to_numpy().sum())
    n_targets = int(of_titles["pairs"].sum())
    by_items = int(rows.loc[rows["ranked_by"] == "P_valid of items", "above_msl"].sum())
    note = f"targets of {len(of_titles)} models that break it, of {n_targets}; {by_items} where items that "
    note += "share a title are ranked apart"
    return [finding("msl", "5", dataset, broken == 0, note, value=float(broken))]


def hybrid_statements(changes: Mapping[str, pd.DataFrame]) -> list[Finding]:
    """Statement 4b: with LLaRA and with A-LLMRec, MSL with ATS is above LML on NDCG@10.

    Holds if the paired interval of each is above 0, the rule of 4a; a data set without both is not tested.
    changes: `main_table.differences` by data set. The value is the smaller of the two differences.
    """
    findings = []
    for dataset, table in changes.items():
        rows = table[(table["metric"] == "NDCG") & (table["k"] == 10) & table["method"].isin(_OF_HYBRIDS)]
        if len(rows) < len(_OF_HYBRIDS):
            continue
        weaker = rows.sort_values("difference").iloc[0]
        note = "paired difference of NDCG@10: " + ", ".join(
            f"{row['method']} {row['difference']:.4f} " + interval_text(row)
            for row in rows.to_dict("records")
        )
        findings.append(row_finding("msl", "4b", dataset, bool((rows["low"] > 0).all()), note, weaker))
    return findings


def stability_statement(spread: pd.DataFrame, steps: pd.DataFrame, dataset: str) -> list[Finding]:
    """Statement 4c: S-DPO is between LML and MSL with ATS on NDCG@10, and spreads more over the seeds.

    Holds if both steps are above 0 with their paired intervals, and the deviation of S-DPO is above that of
    MSL with ATS with its interval, which is missing where the latter is 0. spread, steps: of `stability`.
    """
    rows = spread[(spread["metric"] == "NDCG") & (spread["k"] == 10) & (spread["method"] == "sdpo")]
    one = rows.iloc[0]
    changes = ", ".join(
        f"{row['method']} − {row['reference']} {row['difference']:.4f} {interval_text(row)}"
        for row in steps.to_dict("records")
    )
    note = f"deviation of S-DPO over that of MSL with ATS, {one['seeds']} seeds"
    if pd.isna(one["ratio"]):
        note += ", of which the latter is 0: no ratio"
    note += f"; NDCG@10: {changes}"
    holds = bool((steps["low"] > 0).all() and one["low"] > 1)
    return [row_finding("msl", "4c", dataset, holds, note, one, value="ratio")]


def cost_statement(cost: pd.DataFrame, dataset: str) -> list[Finding]:
    """Statement 4d: S-DPO takes about four times the training time of MSL; holds from three to five times.

    cost: `cost.cost_table`; the time is that of its reference by LML and of its own on as many windows.
    """
    own = cost[cost["method"] == "sdpo"].iloc[0]
    note = (
        f"training of the reference and of S-DPO on as many windows over that of MSL, {own['clock']} time; "
    )
    note += f"without the reference's tuning {own['of_msl']:.2f}"
    value = float(own["total_of_msl"])
    return [finding("msl", "4d", dataset, 3 <= value <= 5, note, value=value)]
