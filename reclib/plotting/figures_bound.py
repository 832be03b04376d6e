"""Figures of the MSL paper's lemmas: a bound sample by sample, Gaussian or not, two roots."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from reclib.plotting.parts import arms, axes_list, check_columns, legend_above, note, points
from reclib.plotting.style import INK, METHOD_STYLE, SMALL_PT, method_styles, styled
from reclib.schema import InputError

_LILLIEFORS = 0.886  # over √m, 5 % limit for m > 30
_FROM = 31
BRANCHES = {
    "falling": ("P falls as τ grows", "o", True),
    "rising": ("P rises as τ grows", "s", False),
}  # label, marker, filled


@styled
def bound_by_sample(table: pd.DataFrame, axes: Any) -> None:
    """Losses over −log NDCG of each target, one panel a model ([MSL] Lemma 1).

    table: model, window, minus_log_ndcg, method ("msl", "lml"), value (nats; logarithmic axis). The line is
    equality: the lemma says that no point lies below it, and no MSL above its LML.
    """
    kinds = {
        "model": "string",
        "window": "int",
        "minus_log_ndcg": "float",
        "method": "string",
        "value": "float",
    }
    check_columns(table, kinds, source="bound_by_sample")
    styles, names = method_styles(table["method"]), list(table["model"].unique())
    panels = axes_list(axes, len(names), source="bound_by_sample")
    largest = float(table["minus_log_ndcg"].max()) * 1.08 + 0.05
    equal = np.linspace(0.01, largest, 200)
    for model, ax in zip(names, panels, strict=True):
        for method, style in styles.items():
            rows = table.loc[(table["model"] == model) & (table["method"] == method)]
            ax.plot(
                rows["minus_log_ndcg"],
                rows["value"],
                color=style.color,
                marker=style.marker,
                markersize=3,
                linestyle="none",
                alpha=0.7,
                markeredgewidth=0,
                label=style.label,
            )
        ax.plot(equal, equal, color=INK, linewidth=0.8, label="equality")
        ax.set_xlim(0, largest)
        ax.set_yscale("log")
        ax.set_ylim(bottom=0.25)
        ax.set_title(METHOD_STYLE[model].label, loc="right")
        ax.set_xlabel("−log NDCG (nats)")
        ax.set_ylabel("loss of the target (nats)")
    legend_above(panels[0])


@styled
def logit_distance(table: pd.DataFrame, ax: Axes) -> None:
    """Distance of the valid logits from a Gaussian over their number ([MSL] Lemma 2).

    table: method (the model), n_valid, distance (median), low and high (quartiles). The dotted line is
    Lilliefors' 5 % limit, which holds above thirty logits.
    """
    kinds = {"method": "string", **dict.fromkeys(("n_valid", "distance", "low", "high"), "float")}
    check_columns(table, kinds, source="logit_distance")
    for method, style in method_styles(table["method"]).items():
        rows = table.loc[table["method"] == method]
        points(
            ax,
            rows["n_valid"],
            rows["distance"],
            style,
            yerr=arms(rows["distance"], rows["low"], rows["high"]),
            line=style.line,
        )
    if table["n_valid"].max() >= _FROM:
        m = np.geomspace(_FROM, table["n_valid"].max())
        ax.plot(m, _LILLIEFORS / np.sqrt(m), color=INK, linestyle=":", linewidth=0.8, label="5 % limit")
    ax.set_xscale("log")
    ax.set_ylim(bottom=0)
    ax.set_xlabel("valid tokens at the position")
    ax.set_ylabel("distance from the Gaussian\n(Kolmogorov)")
    legend_above(ax)
    note(ax, "bars: quartiles over positions")


@styled
def temperature_roots(table: pd.DataFrame, ax: Axes) -> None:
    """The lemma's temperature over the exact one, where both exist ([MSL] Eq. (11)).

    table: method (the model, a colour), branch (a key of BRANCHES, a marker), exact, lemma.
    """
    kinds = {"method": "string", "branch": "string", "exact": "float", "lemma": "float"}
    check_columns(table, kinds, source="temperature_roots")
    unknown = sorted(set(table["branch"]) - set(BRANCHES))
    if unknown:
        raise InputError(
            f"figure temperature_roots: unknown branches {unknown}; it draws {', '.join(BRANCHES)}"
        )
    several = table["method"].nunique() > 1
    for method, style in method_styles(table["method"]).items():
        for branch, (label, marker, is_filled) in BRANCHES.items():
            rows = table.loc[(table["method"] == method) & (table["branch"] == branch)]
            if rows.empty:
                continue
            ax.plot(
                rows["exact"],
                rows["lemma"],
                color=style.color,
                marker=marker,
                markersize=3,
                markerfacecolor=style.color if is_filled else "white",
                markeredgewidth=0.6,
                linestyle="none",
                alpha=0.7,
                label=f"{style.label}: {label}" if several else label,
            )
    ends = [0.8 * table[["exact", "lemma"]].min().min(), 1.25 * table[["exact", "lemma"]].max().max()]
    ax.plot(ends, ends, color=INK, linewidth=0.8)
    ax.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
    ax.set_xlabel("exact τ with P(τ) = η")
    ax.set_ylabel("τ by Lemma 2")
    ax.legend(
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=1,
        fontsize=SMALL_PT,
        borderaxespad=0.2,
        borderpad=0.1,
    )
