"""Figures of the masked softmax loss: its gradient, its training, its weights and its temperature."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from reclib.plotting.parts import (
    INTERVAL,
    arms,
    axes_list,
    bars,
    check_columns,
    legend_above,
    marked_line,
    metric_label,
    note,
    percent_axis,
    points,
)
from reclib.plotting.style import INK, SMALL_PT, method_styles, styled


@styled
def gradient_norms(table: pd.DataFrame, ax: Axes) -> None:
    """Gradient norms of the parts of the language-modelling loss during training ([MSL] Fig. 3).

    table: step, part ("lml_valid" 𝓛¹, "lml_item" 𝓛², maybe "lml"), value (‖∇θ·‖₂); logarithmic y-axis.
    """
    check_columns(table, {"step": "int", "part": "string", "value": "float"}, source="gradient_norms")
    for part, style in method_styles(table["part"]).items():
        rows = table.loc[table["part"] == part]
        marked_line(ax, rows["step"], rows["value"], style)
    ax.set_yscale("log")
    _steps_axis(ax)
    ax.set_xlabel("optimisation step")
    ax.set_ylabel(r"gradient norm $\Vert\nabla_\theta\,\mathcal{L}\Vert_2$")
    legend_above(ax)


@styled
def component_training(table: pd.DataFrame, ax: Axes) -> None:
    """𝓛² during training when different losses are optimised ([MSL] Fig. 4).

    table: step, method (the loss that is optimised), value (𝓛² of the step, faint), smoothed (strong),
    both in nats per target token.
    """
    kinds = {"step": "int", "method": "string", "value": "float", "smoothed": "float"}
    check_columns(table, kinds, source="component_training")
    for method, style in method_styles(table["method"]).items():
        rows = table.loc[table["method"] == method]
        ax.plot(rows["step"], rows["value"], color=style.color, alpha=0.3, linewidth=0.6)
        marked_line(ax, rows["step"], rows["smoothed"], style)
    _steps_axis(ax)
    ax.set_xlabel("optimisation step (thin: raw, thick: smoothed)")
    ax.set_ylabel(r"$\mathcal{L}^2$ (nats per target token)")
    legend_above(ax, title="optimised:")


@styled
def sorted_weights(table: pd.DataFrame, ax: Axes, *, threshold: float = 0.1) -> None:
    """Weights w = 1 − P(target) of a batch's positions, largest first, by loss ([MSL] Fig. 5).

    table: method, rank (1 is the largest weight), weight; a dotted line marks `threshold`.
    """
    check_columns(table, {"method": "string", "rank": "int", "weight": "float"}, source="sorted_weights")
    for method, style in method_styles(table["method"]).items():
        rows = table.loc[table["method"] == method]
        marked_line(ax, rows["rank"], rows["weight"], style, n_markers=6)
    ax.axhline(threshold, color=INK, linestyle=":", linewidth=0.8)
    ax.text(
        0.01, threshold + 0.015, f"w = {threshold:g}", transform=ax.get_yaxis_transform(), fontsize=SMALL_PT
    )
    ax.set_ylim(0, 1.02)
    ax.set_xlim(left=0)
    ax.set_xlabel("target position, by rank of its weight")
    ax.set_ylabel("weight w")
    legend_above(ax)


@styled
def small_weight_share_by_position(table: pd.DataFrame, ax: Axes, *, threshold: float = 0.1) -> None:
    """Where in the title the small weights stand, as shares of all small weights of a loss.

    table: method, position (1 is the first token), share, and maybe small, positions (the counts behind);
    `threshold` below which a weight is small.
    """
    kinds = {"method": "string", "position": "int", "share": "float"}
    check_columns(
        table, kinds, source="small_weight_share_by_position", optional={"small": "int", "positions": "int"}
    )
    bars(ax, table, x="position", y="share", styles=method_styles(table["method"]), by="method")
    percent_axis(ax.yaxis)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("position in the title (tokens)")
    ax.set_ylabel(f"share of all small weights\n(w < {threshold:g}), %")
    legend_above(ax)


_TEMPERATURE = {
    **{"method": "string", "metric": "string", "k": "int?", "temperature": "float"},
    **dict.fromkeys(("temperature_low", "temperature_high", "value", "low", "high"), "float?"),
}


@styled
def temperature_curve(table: pd.DataFrame, ax: Axes) -> None:
    """A metric over the temperature τ, and where an adaptive temperature lands ([MSL] Fig. 6).

    table: method, metric, k, temperature, temperature_low, temperature_high (range during training, missing
    for a fixed τ), value, low, high. A method with several temperatures is a curve, with one a point.
    """
    check_columns(table, _TEMPERATURE, source="temperature_curve")
    for method, style in method_styles(table["method"]).items():
        rows = table.loc[table["method"] == method]
        points(
            ax,
            rows["temperature"],
            rows["value"],
            style,
            xerr=arms(rows["temperature"], rows["temperature_low"], rows["temperature_high"]),
            yerr=arms(rows["value"], rows["low"], rows["high"]),
            line=style.line,
        )
    if not table["value"].any():
        ax.set_ylim(bottom=0)  # no hit anywhere: matplotlib would centre the axis on 0
    ax.set_xlabel("temperature τ")
    is_adaptive = table["temperature_low"].notna().any()
    note(
        ax, f"vertical bars: {INTERVAL}" + ("\nhorizontal bar: range of τ in training" if is_adaptive else "")
    )
    ax.set_ylabel(metric_label(table["metric"].iloc[0], table["k"].iloc[0]))
    legend_above(ax)


@styled
def temperature_by_dataset(table: pd.DataFrame, axes: Any) -> None:
    """`temperature_curve` in one panel a data set; table: dataset, and its columns ([MSL] Fig. 6)."""
    check_columns(table, {"dataset": "string", **_TEMPERATURE}, source="temperature_by_dataset")
    panels = list(table.groupby("dataset", sort=False))
    flat = axes_list(axes, len(panels), source="temperature_by_dataset")
    for (dataset, rows), ax in zip(panels, flat, strict=True):
        temperature_curve(rows.drop(columns="dataset"), ax)
        ax.set_title(str(dataset), loc="right")


def _steps_axis(ax: Axes) -> None:
    """No tick between two steps."""
    ax.xaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))
