"""Figures that compare: methods with each other, decoders with each other, and the papers with us."""

from __future__ import annotations

from typing import Any, Literal

import pandas as pd
from matplotlib.axes import Axes

from reclib.plotting.parts import INTERVAL, arms, axes_list, check_columns, dots, metric_label, note
from reclib.plotting.style import BLUE, GREEN, GREY, INK, RED, method_styles, styled
from reclib.schema import InputError

QUANTITIES = {
    "overlap": "items shared with\nthe exact top K",
    "cpu_seconds": "CPU time\n(s per user)",
    "wall_seconds": "time (s per user)",
    "model_calls": "model calls\nper user",
    "model_tokens": "tokens run\nper user",
    "peak_memory": "peak memory (MB)",
}
STATUS_COLOR = {"reproduced": GREEN, "direction": BLUE, "differs": RED}


@styled
def method_comparison(
    table: pd.DataFrame, axes: Any, *, facet: Literal["metric", "group"] = "metric"
) -> None:
    """Dots with intervals, one row a method; one panel a metric, or a group of windows.

    table: method, metric, k, group, value, low, high, and maybe n (windows); facet: what the panels are;
    the table holds one value of the other. Panels stand in the table's order, one of `axes` each.
    """
    kinds = {"method": "string", "metric": "string", "k": "int?", "group": "string", "value": "float"}
    ends = {"low": "float?", "high": "float?"}
    check_columns(table, kinds | ends, source="method_comparison", optional={"n": "int"})
    metric = pd.Series(
        [metric_label(m, k) for m, k in zip(table["metric"], table["k"], strict=True)], table.index
    )
    panel, other = (metric, table["group"]) if facet == "metric" else (table["group"], metric)
    if other.nunique() > 1:
        raise InputError(
            f'figure method_comparison: facet="{facet}", but also {list(other.unique())}: choose one'
        )
    if table.assign(panel=panel).duplicated(["panel", "method"]).any():
        raise InputError("figure method_comparison: a method has several rows in one panel")
    names = list(panel.unique())
    styles, order = method_styles(table["method"]), list(table["method"].unique())
    for name, ax in zip(names, axes_list(axes, len(names), source="method_comparison"), strict=True):
        dots(ax, table.loc[panel == name], order, styles)
        ax.set_xlabel(name if facet == "metric" else metric.iloc[0])
        if facet == "group":
            ax.set_title(name)
    note(ax, f"bars: {INTERVAL}")


@styled
def decoding_cost(table: pd.DataFrame, axes: Any) -> None:
    """What each way of decoding finds and what it costs: dots with intervals, one panel a quantity.

    table: method, metric (a key of QUANTITIES), value, low, high (missing where there is no interval).
    """
    kinds = {"method": "string", "metric": "string", "value": "float", "low": "float?", "high": "float?"}
    check_columns(table, kinds, source="decoding_cost")
    names = list(table["metric"].unique())
    unknown = [name for name in names if name not in QUANTITIES]
    if unknown:
        raise InputError(
            f"figure decoding_cost: unknown metrics {unknown}; it labels {', '.join(QUANTITIES)}"
        )
    styles, order = method_styles(table["method"]), list(table["method"].unique())
    for name, ax in zip(names, axes_list(axes, len(names), source="decoding_cost"), strict=True):
        dots(ax, table.loc[table["metric"] == name], order, styles)
        ax.set_xlim(left=0)
        ax.set_xlabel(QUANTITIES[name])
    note(ax, f"bars: {INTERVAL}")


@styled
def paper_against_ours(table: pd.DataFrame, ax: Axes) -> None:
    """Change against the reference method, as printed and as measured here; one row a comparison.

    table: label, paper, ours, ours_low, ours_high (changes as shares of the reference's value), status
    ("reproduced", "direction" or "differs"). Right of 0 the method is above its reference.
    """
    changes = {"paper": "float", "ours": "float", "ours_low": "float", "ours_high": "float"}
    check_columns(table, {"label": "string", **changes, "status": "string"}, source="paper_against_ours")
    unknown = set(table["status"]) - set(STATUS_COLOR)
    if unknown:
        raise InputError(
            f"figure paper_against_ours: unknown status {sorted(unknown)}: it draws {list(STATUS_COLOR)}"
        )
    place = pd.Series(range(len(table)), index=table.index)
    ax.axvline(0, color=INK, linewidth=0.8)
    ax.plot(
        100 * table["paper"],
        place,
        linestyle="none",
        marker="D",
        color=GREY,
        markerfacecolor="white",
        label="paper",
    )
    for status in table["status"].unique():
        rows = table.loc[table["status"] == status]
        ax.errorbar(
            100 * rows["ours"],
            place[rows.index],
            xerr=100 * arms(rows["ours"], rows["ours_low"], rows["ours_high"]),
            linestyle="none",
            marker="o",
            color=STATUS_COLOR[status],
            capsize=2,
            label=f"ours: {status}",
        )
    ax.set_yticks(place, table["label"])
    ax.set_ylim(len(table) - 0.5, -0.5)
    ax.grid(visible=False, axis="y")
    ax.set_xlabel("change against reference (%)")
    note(ax, f"bars: {INTERVAL}")
    ax.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, columnspacing=1.0, handletextpad=0.3)
