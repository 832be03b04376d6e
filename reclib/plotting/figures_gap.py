"""Figures of what EISAM costs and is to give: the gap by frequency, the bounds, the cost of a step."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from reclib.plotting.parts import axes_list, check_columns, legend_above, note, points
from reclib.plotting.style import BLUE, INK, ORANGE, SeriesStyle, method_styles, styled
from reclib.schema import InputError

_FORMS = {
    "root": SeriesStyle("square root, (6)", BLUE, "s", "-"),
    "fast": SeriesStyle("fast, (7)", ORANGE, "o", "--"),
}
_BOUNDS = {"bound": "bound on the risk", "term": "complexity term"}
_TICKS = (1, 2, 3, 5, 10, 20, 30)  # of costs


@styled
def gap_by_frequency(table: pd.DataFrame, ax: Axes) -> None:
    """Gap between fresh and training loss over training examples of the item, on logarithmic axes.

    table: method, n (mean of a group of items), gap (its mean), gap_error (missing for a single item); groups
    in any order. A mean that is not above its standard error has no place on this axis and is not drawn.
    """
    kinds = {"method": "string", "n": "float", "gap": "float", "gap_error": "float?"}
    check_columns(table, kinds, source="gap_by_frequency")
    shown = table[table["gap"] > table["gap_error"].fillna(0.0)]
    for method, style in method_styles(table["method"]).items():
        rows = shown.loc[shown["method"] == method].sort_values("n")
        points(
            ax,
            rows["n"],
            rows["gap"],
            style,
            yerr=rows["gap_error"],
            line=style.line,
        )
    ax.set_xscale("log")
    ax.set_yscale("log")
    _plain(ax.xaxis)
    _plain(ax.yaxis)
    ax.set_xlabel("training examples of the item")
    ax.set_ylabel("fresh minus training loss (nats)")
    legend_above(ax)
    note(ax, "bars: standard error over items")


@styled
def bounds_by_frequency(table: pd.DataFrame, axes: Any) -> None:
    """Both bounds, and the term of each that complexity adds, over an item's examples; one panel a quantity.

    table: quantity ("bound", "term"), form ("root", "fast"), n, value, risk (measured; beside bounds).
    """
    kinds = {"quantity": "string", "form": "string", "n": "int", "value": "float", "risk": "float"}
    check_columns(table, kinds, source="bounds_by_frequency")
    quantities = list(table["quantity"].unique())
    unknown = sorted(set(quantities) - set(_BOUNDS))
    if unknown:
        raise InputError(
            f"figure bounds_by_frequency: unknown quantities {unknown}; it draws {list(_BOUNDS)}"
        )
    panels = axes_list(axes, len(quantities), source="bounds_by_frequency")
    for quantity, ax in zip(quantities, panels, strict=True):
        shown = table.loc[table["quantity"] == quantity]
        for form, style in _FORMS.items():
            rows = shown.loc[shown["form"] == form].sort_values("n")
            look: dict[str, Any] = {"color": style.color, "marker": style.marker, "linestyle": style.line}
            ax.plot(rows["n"], rows["value"], label=style.label, **look)
        if quantity == "bound":
            rows = shown.drop_duplicates("n").sort_values("n")
            ax.plot(rows["n"], rows["risk"], color=INK, linestyle=":", label="measured risk")
            ax.axhline(1, color=INK, linewidth=0.6, zorder=1)
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xlabel("training examples of the item")
        ax.set_ylabel(_BOUNDS[quantity])
        legend_above(ax)


@styled
def step_cost(table: pd.DataFrame, axes: Any) -> None:
    """What a step costs in steps of ERM, over a size; one panel a kind of size, on logarithmic axes.

    table: panel (the axis's label), size, method, ratio.
    """
    kinds = {"panel": "string", "size": "int", "method": "string", "ratio": "float"}
    check_columns(table, kinds, source="step_cost")
    labels = list(table["panel"].unique())
    panels = axes_list(axes, len(labels), source="step_cost")
    styles = method_styles(table["method"])
    lines: dict[str, Any] = {}
    for label, ax in zip(labels, panels, strict=True):
        shown = table.loc[table["panel"] == label]
        for method in shown["method"].unique():
            style = styles[method]
            rows = shown.loc[shown["method"] == method].sort_values("size")
            look: dict[str, Any] = {"color": style.color, "marker": style.marker, "linestyle": style.line}
            (lines[style.label],) = ax.plot(rows["size"], rows["ratio"], **look)
        ax.set_xscale("log")
        ax.set_yscale("log")
        low, high = 0.9 * min(1, shown["ratio"].min()), 1.15 * shown["ratio"].max()
        ax.set_ylim(low, high)
        ax.set_yticks([tick for tick in _TICKS if low <= tick <= high])
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.yaxis.set_minor_formatter(NullFormatter())
        sizes = sorted(shown["size"].unique())
        ax.set_xticks(sizes, [_short(size) for size in sizes])
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.xaxis.set_minor_locator(LogLocator(subs=()))
        ax.set_xlabel(label)
        ax.set_ylabel("cost in steps of ERM")
    panels[0].figure.legend(lines.values(), lines.keys(), loc="outside upper center", ncols=4)


def _short(size: int) -> str:
    return f"{size // 1000}k" if size >= 1000 and size % 1000 == 0 else str(size)


def _plain(axis: Any) -> None:
    """Whole numbers instead of powers of ten."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
