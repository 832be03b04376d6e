"""Figures of item tables' geometry: norms, cosines, formulas, conditioning along training, and Rec-PCA."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import (
    FixedLocator,
    MaxNLocator,
    NullLocator,
    StrMethodFormatter,
)

from reclib.plotting.parts import (
    INTERVAL,
    arms,
    axes_list,
    check_columns,
    legend_above,
    note,
    points,
    strip_offsets,
)
from reclib.plotting.style import (
    BLUE,
    BROWN,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    RED,
    SMALL_PT,
    WIDTHS_IN,
    SeriesStyle,
    styled,
)
from reclib.schema import InputError

TABLES = {
    "sentence": SeriesStyle("sentence encoder", BLUE, "o", "-"),
    "lm_mean": SeriesStyle("LM, mean", ORANGE, "^", "-"),
    "lm_last": SeriesStyle("LM, last token", GREEN, "s", "-"),
}
SERIES = {
    "text": SeriesStyle("text", INK, "o", "-"),
    "pca": SeriesStyle("PCA", BLUE, "s", "--"),
    "rec_pca": SeriesStyle("Rec-PCA", RED, "^", "-."),
    "all": SeriesStyle("all pairs", INK, "o", "-"),
    "nearest": SeriesStyle("nearest texts", PURPLE, "s", "--"),
    "together": SeriesStyle("taken together", ORANGE, "^", "-."),
}
STARTS = {
    "random": SeriesStyle("random", GREY, "x", "-"),
    "adapter": SeriesStyle("frozen text, adapter", BROWN, "v", "-"),
    "pca": SeriesStyle("PCA", BLUE, "s", "-"),
    "rec_pca": SeriesStyle("Rec-PCA", RED, "^", "-"),
    "shuffled": SeriesStyle("shuffled items", GREY, "x", ":"),
    "plain": SeriesStyle("PCA", BLUE, "s", "--"),
    "aligned": SeriesStyle("aligned", RED, "^", "-"),
}
MEASURES = {
    "kappa": "condition number κ",
    "lambda_max": r"eigenvalue $\lambda_{\max}$",
    "effective_rank": "effective rank",
    "lambda_max_cv": r"cv of $\lambda_{\max}$",
    "retained_variance": "retained variance",
    "total_variation": "total variation",
    "edge_cosine": "cosine over edges",
    "kernel_target_alignment": "alignment (KTA)",
    "n_effective": "items that share p",
    "overlap": "overlap with PCA",
}
_LOGARITHMIC = ("kappa", "lambda_max", "n_effective")
_QUANTITIES = {"length": "length over its mean", "cosine": "cosine"}
_FORMULAS = {
    "(4)": ("norm cv", "cosine {:g}"),
    "(5)": ("number of clusters", "within {:g}"),
}
_COLOURS = (BLUE, ORANGE, GREEN, RED)
_MARKERS = "os^D"
_HELD = 1e-3  # share of a bin that is worth showing
_STRIP = 0.5  # share of a group's width over which its series are spread


@styled
def table_distributions(table: pd.DataFrame, axes: Any, *, quantity: Literal["length", "cosine"]) -> None:
    """Histograms as steps, one panel a text table.

    table: table, series (a stage of the table, or a kind of pairs), low, high (of a bin), share. Bins
    beyond those that hold a thousandth anywhere in a panel are cut off.
    """
    kinds = {"table": "string", "series": "string", "low": "float", "high": "float", "share": "float"}
    check_columns(table, kinds, source="table_distributions")
    _known(table, "table", TABLES, "table_distributions")
    _known(table, "series", SERIES, "table_distributions")
    names = list(table["table"].unique())
    panels = axes_list(axes, len(names), source="table_distributions")
    for name, ax in zip(names, panels, strict=True):
        for series, rows in table.loc[table["table"] == name].groupby("series", sort=False):
            style, edges = SERIES[str(series)], [*rows["low"], rows["high"].iloc[-1]]
            density = rows["share"].to_numpy() / (rows["high"] - rows["low"]).to_numpy()
            ax.stairs(density, edges, color=style.color, linestyle=style.line, label=style.label)
        held = table.loc[(table["table"] == name) & (table["share"] > _HELD)]
        ax.set_xlim(held["low"].min(), held["high"].max())
        ax.margins(x=0.02)
        ax.set_title(TABLES[name].label)
        ax.set_xlabel(_QUANTITIES[quantity])
        ax.xaxis.set_major_locator(MaxNLocator(5))
        ax.yaxis.set_major_locator(MaxNLocator(4))
        ax.set_ylabel("density")
    shown = [SERIES[name] for name in table["series"].unique()]
    _legend_below(panels[0], [_line(style.label, style.line, color=style.color) for style in shown])


@styled
def formula_curves(table: pd.DataFrame, axes: Any) -> None:
    """Measured condition numbers as markers on the lines of a formula, one panel a formula.

    table: formula ("(4)" or "(5)"), x (norm cv; clusters), series (mean cosine; cosine within), measured,
    predicted, [refined] (what a finer formula predicts, dashed).
    """
    kinds = {"formula": "string", **dict.fromkeys(("x", "series", "measured", "predicted"), "float")}
    check_columns(table, kinds, source="formula_curves", optional={"refined": "float"})
    _known(table, "formula", _FORMULAS, "formula_curves")
    names = list(table["formula"].unique())
    for name, ax in zip(names, axes_list(axes, len(names), source="formula_curves"), strict=True):
        rows = table.loc[table["formula"] == name]
        x_label, series_label = _FORMULAS[name]
        for at, (series, own) in enumerate(rows.groupby("series", sort=False)):
            color, marker = _COLOURS[at % len(_COLOURS)], _MARKERS[at % len(_MARKERS)]
            own = own.sort_values("x")
            ax.plot(own["x"], own["predicted"], color=color)
            if "refined" in own:
                ax.plot(own["x"], own["refined"], color=color, linestyle="--")
            label = series_label.format(float(str(series)))
            ax.plot(own["x"], own["measured"], color=color, marker=marker, linestyle="none", label=label)
        ax.set_yscale("log")
        _values_axis(ax, rows["x"], is_log=name == "(5)")
        ax.set_xlabel(x_label)
        ax.set_ylabel(MEASURES["kappa"])
        legend_above(ax)
    text = "markers: measured; lines: the formula" + ("; dashed: refined" if "refined" in table else "")
    note(np.ravel(np.asarray(axes, dtype=object))[0], text)


@styled
def norms_through_softmax(table: pd.DataFrame, axes: Any) -> None:
    """What unequal norms make of the softmax, over their cv: items that share p, κ, and cv of λ_max.

    table: norm_cv, n_effective, kappa, lambda_max_cv; three axes.
    """
    measures = ("n_effective", "kappa", "lambda_max_cv")
    kinds = dict.fromkeys(("norm_cv", *measures), "float")
    check_columns(table, kinds, source="norms_through_softmax")
    for measure, ax in zip(measures, axes_list(axes, 3, source="norms_through_softmax"), strict=True):
        ax.plot(table["norm_cv"], table[measure], color=BLUE, marker="o")
        _measure_axis(ax, measure)
        _values_axis(ax, table["norm_cv"], is_log=False)
        ax.set_xlabel("norm cv")


@styled
def overlap_by_table(table: pd.DataFrame, ax: Axes) -> None:
    """Share of an item's neighbours by co-occurrence that are its neighbours by vector, with chance.

    table: table, stage, value, low, high, chance.
    """
    kinds = {"value": "float", "low": "float?", "high": "float?", "chance": "float"}
    check_columns(table, {"table": "string", "stage": "string"} | kinds, source="overlap_by_table")
    _known(table, "table", TABLES, "overlap_by_table")
    _known(table, "stage", SERIES, "overlap_by_table")
    place = {name: at for at, name in enumerate(table["table"].unique())}
    stages = list(table["stage"].unique())
    offsets = strip_offsets(len(stages), width=_STRIP)
    for stage, offset in zip(stages, offsets, strict=True):
        rows, style = table.loc[table["stage"] == stage], SERIES[stage]
        points(
            ax,
            rows["table"].map(place) + offset,
            rows["value"],
            style,
            yerr=arms(rows["value"], rows["low"], rows["high"]),
        )
    ax.axhline(table["chance"].mean(), color=GREY, linestyle=":", label="chance")
    ax.set_xticks(range(len(place)), [TABLES[name].label for name in place])
    ax.set_xlim(-0.5, len(place) - 0.5)
    ax.grid(visible=False, axis="x")
    ax.set_ylim(bottom=0)
    ax.set_xlabel("text embedding")
    ax.set_ylabel("shared neighbours")
    legend_above(ax)
    note(ax, f"bars: {INTERVAL} over items")


@styled
def training_losses(table: pd.DataFrame, ax: Axes) -> None:
    """Training loss over epochs, one line a start. table: start, epoch, loss."""
    check_columns(table, {"start": "string", "epoch": "int", "loss": "float"}, source="training_losses")
    _known(table, "start", STARTS, "training_losses")
    for start, rows in table.groupby("start", sort=False):
        style = STARTS[str(start)]
        ax.plot(
            rows["epoch"],
            rows["loss"],
            color=style.color,
            linestyle=style.line,
            marker=style.marker,
            label=style.label,
        )
    ax.set_xlabel("epochs")
    ax.set_ylabel("training loss (nats)")
    legend_above(ax)


@styled
def curvature_against_loss(table: pd.DataFrame, axes: Any) -> None:
    """Measures of the Hessian against the training loss, one panel a measure; training runs to the left.

    table: start, normalised, loss, measure, value; in the order of training.
    """
    kinds = {"start": "string", "normalised": "bool", "loss": "float", "measure": "string", "value": "float"}
    check_columns(table, kinds, source="curvature_against_loss")
    _known(table, "start", STARTS, "curvature_against_loss")
    _known(table, "measure", MEASURES, "curvature_against_loss")
    measures = list(table["measure"].unique())
    panels = axes_list(axes, len(measures), source="curvature_against_loss")
    for measure, ax in zip(measures, panels, strict=True):
        rows = table.loc[table["measure"] == measure]
        for (start, is_normalised), own in rows.groupby(["start", "normalised"], sort=False):
            style = STARTS[str(start)]
            ax.plot(
                own["loss"],
                own["value"],
                color=style.color,
                marker=style.marker,
                markersize=3,
                linestyle="-" if is_normalised else ":",
                markerfacecolor=style.color if is_normalised else "white",
            )
        _measure_axis(ax, measure)
        ax.set_xlabel("training loss (nats), falling to the left")
    handles = _lines(STARTS[name] for name in table["start"].unique())
    handles += [_line("normalised", "-"), _line("as they are", ":")]
    _legend_below(panels[0], handles)


@styled
def projection_sweep(table: pd.DataFrame, axes: Any, *, x_label: str) -> None:
    """Measures of projected tables over a setting, one panel a measure.

    table: table, series (solid for the first, dashed for the second), x, measure, value.
    """
    kinds = {"table": "string", "series": "string", "x": "float", "measure": "string", "value": "float"}
    check_columns(table, kinds, source="projection_sweep")
    _known(table, "table", TABLES, "projection_sweep")
    _known(table, "measure", MEASURES, "projection_sweep")
    lines = dict(zip(table["series"].unique(), ("-", "--", ":"), strict=False))
    if len(lines) < table["series"].nunique():
        raise InputError("figure projection_sweep: more than three series: choose some")
    measures = list(table["measure"].unique())
    panels = axes_list(axes, len(measures), source="projection_sweep")
    for measure, ax in zip(measures, panels, strict=True):
        rows = table.loc[table["measure"] == measure]
        for (name, series), own in rows.groupby(["table", "series"], sort=False):
            style, own = TABLES[str(name)], own.sort_values("x")
            ax.plot(
                own["x"],
                own["value"],
                color=style.color,
                linestyle=lines[series],
                marker=style.marker,
                markersize=3,
            )
        _measure_axis(ax, measure)
        ax.xaxis.set_major_locator(MaxNLocator(5))
        ax.set_xlabel(x_label)
    handles = _lines(TABLES[name] for name in table["table"].unique())
    handles += [_line(series, line) for series, line in lines.items()]
    _legend_below(panels[0], handles)


@styled
def feasible_dimensions(table: pd.DataFrame, ax: Axes) -> None:
    """How many dimensions a λ leaves to choose from. table: table, weight (λ), dimensions."""
    kinds = {"table": "string", "weight": "float", "dimensions": "int"}
    check_columns(table, kinds, source="feasible_dimensions")
    _known(table, "table", TABLES, "feasible_dimensions")
    for name, rows in table.groupby("table", sort=False):
        style, shown = TABLES[str(name)], rows[rows["dimensions"] > 0]
        ax.plot(shown["weight"], shown["dimensions"], color=style.color, marker=style.marker, markersize=3)
    ax.set_yscale("log")
    ax.set_xlabel("weight λ of the penalty")
    ax.set_ylabel("feasible dimensions")
    _legend_below(ax, _lines(TABLES[name] for name in table["table"].unique()))


def _known(table: pd.DataFrame, column: str, names: Mapping[str, Any], source: str) -> None:
    unknown = sorted(set(table[column]) - set(names))
    if unknown:
        raise InputError(f"figure {source}: unknown {column} {unknown}; it draws {', '.join(names)}")


def _measure_axis(ax: Axes, measure: str) -> None:
    ax.set_ylabel(MEASURES[measure])
    if measure in _LOGARITHMIC:
        ax.set_yscale("log")
        ax.yaxis.set_minor_locator(NullLocator())
    else:
        ax.yaxis.set_major_locator(MaxNLocator(5))


def _values_axis(ax: Axes, values: pd.Series, *, is_log: bool) -> None:
    """Ticks at the values that were tried."""
    if is_log:
        ax.set_xscale("log")
    ax.xaxis.set_major_locator(FixedLocator(sorted(values.unique())))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))


def _lines(styles: Iterable[SeriesStyle]) -> list[Artist]:
    return [_line(style.label, style.line, color=style.color, marker=style.marker) for style in styles]


def _line(label: str, line: Any, **look: Any) -> Line2D:
    """An entry of a legend."""
    return Line2D([], [], linestyle=line, label=label, **({"color": INK} | look))


def _legend_below(ax: Axes, handles: list[Artist]) -> None:
    figure = ax.get_figure(root=True)
    assert figure is not None
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=min(len(handles), 6 if figure.get_figwidth() > WIDTHS_IN["column"] else 3),
        frameon=False,
        fontsize=SMALL_PT,
        labelcolor=INK,
        columnspacing=1.2,
        handletextpad=0.5,
    )
