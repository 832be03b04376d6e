"""What the geometry study found about statements 2, 3, 4, 5, 6 and 10 of TF-LLMER's specification (§9).

Directions are the abstract's where the specification marks them so, thresholds are ours. The rules were
written before the runs. Where a statement is about several tables, all must meet it, and `value` with its
interval is that of the one that is furthest from it.
"""

from __future__ import annotations

import pandas as pd

from reclib.analysis.findings import Finding, finding, row_finding
from reclib.analysis.tf_llmer.geometry_clusters import last_difference
from reclib.analysis.tf_llmer.geometry_conditioning import LLM_STARTS
from reclib.analysis.tf_llmer.geometry_norms import RAW, REDUCED, of_lm
from reclib.analysis.tf_llmer.geometry_rec_pca import OWN

NORM_CV, NORM_RATIO, MEAN_COSINE = 0.1, 2.0, 0.3  # statement 2
KAPPA_FALLS = 2.0  # statement 3
WITHIN = 0.3  # statement 4
OVERLAP = 0.2  # statement 5
SAME_SUBSPACE = 0.999  # statement 6
COST_ITEMS, COST_WIDTH, COST_SECONDS = 60_000, 4_096, 600.0  # statement 10: "in minutes" is under ten


def norm_statement(summary: pd.DataFrame, dataset: str) -> list[Finding]:
    """Statement 2: norm cv > 0.1 and max/min > 2 of the table that enters the softmax, mean cosine > 0.3.

    Of both tables of the causal LM: norms of the texts by PCA at their own lengths, cosines of the texts
    themselves. Holds if the lower ends of cv and cosine are above. Value: the smaller cv.
    """
    reduced, raw = of_lm(summary, REDUCED), of_lm(summary, RAW)
    weakest = reduced.sort_values("norm_cv_low").iloc[0]
    is_unlike = (reduced["norm_cv_low"] > NORM_CV).all() and (reduced["norm_ratio"] > NORM_RATIO).all()
    is_cone = bool((raw["mean_cosine_low"] > MEAN_COSINE).all())
    cosines = ", ".join(f"{row['table']} {row['mean_cosine']:.2f}" for _, row in raw.iterrows())
    note = (
        f"norm cv by PCA, {weakest['table']}; max/min {reduced['norm_ratio'].min():.1f} and more; mean "
        f"cosine of the texts: {cosines}"
    )
    names = {"value": "norm_cv", "low": "norm_cv_low", "high": "norm_cv_high"}
    values = {name: float(weakest[column]) for name, column in names.items()}
    return [finding("tf_llmer", "2", dataset, bool(is_unlike) and is_cone, note, **values)]


def conditioning_statement(levels: pd.DataFrame, effect: pd.DataFrame, dataset: str) -> list[Finding]:
    """Statement 3: at equal loss median κ falls by at least 2, λ_max ≤ s² always, its cv does not rise.

    levels: `at_equal_loss`; effect: `normalisation_effect`. Of the three starts that read texts. Holds if
    the lower ends of the ratios are at least 2, no interval of the change of cv is wholly above 0, and no
    λ_max passed its bound. Value: the smallest ratio.
    """
    of_texts = effect[effect["start"].isin(LLM_STARTS)]
    ratios = of_texts[of_texts["measure"] == "kappa_ratio"].sort_values("low")
    changes = of_texts[of_texts["measure"] == "cv_difference"]
    n_risen = int((changes["low"] > 0).sum())
    normalised = levels[levels["normalised"]]
    is_bound = bool((normalised["share_of_bound"] <= 1 + 1e-5).all())
    holds = bool((ratios["low"] >= KAPPA_FALLS).all()) and not n_risen and is_bound
    weakest = ratios.iloc[0]
    note = (
        f"median κ without over with normalisation at a training loss of {levels['level'].iloc[0]:.2f}, "
        f"{weakest['start']}, the least of {len(ratios)}; cv of λ_max rises in {n_risen}; λ_max at most "
        f"{normalised['share_of_bound'].max():.2f} of s²"
    )
    return [row_finding("tf_llmer", "3", dataset, holds, note, weakest, value="value")]


def formula_statement(
    cone: pd.DataFrame, clusters: pd.DataFrame, bounds: pd.DataFrame, dataset: str = "synthetic"
) -> list[Finding]:
    """Statement 4: (4) and (5) within 30 % on made tables; (2) and (3) never violated.

    Within 30 % of what is measured. Value: the predicted over the measured κ that is furthest from 1; low and
    high: the extremes of all. The refined form of (5) is noted and decides nothing.
    """
    ratio = pd.concat([table["predicted"] / table["measured"] for table in (cone, clusters)])
    n_violated, n_tried = int(bounds["n_violated"].sum()), int(bounds["n_tried"].min())
    holds = bool((ratio - 1).abs().max() <= WITHIN) and not n_violated
    refined = (clusters["refined"] / clusters["measured"] - 1).abs().max()
    note = (
        f"predicted over measured κ, the furthest of {len(ratio)} made tables and the range of all; (5) "
        f"refined is within {refined:.1%}; bounds violated in {n_violated} of {n_tried} draws and more"
    )
    furthest = ratio.iloc[int((ratio - 1).abs().to_numpy().argmax())]
    values = {"value": float(furthest), "low": float(ratio.min()), "high": float(ratio.max())}
    return [finding("tf_llmer", "4", dataset, holds, note, **values)]


def misalignment_statement(
    overlap: pd.DataFrame, differences: pd.DataFrame, starts: pd.DataFrame, dataset: str
) -> list[Finding]:
    """Statement 5: neighbours by text and by users overlap by less than 0.2, and alignment trains faster.

    Holds if the upper ends of the overlap of the LM's tables are below 0.2, and at the last epoch the table
    of the same spectrum and norms but higher KTA has the lower training loss, with its interval below 0.
    Value: that difference.
    """
    texts = of_lm(overlap, RAW)
    last = last_difference(differences)
    alignment = starts.set_index("start")["kernel_target_alignment"]
    is_higher = bool(alignment["aligned"] > alignment["plain"])
    holds = bool((texts["high"] < OVERLAP).all()) and is_higher and bool(last["high"] < 0)
    note = (
        f"training loss, aligned minus plain table of one spectrum, epoch {int(last['epoch'])}; KTA "
        f"{alignment['aligned']:.3f} and {alignment['plain']:.3f}; overlap at most {texts['value'].max():.3f}"
    )
    return [row_finding("tf_llmer", "5", dataset, holds, note, last)]


def rec_pca_statement(sweep: pd.DataFrame, oracle: pd.DataFrame, d: int, dataset: str) -> list[Finding]:
    """Statement 6: over λ TV falls, edge cosine and KTA rise, retained variance falls; λ = 0 is PCA.

    Of every table at one d, over the λ that are feasible, step by step. Value: the least gain of KTA from
    λ = 0 to the largest feasible λ, in proportion; it has no sampling interval.
    """
    rows = sweep[(sweep["graph"] == OWN) & (sweep["d"] == d) & sweep["kappa"].notna()]
    n_monotone, gains = 0, []
    for _, own in rows.groupby("table", sort=False):
        own = own.sort_values("weight")
        falls = (own[["total_variation", "retained_variance"]].diff().iloc[1:] < 0).all(axis=None)
        rises = (own[["edge_cosine", "kernel_target_alignment"]].diff().iloc[1:] > 0).all(axis=None)
        n_monotone += bool(falls) and bool(rises)
        alignment = own["kernel_target_alignment"]
        gains.append(float(alignment.iloc[-1] / alignment.iloc[0] - 1))
    n_tables, same = len(gains), float(oracle["overlap"].min())
    note = (
        f"KTA at the largest feasible λ over that of PCA, less one, the least of {n_tables} tables; all "
        f"four measures monotone in {n_monotone}; overlap with scikit-learn's PCA {same:.5f} and more"
    )
    holds = n_monotone == n_tables and same > SAME_SUBSPACE
    return [finding("tf_llmer", "6", dataset, holds, note, value=min(gains))]


def cost_statement(cost: pd.DataFrame, dataset: str) -> list[Finding]:
    """Statement 10: Rec-PCA of 60,000 items and 4,096 dimensions in minutes, nothing more at inference.

    Nothing is said unless a table of that size was projected in the run. At inference there is a table of
    the same shape as any other, scaled once. Value: CPU seconds of the slowest such table; the limit is ten
    minutes, ours.
    """
    of_size = cost[(cost["n_items"] >= COST_ITEMS) & (cost["width"] >= COST_WIDTH)]
    if of_size.empty:
        return []
    slowest = of_size.sort_values("seconds").iloc[-1]
    note = f"CPU seconds of Rec-PCA, {int(slowest['n_items']):,} items × {int(slowest['width']):,}"
    holds = bool(slowest["seconds"] < COST_SECONDS)
    return [finding("tf_llmer", "10", dataset, holds, note, value=float(slowest["seconds"]))]
