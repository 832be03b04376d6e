"""Figures of the data: popularity of items, and valid tokens of the catalogue's trie."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from reclib.plotting.parts import axes_list, check_columns, legend_above, marked_line, percent_axis
from reclib.plotting.style import BLUE, GREY, INK, ORANGE, SMALL_PT, dataset_styles, styled


@styled
def popularity_curve(table: pd.DataFrame, ax: Axes) -> None:
    """Training interactions of the items, most popular first, with the head and its share.

    table: rank (1 is the most popular), count, cumulative_share (of all interactions, up to this item),
    is_head; one row an item. Logarithmic axes; items without interactions lie at 0.
    """
    kinds = {"rank": "int", "count": "int", "cumulative_share": "float", "is_head": "bool"}
    check_columns(table, kinds, source="popularity_curve")
    ax.plot(table["rank"], table["count"], color=BLUE)
    ax.set_xscale("log")
    ax.set_yscale("symlog", linthresh=1)
    ax.set_ylim(bottom=0)
    ax.set_xlim(1, len(table))
    ax.set_xlabel("item, by rank of popularity")
    ax.set_ylabel("training interactions")
    head = table.loc[table["is_head"]]
    if not head.empty:
        ax.axvspan(1, head["rank"].iloc[-1], color=GREY, alpha=0.2, linewidth=0)
        share = head["cumulative_share"].iloc[-1]
        note = f"head: {len(head):,} items,\n{share:.0%} of interactions"
        ax.text(0.04, 0.06, note, transform=ax.transAxes, fontsize=SMALL_PT, color=INK)


@styled
def items_by_frequency(table: pd.DataFrame, ax: Axes) -> None:
    """Shares of the items and of the interactions by how often an item occurs in training.

    table: low (edge of the bin), label, items (number, written above), item_share, interaction_share;
    one row a bin.
    """
    kinds = {
        "low": "int",
        "label": "string",
        "items": "int",
        "item_share": "float",
        "interaction_share": "float",
    }
    check_columns(table, kinds, source="items_by_frequency")
    place = np.arange(len(table))
    ax.bar(place - 0.2, table["item_share"], 0.4, color=BLUE, edgecolor=INK, label="items (number above)")
    ax.bar(
        place + 0.2,
        table["interaction_share"],
        0.4,
        color=ORANGE,
        edgecolor=INK,
        hatch="///",
        label="interactions",
    )
    for x, row in zip(place, table.to_dict("records"), strict=True):
        top = max(row["item_share"], row["interaction_share"])
        ax.annotate(
            f"{row['items']:,}",
            (x, top),
            (0, 1.5),
            textcoords="offset points",
            ha="center",
            fontsize=SMALL_PT,
        )
    ax.margins(y=0.12)
    ax.set_xticks(place, table["label"], rotation=45, ha="right", rotation_mode="anchor")
    ax.grid(visible=False, axis="x")
    percent_axis(ax.yaxis)
    ax.set_xlabel("training interactions of an item")
    ax.set_ylabel("share (%)")
    legend_above(ax)


@styled
def valid_tokens_by_depth(table: pd.DataFrame, axes: Sequence[Axes]) -> None:
    """Mean number of valid tokens, and share of forced positions, at each position of the target's title.

    table: dataset, position (1 is the first token), mean_valid_tokens, forced_share, and maybe targets
    (number of targets that long); axes: two.
    """
    kinds = {"dataset": "string", "position": "int", "mean_valid_tokens": "float", "forced_share": "float"}
    check_columns(table, kinds, source="valid_tokens_by_depth", optional={"targets": "int"})
    left, right = axes_list(axes, 2, source="valid_tokens_by_depth")
    styles = dataset_styles(table["dataset"])
    for name, rows in table.groupby("dataset", sort=False):
        marked_line(left, rows["position"], rows["mean_valid_tokens"], styles[str(name)])
        marked_line(right, rows["position"], rows["forced_share"], styles[str(name)])
    left.set_yscale("log")
    left.set_ylabel("mean valid tokens")
    right.set_ylabel("forced positions (%)")
    right.set_ylim(-0.02, 1.02)
    percent_axis(right.yaxis)
    for ax in (left, right):
        ax.set_xlabel("position in the title (tokens)")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_above(left)
