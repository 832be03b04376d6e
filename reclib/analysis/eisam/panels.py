"""Rows that the tables and figures of the EISAM study show, from those of `sequence_tables`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from reclib.analysis.eisam.cells import EISAM, ERM, GAMMA, PENALTY, RADIUS, REWEIGHT, SAM, UNWEIGHTED
from reclib.analysis.sequence_cells import Trained
from reclib.analysis.sequence_panels import comparison_panels
from reclib.analysis.sequence_tables import MAIN_K, differences_table
from reclib.evaluation.baselines import POPULARITY
from reclib.evaluation.metrics import ALL, HEAD, METHOD, TAIL
from reclib.schema import GROUP, METRIC, VALUE, K

if TYPE_CHECKING:
    from reclib.analysis.sequence import SequenceBench

CONTROLS = (SAM, UNWEIGHTED, REWEIGHT)  # that EISAM has to be above, beside ERM
_ENDS = [VALUE, "low", "high"]


def differences(trained: Trained, bench: SequenceBench) -> pd.DataFrame:
    """Every method minus ERM, and EISAM minus each of its controls: rows of `differences_table`."""
    parts = [differences_table(trained, bench, reference=ERM)]
    parts += [differences_table(trained, bench, reference=name, methods=[EISAM]) for name in CONTROLS]
    return pd.concat(parts, ignore_index=True)


def trade_off(differences: pd.DataFrame, *, metric: str = "NDCG") -> pd.DataFrame:
    """Rows for `figures.tail_against_overall`: change against ERM on all and on tail targets, a row a method.

    Returns dataset, method, metric, k, overall, overall_low, overall_high, tail, tail_low, tail_high.
    """
    rows = differences[(differences["reference"] == ERM) & (differences[METRIC] == metric)]
    keys = ["dataset", METHOD, METRIC, K]
    sides = []
    for group, name in ((ALL, "overall"), (TAIL, "tail")):
        own = rows[rows[GROUP] == group].set_index(keys)[["difference", "low", "high"]]
        sides.append(own.set_axis([name, f"{name}_low", f"{name}_high"], axis=1))
    return pd.concat(sides, axis=1).reset_index().astype({K: "Int64"})


def sensitivity(comparison: pd.DataFrame, *, metric: str = "NDCG") -> pd.DataFrame:
    """Rows for `figures.eisam_sensitivity` from a comparison of `sensitivity_cells`, ERM in each panel.

    Returns parameter, setting (missing for ERM), method, metric, k, group, value, low, high.
    """
    rows = comparison[(comparison[METRIC] == metric) & (comparison[K] == MAIN_K)]
    rows = rows[rows[GROUP].isin([ALL, TAIL])]
    parts = []
    for parameter in (RADIUS, PENALTY, GAMMA):
        swept = rows[rows[METHOD].str.startswith(f"{parameter}_")]
        setting = swept[METHOD].str.removeprefix(f"{parameter}_").astype(float)
        plain = rows[rows[METHOD] == ERM].assign(parameter=parameter, setting=np.nan)
        parts += [plain, swept.assign(parameter=parameter, setting=setting, **{METHOD: EISAM})]
    columns = ["parameter", "setting", METHOD, METRIC, K, GROUP, *_ENDS]
    return pd.concat(parts, ignore_index=True)[columns]


def spreads(panels: pd.DataFrame) -> pd.DataFrame:
    """The best setting of each parameter and group on the test windows, and how far the values spread.

    Returns parameter, group, setting, value, low, high, spread (highest minus lowest), erm.
    """
    rows = []
    for (parameter, group), own in panels.groupby(["parameter", GROUP], sort=False):
        swept = own.dropna(subset="setting").sort_values(VALUE)
        best, plain = swept.iloc[-1], own[own[METHOD] == ERM].iloc[0]
        spread = swept[VALUE].iloc[-1] - swept[VALUE].iloc[0]
        rows.append((parameter, group, best["setting"], *best[_ENDS], spread, plain[VALUE]))
    return pd.DataFrame(rows, columns=["parameter", GROUP, "setting", *_ENDS, "spread", ERM])


def main_panels(comparison: pd.DataFrame, *, metric: str = "NDCG") -> pd.DataFrame:
    """Rows for `figures.comparison_grid`: one metric at 10 on all, head and tail targets."""
    panels = comparison_panels(comparison, metric=metric, groups=(ALL, HEAD, TAIL))
    return panels[panels[METHOD] != POPULARITY].reset_index(drop=True)
