"""Figures of sequence recommenders: methods by data set, group and popularity, over settings; two spaces."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import (
    FixedLocator,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
    StrMethodFormatter,
)

from reclib.plotting.parts import (
    INTERVAL,
    arms,
    axes_list,
    check_columns,
    dots,
    legend_above,
    metric_label,
    note,
    points,
    strip_offsets,
    swept,
)
from reclib.plotting.style import (
    BLUE,
    INK,
    ORANGE,
    SMALL_PT,
    SeriesStyle,
    dataset_styles,
    method_styles,
    styled,
)
from reclib.schema import InputError

_VALUE = {"value": "float", "low": "float?", "high": "float?"}
_METRIC = {"metric": "string", "k": "int?"}
_GROUPS = ("all", "head", "tail")  # of targets, or of items where the metric is coverage
SWEPT = {"redundancy": "redundancy weight λ", "alignment": "alignment weight α"}
_SPACES = {
    "id": SeriesStyle("ID embedding", BLUE, "o", "-"),
    "llm": SeriesStyle("LLM embedding", ORANGE, "^", "-"),
}
_STRIP = 0.6  # share of a group's width over which its methods are spread


@styled
def comparison_grid(table: pd.DataFrame, axes: Any, *, bars: str = INTERVAL) -> None:
    """Dots with intervals, one row a method; one panel for each data set, backbone, group and metric.

    table: dataset, backbone, method, metric, k, group, value, low, high, and maybe n. Panels stand in the
    table's order, one of `axes` each; their titles name what differs between them. bars: what the bars are.
    """
    kinds = {"dataset": "string", "backbone": "string", "method": "string", **_METRIC, "group": "string"}
    check_columns(table, kinds | _VALUE, source="comparison_grid", optional={"n": "int"})
    metric = pd.Series(
        [metric_label(m, k) for m, k in zip(table["metric"], table["k"], strict=True)], table.index
    )
    names = pd.DataFrame(
        {
            "dataset": table["dataset"].map(_dataset_labels(table["dataset"])),
            "backbone": table["backbone"].map(_method_labels(table["backbone"])),
            "group": _group_titles(table),
            "metric": metric,
        }
    )
    panel = names.apply(tuple, axis=1)
    if table.assign(panel=panel).duplicated(["panel", "method"]).any():
        raise InputError("figure comparison_grid: a method has several rows in one panel")
    differing = [name for name in names if name != "metric" and names[name].nunique() > 1]
    styles, order = method_styles(table["method"]), list(table["method"].unique())
    panels = list(panel.unique())
    for key, ax in zip(panels, axes_list(axes, len(panels), source="comparison_grid"), strict=True):
        chosen = panel == key
        dots(ax, table.loc[chosen], order, styles)
        if table.loc[chosen, "metric"].iloc[0].startswith(("gain", "change")):
            ax.axvline(0, color=INK, linewidth=0.6, zorder=0)
        ax.set_xlabel(metric[chosen].iloc[0])
        ax.set_title(", ".join(names[chosen].iloc[0][differing]))
    if table["low"].notna().any():
        note(_first(axes), f"bars: {bars}")


@styled
def accuracy_by_popularity(table: pd.DataFrame, axes: Any) -> None:
    """A metric by the popularity of the target, one panel a data set ([FAERec] Fig. 1a and Fig. 4).

    table: dataset, method, metric, k, group (in the order of the axis), value, low, high, n (targets of the
    group, written below its name).
    """
    kinds = {"dataset": "string", "method": "string", **_METRIC, "group": "string", "n": "int"}
    check_columns(table, kinds | _VALUE, source="accuracy_by_popularity")
    datasets = list(table["dataset"].unique())
    styles, labels = method_styles(table["method"]), _dataset_labels(table["dataset"])
    offsets = strip_offsets(len(styles), width=_STRIP)
    panels = axes_list(axes, len(datasets), source="accuracy_by_popularity")
    for name, ax in zip(datasets, panels, strict=True):
        rows = table.loc[table["dataset"] == name]
        groups = rows.drop_duplicates("group")
        place = {group: at for at, group in enumerate(groups["group"])}
        for (method, style), offset in zip(styles.items(), offsets, strict=True):
            own = rows.loc[rows["method"] == method]
            points(
                ax,
                own["group"].map(place) + offset,
                own["value"],
                style,
                yerr=arms(own["value"], own["low"], own["high"]),
            )
        ticks = [f"{group}\n({n:,})" for group, n in zip(groups["group"], groups["n"], strict=True)]
        ax.set_xticks(range(len(ticks)), ticks)
        ax.grid(visible=False, axis="x")
        ax.set_ylim(bottom=0)
        ax.yaxis.set_major_locator(MaxNLocator(5))
        ax.set_xlabel("training interactions (targets)")
        ax.set_ylabel(metric_label(rows["metric"].iloc[0], rows["k"].iloc[0]))
        if len(datasets) > 1:
            ax.set_title(labels[name], loc="right")
    legend_above(panels[0])
    note(panels[0], f"bars: {INTERVAL}")


@styled
def sensitivity(table: pd.DataFrame, axes: Any) -> None:
    """A metric over λ and over α, one panel a data set and parameter; the backbone as a line with its band.

    table: dataset, parameter (a key of SWEPT), setting (its value; missing for the backbone), method, metric,
    k, value, low, high. Source: [FAERec] Fig. 3.
    """
    kinds = {"dataset": "string", "parameter": "string", "setting": "float?", "method": "string", **_METRIC}
    check_columns(table, kinds | _VALUE, source="sensitivity")
    unknown = sorted(set(table["parameter"]) - set(SWEPT))
    if unknown:
        raise InputError(f"figure sensitivity: unknown parameters {unknown}; it labels {', '.join(SWEPT)}")
    labels, styles = _dataset_labels(table["dataset"]), method_styles(table["method"])
    panels = list(table.groupby(["dataset", "parameter"], sort=False))
    flat = axes_list(axes, len(panels), source="sensitivity")
    for ((dataset, parameter), rows), ax in zip(panels, flat, strict=True):
        for method, own in rows.groupby("method", sort=False):
            swept(ax, own.sort_values("setting"), styles[str(method)])
        _setting_axis(ax, rows["setting"].dropna(), is_log=parameter == "redundancy")
        ax.set_xlabel(SWEPT[str(parameter)])
        ax.set_ylabel(metric_label(rows["metric"].iloc[0], rows["k"].iloc[0]))
        if table["dataset"].nunique() > 1:
            ax.set_title(labels[str(dataset)], loc="right")
    legend_above(flat[0])
    note(flat[0], f"bars and band: {INTERVAL}")


@styled
def embedding_spaces(table: pd.DataFrame, axes: Any) -> None:
    """ID and LLM embeddings of the same items in the plane, one panel a method ([FAERec] Fig. 5).

    table: method, space ("id" or "llm"), x, y (t-SNE coordinates of each method's own picture).
    """
    kinds = {"method": "string", "space": "string", "x": "float", "y": "float"}
    check_columns(table, kinds, source="embedding_spaces")
    unknown = sorted(set(table["space"]) - set(_SPACES))
    if unknown:
        raise InputError(f"figure embedding_spaces: unknown spaces {unknown}; it draws {', '.join(_SPACES)}")
    methods = method_styles(table["method"])
    panels = axes_list(axes, len(methods), source="embedding_spaces")
    for (method, style), ax in zip(methods.items(), panels, strict=True):
        for space, look in _SPACES.items():
            own = table.loc[(table["method"] == method) & (table["space"] == space)]
            ax.scatter(own["x"], own["y"], s=3, color=look.color, marker=look.marker, linewidths=0, alpha=0.6)
        ax.set_title(style.label)
        ax.set(xlabel="t-SNE 1", ylabel="t-SNE 2")
        for axis in (ax.xaxis, ax.yaxis):  # coordinates without a unit
            axis.set_major_formatter(NullFormatter())
        ax.tick_params(length=0)
        ax.grid(visible=False)
    handles = [
        Line2D([], [], color=look.color, marker=look.marker, linestyle="none", label=look.label)
        for look in _SPACES.values()
    ]
    panels[0].figure.legend(
        handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=SMALL_PT, labelcolor=INK
    )


@styled
def accuracy_and_cost(table: pd.DataFrame, ax: Axes) -> None:
    """Accuracy over the time of training, one point a backbone.

    table: method (the backbone), seconds (of training, process time), metric, k, value, low, high.
    """
    kinds = {"method": "string", "seconds": "float", **_METRIC}
    check_columns(table, kinds | _VALUE, source="accuracy_and_cost")
    styles = method_styles(table["method"])
    for row in table.to_dict("records"):
        style = styles[row["method"]]
        points(
            ax,
            row["seconds"],
            row["value"],
            style,
            yerr=arms(row["value"], row["low"], row["high"]),
        )
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.set_ylim(0, 1.05 * np.nanmax(table[["value", "high"]]))
    ax.set_xlabel("training (CPU seconds)")
    ax.set_ylabel(metric_label(table["metric"].iloc[0], table["k"].iloc[0]))
    legend_above(ax)
    note(ax, f"bars: {INTERVAL}")


def _setting_axis(ax: Axes, settings: pd.Series, *, is_log: bool) -> None:
    """Ticks at the settings that were run, and nowhere else."""
    if is_log:
        ax.set_xscale("log")
    values = sorted(settings.unique())
    ax.xaxis.set_major_locator(FixedLocator(values))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.yaxis.set_major_locator(MaxNLocator(5))


def _group_titles(table: pd.DataFrame) -> pd.Series:
    of = table["metric"].map(lambda metric: "items" if metric == "coverage" else "targets")
    return table["group"].where(~table["group"].isin(_GROUPS), table["group"] + " " + of)


def _dataset_labels(names: pd.Series) -> dict[str, str]:
    return {name: style.label for name, style in dataset_styles(names).items()}


def _method_labels(names: pd.Series) -> dict[str, str]:
    return {name: style.label for name, style in method_styles(names).items()}


def _first(axes: Any) -> Axes:
    return np.ravel(np.asarray(axes, dtype=object))[0]
