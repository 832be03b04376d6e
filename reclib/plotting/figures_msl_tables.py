"""Figures of the MSL paper's tables: the spread over seeds, and accuracy over what training costs."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullLocator

from reclib.plotting.parts import (
    INTERVAL,
    arms,
    axes_list,
    check_columns,
    legend_above,
    metric_label,
    note,
    points,
)
from reclib.plotting.style import INK, method_styles, styled
from reclib.schema import InputError

COSTS = {"seconds": "training (s)", "memory": "peak memory of training\nabove the model (MB)"}
_METRIC = {"metric": "string", "k": "int?", "value": "float"}


@styled
def seed_spread(table: pd.DataFrame, ax: Axes) -> None:
    """A metric of each run, one row a method and one dot a seed; a bar at the mean ([MSL] Table 3).

    table: method, seed, metric, k, value.
    """
    check_columns(table, {"method": "string", "seed": "int", **_METRIC}, source="seed_spread")
    styles = method_styles(table["method"])
    for place, (method, style) in enumerate(styles.items()):
        values = table.loc[table["method"] == method, "value"]
        ax.plot(
            values, [place] * len(values), color=style.color, marker=style.marker, linestyle="none", alpha=0.8
        )
        ax.plot([values.mean()] * 2, [place - 0.3, place + 0.3], color=INK, linewidth=0.8)
    ax.set_yticks(range(len(styles)), [style.label for style in styles.values()])
    ax.set_ylim(len(styles) - 0.5, -0.5)
    ax.grid(visible=False, axis="y")
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.set_xlabel(metric_label(table["metric"].iloc[0], table["k"].iloc[0]))
    note(ax, "a dot a seed; line: mean")


@styled
def accuracy_over_windows(table: pd.DataFrame, ax: Axes) -> None:
    """Accuracy over the number of training windows, on a logarithmic axis, a line a method.

    table: method, windows, metric, k, value, low, high.
    """
    kinds = {"method": "string", "windows": "int", **_METRIC, "low": "float?", "high": "float?"}
    check_columns(table, kinds, source="accuracy_over_windows")
    for method, style in method_styles(table["method"]).items():
        rows = table.loc[table["method"] == method].sort_values("windows")
        yerr = arms(rows["value"], rows["low"], rows["high"])
        points(ax, rows["windows"], rows["value"], style, yerr=yerr, line=style.line)
    shown = sorted(table["windows"].unique())
    ax.set_xscale("log")
    ax.set_xticks(shown, [f"{n:,}" for n in shown])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_ylim(bottom=0)
    ax.set_xlabel("training windows")
    ax.set_ylabel(metric_label(table["metric"].iloc[0], table["k"].iloc[0]))
    legend_above(ax)
    note(ax, f"bars: {INTERVAL}")


@styled
def accuracy_over_cost(table: pd.DataFrame, axes: Any) -> None:
    """Accuracy over what training costs, one point a method and one panel a cost ([MSL] Fig. 7).

    table: method, cost (a key of COSTS), amount, metric, k, value, low, high.
    """
    kinds = {"method": "string", "cost": "string", "amount": "float", **_METRIC}
    check_columns(table, kinds | {"low": "float?", "high": "float?"}, source="accuracy_over_cost")
    unknown = sorted(set(table["cost"]) - set(COSTS))
    if unknown:
        raise InputError(f"figure accuracy_over_cost: unknown costs {unknown}; it labels {', '.join(COSTS)}")
    names, styles = list(table["cost"].unique()), method_styles(table["method"])
    panels = axes_list(axes, len(names), source="accuracy_over_cost")
    for name, ax in zip(names, panels, strict=True):
        for row in table.loc[table["cost"] == name].to_dict("records"):
            style = styles[row["method"]]
            points(
                ax,
                row["amount"],
                row["value"],
                style,
                yerr=arms(row["value"], row["low"], row["high"]),
            )
        ax.set_xlim(0, 1.1 * table.loc[table["cost"] == name, "amount"].max())
        ax.set_ylim(bottom=0)
        ax.set_xlabel(COSTS[name])
        ax.set_ylabel(metric_label(table["metric"].iloc[0], table["k"].iloc[0]))
    legend_above(panels[0])
    note(panels[0], f"bars: {INTERVAL}")
