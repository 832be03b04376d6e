"""Formulas against made tables, and rules of statements that can go either way."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from reclib.analysis.tf_llmer import geometry_formulas as formulas
from reclib.analysis.tf_llmer import geometry_statements as statements
from reclib.registry import record_statements

SMALL = formulas.FormulaConfig(n_items=3000, width=24, n_draws=300)


def test_formulas_come_close_and_norms_take_the_probability() -> None:
    made = formulas.formula_step(SMALL, seed=0, workdir=None)  # type: ignore[arg-type]
    cone = made["cone"]  # the heaviest tail needs more items
    assert cone.loc[cone["norm_cv"] < 0.8, "ratio"].between(0.7, 1.3).all()
    clusters = made["clusters"]
    assert clusters.loc[clusters["n_clusters"] >= 8, "ratio"].between(0.7, 1.3).all()
    assert clusters["n_clusters"].max() <= SMALL.width / 2
    softmax = made["softmax"]
    assert softmax["n_effective"].is_monotonic_decreasing
    assert softmax["kappa"].iloc[-1] > 10 * softmax["kappa"].iloc[0]
    bounds = made["bounds"].set_index("bound")
    assert bounds["n_draws"].tolist() == [300] * 4
    assert not bounds["n_violated"].any()
    assert (bounds["tightest"] > 0.1).all()


def test_few_clusters_lose_a_direction_to_the_normalisation() -> None:
    """Scaling to length one takes each cluster's variance along its own centre, which (5) leaves out."""
    made = formulas.cluster_table(formulas.FormulaConfig(n_items=20_000, width=32, n_draws=1), 0)
    few = made[(made["n_clusters"] == 4) & (made["within_cosine"] > 0.6)]
    many = made[(made["n_clusters"] == 16) & (made["within_cosine"] > 0.6)]
    assert few["ratio"].min() > 1.3
    assert (made["measured"] / made["refined"]).between(0.95, 1.05).all()
    assert many["ratio"].max() < 1.2


def summary(cv: float, ratio: float, cosine: float) -> pd.DataFrame:
    rows: list[dict[str, Any]] = [
        {"table": table, "stage": stage, "norm_cv": cv, "norm_cv_low": cv - 0.01, "norm_cv_high": cv + 0.01}
        | {"norm_ratio": ratio, "mean_cosine": cosine, "mean_cosine_low": cosine - 0.01}
        for table in ("sentence", "lm_mean", "lm_last")
        for stage in ("text", "pca")
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("numbers", "holds"),
    [((0.2, 3, 0.5), True), ((0.105, 3, 0.5), False), ((0.2, 1.9, 0.5), False), ((0.2, 3, 0.305), False)],
)
def test_norms_hold_where_all_three_do(numbers: tuple[float, float, float], holds: bool) -> None:
    (found,) = statements.norm_statement(summary(*numbers), "made")
    assert (found["number"], found["holds"], found["value"]) == ("2", holds, numbers[0])


def levels(share: float = 0.9) -> pd.DataFrame:
    return pd.DataFrame({"normalised": [False, True], "level": 6.5, "share_of_bound": [1.0, share]})


def effect(low: float, risen: float) -> pd.DataFrame:
    rows = [(start, "kappa_ratio", low + 1, low, low + 2) for start in ("adapter", "pca", "rec_pca")]
    rows += [(start, "cv_difference", risen + 1, risen, risen + 2) for start in ("adapter", "pca")]
    rows.append(("random", "kappa_ratio", 0.1, 0.1, 0.1))  # is not asked
    return pd.DataFrame(rows, columns=["start", "measure", "value", "low", "high"])


@pytest.mark.parametrize(
    ("table", "changes", "holds"),
    [
        (levels(), effect(2.0, -1), True),
        (levels(), effect(1.9, -1), False),
        (levels(), effect(2.0, 0.1), False),
        (levels(1.1), effect(2.0, -1), False),
    ],
)
def test_conditioning_asks_for_kappa_the_variation_and_the_bound(
    table: pd.DataFrame, changes: pd.DataFrame, holds: bool
) -> None:
    (found,) = statements.conditioning_statement(table, changes, "made")
    assert found["holds"] is holds
    assert found["value"] == changes["value"].iloc[0]


@pytest.mark.parametrize(
    ("ratio", "violated", "holds"),
    [(1.2, 0, True), (0.72, 0, True), (1.31, 0, False), (0.69, 0, False), (1.2, 1, False)],
)
def test_formulas_hold_within_thirty_per_cent_without_a_violation(
    ratio: float, violated: int, holds: bool
) -> None:
    cone = pd.DataFrame({"measured": [2.0, 4.0], "predicted": [2.0, 3.8]})
    clusters = pd.DataFrame({"measured": [10.0], "refined": [9.0], "predicted": [10 * ratio]})
    bounds = pd.DataFrame({"n_violated": [0, violated], "n_tried": [90, 100]})
    (found,) = statements.formula_statement(cone, clusters, bounds)
    assert found["holds"] is holds
    ends = (ratio, min(ratio, 0.95), max(ratio, 1.0))
    assert (found["value"], found["low"], found["high"]) == pytest.approx(ends)
    assert "(5) refined is within 10.0%" in found["note"]


@pytest.mark.parametrize(
    ("overlap", "high", "aligned", "holds"),
    [(0.1, -0.01, 0.3, True), (0.25, -0.01, 0.3, False), (0.1, 0.01, 0.3, False), (0.1, -0.01, 0.1, False)],
)
def test_misalignment_asks_for_both_halves(overlap: float, high: float, aligned: float, holds: bool) -> None:
    shared = pd.DataFrame({"table": ["lm_mean"], "stage": ["text"], "value": overlap, "high": overlap})
    columns = ["start", "epoch", "difference", "low", "high"]
    differences = pd.DataFrame(
        [("aligned", 1, 5.0, 5.0, 5.0), ("aligned", 2, -0.1, -0.2, high)], columns=columns
    )
    starts = pd.DataFrame({"start": ["plain", "aligned"], "kernel_target_alignment": [0.2, aligned]})
    (found,) = statements.misalignment_statement(shared, differences, starts, "made")
    assert (found["holds"], found["value"]) == (holds, -0.1)


def sweep(kta: list[float]) -> pd.DataFrame:
    n = len(kta)
    falling, rising = [0.9 - 0.1 * at for at in range(n)], [0.1 * at for at in range(n)]
    rows = {"weight": [0.1 * at for at in range(n)], "total_variation": falling, "retained_variance": falling}
    rows |= {"edge_cosine": rising, "kernel_target_alignment": kta}
    table = pd.DataFrame(rows).assign(table="lm_mean", d=8, graph="training graph", kappa=1.0)
    infeasible = table.tail(1).assign(weight=9.0, kappa=float("nan"), total_variation=float("nan"))
    return pd.concat([table, infeasible, table.assign(graph="shuffled labels", edge_cosine=0.0)])


@pytest.mark.parametrize(
    ("kta", "overlap", "holds"),
    [([1, 2, 3], 1.0, True), ([1, 3, 2], 1.0, False), ([1, 2, 3], 0.99, False)],
)
def test_rec_pca_aligns_step_by_step(kta: list[float], overlap: float, holds: bool) -> None:
    (found,) = statements.rec_pca_statement(sweep(kta), pd.DataFrame({"overlap": [overlap]}), 8, "made")
    assert found["holds"] is holds
    assert found["value"] == kta[-1] - 1
    assert "low" not in found


def test_cost_is_judged_at_the_size_of_the_claim_and_nowhere_else() -> None:
    small = pd.DataFrame({"n_items": [1349, 70_000], "width": [4096, 576], "seconds": [1.0, 2.0]})
    assert statements.cost_statement(small, "made") == []
    whole = pd.DataFrame({"n_items": [63_001, 63_001], "width": [4096, 4096], "seconds": [80.0, 700.0]})
    (found,) = statements.cost_statement(whole, "made")
    assert (found["holds"], found["value"]) == (False, 700.0)
    assert statements.cost_statement(whole.head(1), "made")[0]["holds"]


def test_findings_are_rows_of_the_registry(tmp_path: Any) -> None:
    found = statements.norm_statement(summary(0.2, 3, 0.5), "made")
    found += statements.conditioning_statement(levels(), effect(2.0, -1), "made")
    (tmp_path / "smoke").mkdir()
    path = record_statements(found, "41_norm_disparity", profile="smoke", folder=tmp_path)
    assert pd.read_csv(path)["number"].tolist() == [2, 3]
