"""Figures of the two long tails: their curves, the cells they make together, and what each is worth."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

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
)
from reclib.plotting.style import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    PALETTE,
    SMALL_PT,
    SeriesStyle,
    dataset_styles,
    method_styles,
    styled,
)
from reclib.schema import InputError

_KINDS = {
    "data": SeriesStyle("training data", BLUE, "o", "-"),
    "prior": SeriesStyle("language model's prior", ORANGE, "^", "--"),
}
_SIDES = ("head", "tail")
_CELLS = {"HH": (0, 0), "HT": (0, 1), "TH": (1, 0), "TT": (1, 1)}  # row: prior; column: data
_INTERVAL = {"value": "float?", "low": "float?", "high": "float?"}
_STRIP = 0.5  # share of a group's width over which its methods are spread
_MARKERS = "osD^vP*"
_DARK = 0.6  # of the colour scale: white text above


@styled
def two_popularity_curves(table: pd.DataFrame, axes: Any) -> None:
    """Both long tails on logarithmic axes, each over the items sorted by its own popularity.

    table: dataset (one panel each), kind ("data", "prior"), rank, share (of all popularity), is_head; one row
    an item and kind. Items of share 0 are not drawn.
    """
    kinds = {"dataset": "string", "kind": "string", "rank": "int", "share": "float", "is_head": "bool"}
    check_columns(table, kinds, source="two_popularity_curves")
    unknown = sorted(set(table["kind"]) - set(_KINDS))
    if unknown:
        raise InputError(f"figure two_popularity_curves: unknown kinds {unknown}; it draws {list(_KINDS)}")
    names = dataset_styles(table["dataset"])
    panels = axes_list(axes, len(names), source="two_popularity_curves")
    for (dataset, style), ax in zip(names.items(), panels, strict=True):
        _two_curves(table.loc[table["dataset"] == dataset], ax)
        if len(panels) > 1:
            ax.set_title(style.label, loc="right")
    panels[0].set_ylabel("share of the popularity")
    if len(panels) == 1:
        legend_above(panels[0])
    else:  # beside a title, above the axes, is no room
        panels[0].figure.legend(
            *panels[0].get_legend_handles_labels(),
            loc="outside lower center",
            ncols=2,
            frameon=False,
            fontsize=SMALL_PT,
            labelcolor=INK,
        )


def _two_curves(table: pd.DataFrame, ax: Axes) -> None:
    for kind, rows in table.groupby("kind", sort=False):
        style = _KINDS[str(kind)]
        shown = rows[rows["share"] > 0].sort_values("rank")
        ax.plot(shown["rank"], shown["share"], color=style.color, linestyle=style.line, label=style.label)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlim(1, table["rank"].max())
    head = table.loc[table["is_head"], "rank"]
    if not head.empty:
        ax.axvspan(1, head.max(), color=GREY, alpha=0.2, linewidth=0)
        text = f"head:\n{head.nunique():,} items"
        ax.text(0.04, 0.06, text, transform=ax.transAxes, fontsize=SMALL_PT, color=INK)
    ax.set_xlabel("item, by rank of its own popularity")


@styled
def tail_cells(table: pd.DataFrame, axes: Any) -> None:
    """A metric in the four cells of prior and data, one panel a method.

    table: method, metric, k, group ("HH" …: prior, then data), value, low, high, n (test examples), n_items.
    A colour is a share of the panel's largest value, so that panels of unlike level can be read; a cell
    without test examples stays empty.
    """
    kinds = {"method": "string", "metric": "string", "k": "int?", "group": "string", "n_items": "int"}
    check_columns(table, kinds | _INTERVAL, source="tail_cells", optional={"n": "int"})
    unknown = sorted(set(table["group"]) - set(_CELLS))
    if unknown:
        raise InputError(f"figure tail_cells: unknown groups {unknown}; it draws {', '.join(_CELLS)}")
    if table.duplicated(["method", "group"]).any() or table["metric"].nunique() > 1:
        raise InputError("figure tail_cells: one metric, and one row a method and cell: choose them first")
    styles = method_styles(table["method"])
    panels = axes_list(axes, len(styles), source="tail_cells")
    for (method, style), ax in zip(styles.items(), panels, strict=True):
        _cells_of(ax, table.loc[table["method"] == method])
        ax.set_title(style.label)
    label = metric_label(table["metric"].iloc[0], table["k"].iloc[0])
    note(panels[0], f"{label}, {INTERVAL}; darker is higher within a panel")


@styled
def matched_contrasts(table: pd.DataFrame, ax: Axes) -> None:
    """Prior's head minus prior's tail within groups of items about as frequent, and pooled over them.

    table: method, metric, k, group (in the order of the axis, "pooled" last), value, low, high, n_head,
    n_tail (test examples), count_low, count_high (training interactions, written below a group).
    """
    kinds = {"method": "string", "metric": "string", "k": "int?", "group": "string"}
    sizes = dict.fromkeys(("n_head", "n_tail", "count_low", "count_high"), "int")
    check_columns(table, kinds | _INTERVAL | sizes, source="matched_contrasts")
    if table.duplicated(["method", "group"]).any() or table["metric"].nunique() > 1:
        raise InputError("figure matched_contrasts: one metric, and one row a method and group")
    styles = _without_lines(table["method"])
    groups = table.drop_duplicates("group")
    place = {group: at for at, group in enumerate(groups["group"])}
    offsets = strip_offsets(len(styles), width=_STRIP)
    for (method, style), offset in zip(styles.items(), offsets, strict=True):
        rows = table.loc[(table["method"] == method) & table["value"].notna()]
        points(
            ax,
            rows["group"].map(place) + offset,
            rows["value"],
            style,
            yerr=arms(rows["value"], rows["low"], rows["high"]),
        )
    ax.axhline(0, color=INK, linewidth=0.6, zorder=1)
    ax.set_xticks(range(len(place)), [_group_label(row) for row in groups.to_dict("records")])
    ax.set_xlim(-0.5, len(place) - 0.5)
    ax.grid(visible=False, axis="x")
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.set_xlabel("training interactions of the target")
    label = metric_label(table["metric"].iloc[0], table["k"].iloc[0])
    ax.set_ylabel(f"{label}, prior's\nhead minus tail")
    legend_above(ax)
    note(ax, f"bars: {INTERVAL}")


@styled
def hit_coefficients(table: pd.DataFrame, axes: Any, *, unit: str = "log-odds per SD") -> None:
    """Coefficients of the regression of hits, or of a graded outcome, one panel a term, one row a method.

    table: method, term, value, low, high; unit: of the coefficients.
    """
    kinds = {"method": "string", "term": "string", "value": "float", "low": "float?", "high": "float?"}
    check_columns(table, kinds, source="hit_coefficients")
    if table.duplicated(["method", "term"]).any():
        raise InputError("figure hit_coefficients: a method has several rows for one term")
    styles, order = _without_lines(table["method"]), list(table["method"].unique())
    terms = list(table["term"].unique())
    panels = axes_list(axes, len(terms), source="hit_coefficients")
    for term, ax in zip(terms, panels, strict=True):
        dots(ax, table.loc[table["term"] == term], order, styles)
        ax.axvline(0, color=INK, linewidth=0.6, zorder=1)
        ax.set_title(term)
        ax.set_xlabel(unit)
    note(panels[0], "bars: 95 % interval, clustered by user")


def _without_lines(methods: Iterable[str]) -> dict[str, SeriesStyle]:
    """The look of each method where only dots are drawn; of two that differ by their line one is changed."""
    shown: dict[str, SeriesStyle] = {}
    for name, style in method_styles(methods).items():
        taken = {(other.color, other.marker) for other in shown.values()}
        if (style.color, style.marker) in taken:
            color = next((each for each in PALETTE if each not in {one for one, _ in taken}), style.color)
            marker = next((each for each in _MARKERS if each not in {one for _, one in taken}), style.marker)
            style = replace(style, color=color, marker=marker)
        shown[name] = style
    return shown


def _cells_of(ax: Axes, rows: pd.DataFrame) -> None:
    """One two-by-two heat map: values, intervals and sizes written into the cells."""
    values = np.full((2, 2), np.nan)
    for row in rows.to_dict("records"):
        values[_CELLS[row["group"]]] = row["value"]
    largest = np.nanmax(values) if not np.isnan(values).all() else 1.0
    ax.imshow(values, cmap="Blues", vmin=0, vmax=max(largest, 1e-12), aspect="auto")
    for row in rows.to_dict("records"):
        at = _CELLS[row["group"]]
        is_dark = row["value"] > _DARK * largest
        ax.text(
            at[1],
            at[0],
            _cell_text(row),
            ha="center",
            va="center",
            fontsize=SMALL_PT,
            color="white" if is_dark else INK,
        )
    for set_ticks in (ax.set_xticks, ax.set_yticks):
        set_ticks((0, 1), _SIDES)
    ax.grid(visible=False)
    ax.tick_params(length=0)
    ax.set_xlabel("in the data")
    ax.set_ylabel("in the prior")


def _cell_text(row: dict[Any, Any]) -> str:
    sizes = f"{row['n_items']:,} items"
    if "n" in row:
        sizes += f"\n{row['n']:,} targets"
    if pd.isna(row["value"]):
        return f"–\n{sizes}"
    between = "" if pd.isna(row["low"]) else f"\n{row['low']:.3f} to {row['high']:.3f}"
    return f"{row['value']:.3f}{between}\n{sizes}"


def _group_label(row: dict[Any, Any]) -> str:
    """The counts of a group's items; the name of a group that is none."""
    if not str(row["group"]).isdigit():
        return str(row["group"])
    low, high = row["count_low"], row["count_high"]
    return f"{low}" if low == high else f"{low}–\n{high}"
