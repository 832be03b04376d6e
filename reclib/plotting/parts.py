"""What several figures share: the check of their table, labels of metrics, and pieces of axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from reclib import schema
from reclib.plotting.style import GREY, INK, SMALL_PT, SeriesStyle
from reclib.schema import InputError

INTERVAL = "95 % interval"
_METRIC_LABELS = {
    "catalogue_nll": "$-\\log P_\\mathrm{valid}$(target)\n(nats, lower is better)",
    "log_p": "$\\log P_\\mathrm{valid}$(target)\n(nats)",
    "overlap": "shared neighbours (Jaccard)",
    "cka": "linear CKA",
    "cosine": "mean cosine",
}


def check_columns(
    table: pd.DataFrame,
    required: Mapping[str, str],
    *,
    source: str,
    optional: Mapping[str, str] | None = None,
) -> None:
    """Refuse a table that lacks a column of the figure or brings one that the figure does not know.

    The file saved beside the figure holds the table, so it holds what the figure shows and nothing else.
    """
    optional = optional or {}
    unknown = [column for column in table.columns if column not in required and column not in optional]
    if unknown:
        expected = ", ".join([*required, *(f"[{column}]" for column in optional)])
        raise InputError(f"figure {source}: unknown columns {unknown}; it draws {expected}: drop the others")
    present = {column: kind for column, kind in optional.items() if column in table.columns}
    schema.check(table, {**required, **present}, source=f"figure {source}")
    if table.empty:
        raise InputError(f"figure {source}: the table has no rows")


def axes_list(axes: Any, n_panels: int, *, source: str) -> list[Axes]:
    """The axes as a flat list, if there is one for each panel."""
    flat = list(np.ravel(np.asarray(axes, dtype=object)))
    if len(flat) != n_panels:
        raise InputError(
            f"figure {source}: {n_panels} panels in the table, {len(flat)} axes: pass {n_panels} axes"
        )
    return flat


_NAMES = {"coverage": "Coverage", "exposure_ratio": "Exposure ratio"}


def metric_label(metric: str, k: Any) -> str:
    """Label of a metric: "HR@10", or its name with the unit where it has one."""
    if metric in _METRIC_LABELS:
        return _METRIC_LABELS[metric]
    return metric if pd.isna(k) else f"{_NAMES.get(metric, metric)}@{int(k)}"


def legend_above(ax: Axes, *, title: str | None = None) -> None:
    """Legend above the axes, where it hides no data."""
    n_entries = len(ax.get_legend_handles_labels()[1])
    ax.legend(
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=2 if n_entries in (2, 4) else 3,
        title=title,
        alignment="left",
        borderaxespad=0.2,
        borderpad=0.1,
        columnspacing=1.2,
        handletextpad=0.5,
    )


def note(ax: Axes, text: str) -> None:
    """A line below all axes of the figure, such as what its error bars are."""
    ax.figure.supxlabel(text, fontsize=SMALL_PT, color=INK)


def percent_axis(axis: Any) -> None:
    """Show shares as per cent."""
    axis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g}"))


def marked_line(ax: Axes, x: pd.Series, y: pd.Series, style: SeriesStyle, *, n_markers: int = 12) -> None:
    """A line in a method's style, with a few markers so that it is told apart without colour."""
    every = max(1, len(x) // n_markers)
    ax.plot(
        x, y, color=style.color, linestyle=style.line, marker=style.marker, markevery=every, label=style.label
    )


def arms(value: Any, low: Any, high: Any) -> np.ndarray:
    """Lengths of error bars from `value` down to `low` and up to `high`, (2, n), for `Axes.errorbar`.

    The interval of a constant may miss it by a rounding error, which is a length of 0; a real miss stays
    negative, and `errorbar` refuses it.
    """
    value, low, high = (np.atleast_1d(np.asarray(each, dtype=float)) for each in (value, low, high))
    ends = np.stack([low, high])
    lengths = np.stack([value - low, high - value])
    return np.where(np.isclose(ends, value, rtol=1e-9, atol=0), 0.0, lengths)


def points(
    ax: Axes, x: Any, y: Any, style: SeriesStyle, *, xerr: Any = None, yerr: Any = None, line: Any = "none"
) -> None:
    """Marks in a method's style with bars of lengths `xerr`, `yerr` (see `arms`); joined where `line` is."""
    ax.errorbar(
        x,
        y,
        xerr=xerr,
        yerr=yerr,
        color=style.color,
        marker=style.marker,
        linestyle=line,
        elinewidth=0.8,
        capsize=1.5,
        label=style.label,
    )


def swept(ax: Axes, rows: pd.DataFrame, style: SeriesStyle) -> None:
    """A curve with bars over `setting`, or a line with a band for a method that has none."""
    if rows["setting"].isna().all():
        one = rows.iloc[0]
        if not pd.isna(one["low"]):
            ax.axhspan(one["low"], one["high"], color=GREY, alpha=0.15, linewidth=0)
        ax.axhline(one["value"], color=style.color, linestyle=style.line, label=style.label)
        return
    yerr = arms(rows["value"], rows["low"], rows["high"])
    points(ax, rows["setting"], rows["value"], style, yerr=yerr, line=style.line)


def strip_offsets(n_series: int, *, width: float) -> np.ndarray:
    """Where the series of a group stand around its tick, spread over `width` of a group's share."""
    return np.linspace(-width / 2, width / 2, n_series) if n_series > 1 else np.zeros(1)


def dots(ax: Axes, table: pd.DataFrame, order: Sequence[str], styles: Mapping[str, SeriesStyle]) -> None:
    """One row a method, the first at the top: a dot at `value` and a bar from `low` to `high`."""
    for row in table.to_dict("records"):
        style, value = styles[row["method"]], row["value"]
        ax.errorbar(
            value,
            order.index(row["method"]),
            xerr=arms(value, row["low"], row["high"]),
            color=style.color,
            marker=style.marker,
            capsize=2,
            linestyle="none",
        )
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.set_ylim(len(order) - 0.5, -0.5)
    ax.set_yticks(range(len(order)), [styles[method].label for method in order])
    ax.grid(visible=False, axis="y")
    place_of_axes = ax.get_subplotspec()
    if place_of_axes is not None and not place_of_axes.is_first_col():
        ax.tick_params(labelleft=False)


def bars(
    ax: Axes, table: pd.DataFrame, *, x: str, y: str, styles: Mapping[str, SeriesStyle], by: str
) -> None:
    """Grouped bars: one group a value of `x`, one bar a value of `by`."""
    width = 0.8 / len(styles)
    for i, (name, style) in enumerate(styles.items()):
        rows = table.loc[table[by] == name]
        offset = (i - (len(styles) - 1) / 2) * width
        ax.bar(rows[x] + offset, rows[y], width, color=style.color, edgecolor=INK, label=style.label)
    ax.grid(visible=False, axis="x")
