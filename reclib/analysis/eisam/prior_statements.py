"""Findings on statements 2, 3, 4, 9, 10 and 11 of EISAM's specification, as rows for the registry.

Each rule was written down before a result was seen. Thresholds are the specification's, where it names one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from reclib.analysis.eisam.prior_effects import Dominance
from reclib.analysis.eisam.prior_study import GRADED, TUNED, UNTUNED
from reclib.analysis.eisam.sharpness_bounds import log_slope
from reclib.analysis.findings import Finding, interval_text, row_finding
from reclib.evaluation.correlation import Correlation
from reclib.evaluation.metrics import METHOD
from reclib.schema import GROUP, METRIC, VALUE, K

DOMINATES = 2.0  # times the deviance
COST, COST_TWO = 3.0, 2.2  # steps of ERM that EISAM and EISAM-2 may cost
FLAT = 1.25  # largest over smallest cost in steps of ERM, over all sizes of the catalogue [ours]
GROWS = 1.5  # times as many steps of ERM for the largest batch as for the smallest [ours]
IDENTICAL = 1e-6
SLOPE_ROOT, SLOPE_FAST, SLOPE_NEAR = (
    -0.5,
    -1.0,
    0.1,
)  # of (6) and (7) over n; logarithms of n bend both [ours]


def both_matter_statement(
    regressions: pd.DataFrame, differences: pd.DataFrame, placebo: pd.DataFrame, dataset: str
) -> Finding:
    """Statement 2, of the tuned model: both coefficients above 0, the prior's more than by ID and by chance.

    Holds if the intervals of data and prior lie above 0, and of the prior's difference to the ID-only model
    too, and the coefficient lies above the draws of the placebo. On hits where the tuned model has enough of
    them for a regression, else on the logarithm of the target's probability, and the note says so.
    value: the prior's coefficient. differences, regressions, placebo: of `prior_effects`.
    """
    has_hits = ((regressions["outcome"] == "hit") & (regressions[METHOD] == TUNED)).any()
    outcome = "hit" if has_hits else GRADED
    own = _tuned(regressions[regressions["outcome"] == outcome])
    against = _tuned(differences[differences["outcome"] == outcome])
    chance = _tuned(placebo)
    is_above_id = "prior" in against and bool(against["prior"]["low"] > 0)
    is_above_chance = bool(chance["prior"][VALUE] > chance["prior"]["high"])
    are_above = bool(own["data"]["low"] > 0 and own["prior"]["low"] > 0)
    what = "log-odds of a hit" if has_hits else "log P of the target, as hits are too few for a regression"
    note = (
        f"coefficient of the prior per SD, {what}; of the data {own['data'][VALUE]:.2f} "
        f"{interval_text(own['data'], '.2f')}; more than SASRec's: "
        f"{_yes(is_above_id)}; than with shuffled titles: {_yes(is_above_chance)}"
    )
    return row_finding(
        "eisam", "2", dataset, are_above and is_above_id and is_above_chance, note, own["prior"], value=VALUE
    )


def intersection_statement(cells: pd.DataFrame, contrasts: pd.DataFrame, dataset: str, k: int) -> Finding:
    """Statement 3, of the tuned model: NDCG@K is highest in HH, and HH − HT − TH + TT is above 0.

    Holds if the interval of that interaction is above 0 and no cell has a higher mean.
    """
    ours = cells[(cells[METHOD] == TUNED) & (cells[METRIC] == "NDCG") & (cells[K] == k)]
    means = ours.set_index(GROUP)[VALUE]
    rows = contrasts[(contrasts[METHOD] == TUNED) & (contrasts["contrast"] == "interaction")]
    found = rows[(rows[METRIC] == "NDCG") & (rows[K] == k)].iloc[0]
    graded = rows[rows[METRIC] == GRADED].iloc[0]
    highest = str(means.idxmax())
    note = (
        f"HH − HT − TH + TT of NDCG@{k}; highest cell {highest}; of log P "
        f"{graded[VALUE]:.2f} {interval_text(graded, '.2f')}"
    )
    return row_finding(
        "eisam", "3", dataset, highest == "HH" and bool(found["low"] > 0), note, found, value=VALUE
    )


def dominance_statement(tuned: Dominance, untuned: Dominance, dataset: str) -> Finding:
    """Statement 4: the data explains twice what the prior does after tuning, and much less so before.

    Holds if the ratio of the drops in deviance is at least 2 after tuning with an interval above 1, and
    before tuning it is below 1 or below half of that. Measured on the logarithm of the target's probability.
    """
    is_less_before = untuned.value < 1 or untuned.value < tuned.value / 2
    holds = tuned.value >= DOMINATES and tuned.low > 1 and is_less_before
    note = (
        f"deviance by log n over that by log q, log P of the target, {TUNED}; {UNTUNED}: {untuned.value:.2g} "
        f"({untuned.low:.2g} to {untuned.high:.2g})"
    )
    return row_finding("eisam", "4", dataset, holds, note, tuned._asdict(), value=VALUE)


def cost_statement(cost: pd.DataFrame, naive: pd.DataFrame, dataset: str) -> Finding:
    """Statement 9: EISAM costs at most 3 steps of ERM, EISAM-2 2.2, at every size; naive grows with a batch.

    Holds if the costs stay at or below these everywhere, change by no more than a quarter from the cheapest
    to the dearest size of each model, and an ascent for each item costs at least half as much again, in steps
    of ERM, for the largest batch as for the smallest. value: the worst cost of EISAM; low, high: over sizes.
    cost: of `sharpness_cost.cost_step`; naive: its table "batches".
    """
    worst = {name: cost.loc[cost[METHOD] == name, "ratio"].max() for name in ("eisam", "eisam2")}
    three = cost.loc[cost[METHOD] == "eisam"]
    spread = three.groupby("model")["ratio"].agg(lambda ratio: ratio.max() / ratio.min()).max()
    exact = naive[naive[METHOD] == "naive"].sort_values("batch")["ratio"]
    growth = exact.iloc[-1] / exact.iloc[0]
    holds = worst["eisam"] <= COST and worst["eisam2"] <= COST_TWO and spread <= FLAT and growth >= GROWS
    note = (
        f"worst cost of EISAM in steps of ERM, EISAM-2 {worst['eisam2']:.2f}; over sizes of the catalogue it "
        f"changes by a factor of {spread:.2f}; item by item {exact.iloc[0]:.0f} to {exact.iloc[-1]:.0f} with "
        f"the batch; low and high: least and largest"
    )
    row = {VALUE: worst["eisam"], "low": three["ratio"].min(), "high": three["ratio"].max()}
    return row_finding("eisam", "9", dataset, bool(holds), note, row, value=VALUE)


def gap_statement(
    slopes: pd.DataFrame, correlation: Correlation, bounds: pd.DataFrame, dataset: str
) -> Finding:
    """Statement 10: a flatter gap under EISAM, a gap that goes with sharpness, and the shape of both bounds.

    Holds if the interval of the exponent under EISAM minus that under ERM is above 0 (both are negative), the
    interval of Spearman(gap, S | n) under ERM is above 0, and the terms of (6) and (7) have exponents within
    0.1 of −1/2 and −1. value: the difference of the exponents.
    """
    row = slopes[slopes[METHOD] == "eisam"].iloc[0]
    root, fast = log_slope(bounds, "term_root"), log_slope(bounds, "term_fast")
    is_shaped = abs(root - SLOPE_ROOT) <= SLOPE_NEAR and abs(fast - SLOPE_FAST) <= SLOPE_NEAR
    holds = row["difference_low"] > 0 and correlation.low > 0 and is_shaped
    note = (
        f"exponent of the gap over n under EISAM minus ERM's; Spearman(gap, S | n) {correlation.value:.2f} "
        f"({correlation.low:.2f} to {correlation.high:.2f}); terms of (6), (7): {root:.2f}, {fast:.2f}"
    )
    found = {VALUE: row["difference"], "low": row["difference_low"], "high": row["difference_high"]}
    return row_finding("eisam", "10", dataset, bool(holds), note, found, value=VALUE)


def identity_statement(identities: pd.DataFrame, dataset: str) -> Finding:
    """Statement 11: SAM, ImbSAM and ERM come out as special cases, to 1e-6 of the gradient's length.

    identities: of `sharpness_identities.identity_table`. value: the worst of them.
    """
    worst = identities.sort_values("difference").iloc[-1]
    note = (
        f"largest distance, over the gradient's length, of {len(identities)} identities: {worst['identity']}"
    )
    row = {VALUE: worst["difference"], "low": np.nan, "high": np.nan}
    return row_finding("eisam", "11", dataset, bool(worst["difference"] <= IDENTICAL), note, row, value=VALUE)


def _tuned(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """The rows of the tuned model by their term."""
    rows = table[table[METHOD] == TUNED].to_dict("records")
    return {row["term"]: {str(name): value for name, value in row.items()} for row in rows}


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "no"
