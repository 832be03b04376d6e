"""Figures of TF-LLMER's comparison."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.ticker import MaxNLocator

from reclib.plotting.parts import axes_list, check_columns, marked_line, note
from reclib.plotting.style import INK, SMALL_PT, method_styles, styled


@styled
def loss_curves(table: pd.DataFrame, axes: Any) -> None:
    """Training loss by epoch, one line a method with the range of its seeds; one panel a stretch of epochs.

    table: panel (its title), method, epoch, value, low, high (missing where there is one seed).
    """
    kinds = {"panel": "string", "method": "string", "epoch": "int", "value": "float"}
    check_columns(table, kinds | {"low": "float?", "high": "float?"}, source="loss_curves")
    styles, names = method_styles(table["method"]), list(table["panel"].unique())
    panels = axes_list(axes, len(names), source="loss_curves")
    for name, ax in zip(names, panels, strict=True):
        own = table.loc[table["panel"] == name]
        for method, style in styles.items():
            rows = own.loc[own["method"] == method]
            marked_line(ax, rows["epoch"], rows["value"], style, n_markers=8)
            if rows["low"].notna().all():
                ax.fill_between(rows["epoch"], rows["low"], rows["high"], color=style.color, alpha=0.2, lw=0)
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        ax.set_xlabel("epoch")
        ax.set_ylabel("training loss (nats)")
        ax.set_title(name)
    handles, labels = panels[0].get_legend_handles_labels()
    panels[0].figure.legend(
        handles,
        labels,
        loc="outside upper center",
        ncols=(len(labels) + 1) // 2,
        frameon=False,
        fontsize=SMALL_PT,
        labelcolor=INK,
    )
    if table["low"].notna().any():
        note(panels[0], "bands: lowest and highest seed")
