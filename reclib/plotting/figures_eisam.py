"""Figures of sharpness-aware training: tail against overall, sharpness by popularity, slices, sensitivity."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator, StrMethodFormatter

from reclib.plotting.parts import (
    INTERVAL,
    arms,
    axes_list,
    check_columns,
    legend_above,
    metric_label,
    note,
    points,
    strip_offsets,
    swept,
)
from reclib.plotting.style import INK, SMALL_PT, dataset_styles, method_styles, styled
from reclib.schema import InputError

_VALUE = {"value": "float", "low": "float?", "high": "float?"}
_STRIP = 0.6  # share of a decile's width over which its methods are spread
SWEPT_EISAM = {"radius": "radius ρ", "penalty": "penalty λ", "gamma": "exponent γ of the weights"}
_DIRECTIONS = {"ascent": "along its own gradient", "random": "along a random direction"}


@styled
def tail_against_overall(table: pd.DataFrame, axes: Any) -> None:
    """Change against ERM on tail targets over the change on all targets, one panel a data set.

    table: dataset, method, metric, k, overall, overall_low, overall_high, tail, tail_low, tail_high. Above
    the horizontal line the tail gains; left of the vertical one that is paid for by the other targets.
    """
    sides = {f"{side}_{end}": "float?" for side in ("overall", "tail") for end in ("low", "high")}
    sides |= {"overall": "float", "tail": "float"}
    kinds = {"dataset": "string", "method": "string", "metric": "string", "k": "int?"}
    check_columns(table, kinds | sides, source="tail_against_overall")
    styles, names = method_styles(table["method"]), dataset_styles(table["dataset"])
    panels = axes_list(axes, len(names), source="tail_against_overall")
    for (dataset, shown), ax in zip(names.items(), panels, strict=True):
        for row in table.loc[table["dataset"] == dataset].to_dict("records"):
            style = styles[row["method"]]
            points(
                ax,
                row["overall"],
                row["tail"],
                style,
                xerr=arms(row["overall"], row["overall_low"], row["overall_high"]),
                yerr=arms(row["tail"], row["tail_low"], row["tail_high"]),
            )
        ax.axhline(0, color=INK, linewidth=0.6, zorder=1)
        ax.axvline(0, color=INK, linewidth=0.6, zorder=1)
        metric = metric_label(table["metric"].iloc[0], table["k"].iloc[0])
        ax.set_xlabel(f"change in {metric}, all targets")
        ax.set_ylabel(f"change in {metric},\ntail targets")
        ax.xaxis.set_major_locator(MaxNLocator(3))
        ax.yaxis.set_major_locator(MaxNLocator(5))
        if len(panels) > 1:
            ax.set_title(shown.label, loc="right")
    handles, labels = panels[0].get_legend_handles_labels()
    panels[0].figure.legend(
        handles, labels, loc="outside right center", frameon=False, fontsize=SMALL_PT, labelcolor=INK
    )
    note(panels[0], f"against ERM; bars: {INTERVAL}, paired")


@styled
def sharpness_by_decile(table: pd.DataFrame, ax: Axes) -> None:
    """Mean sharpness of items over their decile of popularity, one series a method.

    table: method, decile (1 the most popular), items (measured), count (their mean, written below), value,
    low, high.
    """
    kinds = {"method": "string", "decile": "int", "items": "int", "count": "float"}
    check_columns(table, kinds | _VALUE, source="sharpness_by_decile")
    if table.duplicated(["method", "decile"]).any():
        raise InputError("figure sharpness_by_decile: a method has several rows for one decile")
    styles = method_styles(table["method"])
    offsets = strip_offsets(len(styles), width=_STRIP)
    for (method, style), offset in zip(styles.items(), offsets, strict=True):
        rows = table.loc[table["method"] == method]
        yerr = arms(rows["value"], rows["low"], rows["high"])
        points(ax, rows["decile"] + offset, rows["value"], style, yerr=yerr)
    found = table.drop_duplicates("decile").sort_values("decile")
    ticks = [f"{row['decile']}\n{row['count']:.0f}" for row in found.to_dict("records")]
    ax.set_xticks(found["decile"], ticks)
    ax.grid(visible=False, axis="x")
    ax.set_ylim(bottom=0)
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.set_xlabel("decile of popularity, and its mean count")
    ax.set_ylabel("sharpness $S_i$ (nats)")
    legend_above(ax)
    note(ax, f"bars: {INTERVAL} over items")


@styled
def rise_along_lines(table: pd.DataFrame, axes: Any) -> None:
    """Rise of the loss along lines through the weights, one panel a direction and group, a line a method.

    table: method, group ("head", "tail"), direction ("ascent", "random"), distance, rise.
    """
    kinds = {"method": "string", "group": "string", "direction": "string"}
    check_columns(table, kinds | {"distance": "float", "rise": "float"}, source="rise_along_lines")
    unknown = sorted(set(table["direction"]) - set(_DIRECTIONS))
    if unknown:
        raise InputError(
            f"figure rise_along_lines: unknown directions {unknown}; it draws {', '.join(_DIRECTIONS)}"
        )
    styles = method_styles(table["method"])
    panels = list(table.groupby(["direction", "group"], sort=False))
    flat = axes_list(axes, len(panels), source="rise_along_lines")
    for ((direction, group), rows), ax in zip(panels, flat, strict=True):
        for method, own in rows.groupby("method", sort=False):
            style, own = styles[str(method)], own.sort_values("distance")
            ax.plot(
                own["distance"],
                own["rise"],
                color=style.color,
                marker=style.marker,
                markersize=2.5,
                linestyle=style.line,
                label=style.label,
            )
        ax.axvline(0, color=INK, linewidth=0.6, zorder=1)
        ax.set_title(f"{group}, {_DIRECTIONS[str(direction)]}", loc="right")
        ax.set_xlabel("distance from the weights")
        ax.set_ylabel("rise of the loss (nats)")
        ax.yaxis.set_major_locator(MaxNLocator(5))
    handles, labels = flat[0].get_legend_handles_labels()
    flat[0].legend(handles, labels, loc="upper left")


@styled
def eisam_sensitivity(table: pd.DataFrame, axes: Any) -> None:
    """A metric over ρ, λ and γ, one panel a group of targets and parameter; ERM as a line with its band.

    table: parameter (a key of SWEPT_EISAM), setting (its value; missing for ERM), method, metric, k, group,
    value, low, high.
    """
    kinds = {"parameter": "string", "setting": "float?", "method": "string", "metric": "string", "k": "int?"}
    check_columns(table, kinds | {"group": "string"} | _VALUE, source="eisam_sensitivity")
    unknown = sorted(set(table["parameter"]) - set(SWEPT_EISAM))
    if unknown:
        raise InputError(
            f"figure eisam_sensitivity: unknown parameters {unknown}; it labels {', '.join(SWEPT_EISAM)}"
        )
    styles = method_styles(table["method"])
    panels = [
        (group, parameter, table[(table["group"] == group) & (table["parameter"] == parameter)])
        for group in table["group"].unique()
        for parameter in table["parameter"].unique()
    ]
    flat = axes_list(axes, len(panels), source="eisam_sensitivity")
    for (group, parameter, rows), ax in zip(panels, flat, strict=True):
        for method, own in rows.groupby("method", sort=False):
            swept(ax, own.sort_values("setting"), styles[str(method)])
        settings = sorted(rows["setting"].dropna().unique())
        if parameter == "radius":
            ax.set_xscale("log")
        ax.xaxis.set_major_locator(FixedLocator(settings))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        ax.yaxis.set_major_locator(MaxNLocator(4))
        ax.set_xlabel(SWEPT_EISAM[parameter])
        label = metric_label(rows["metric"].iloc[0], rows["k"].iloc[0])
        ax.set_ylabel(f"{label}, {group} targets")
    legend_above(flat[0])
    note(flat[0], f"bars and band: {INTERVAL}")
