from __future__ import annotations

import io
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.axis import Axis
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from reclib.plotting import export, figures, style
from reclib.plotting.parts import arms
from reclib.schema import InputError
from tests.plotting.made_tables import EXAMPLES, Example

every_figure = pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES.keys())


def drawn(example: Example, table: pd.DataFrame) -> Figure:
    fig, axes = style.subplots(**example.subplots)
    example.draw(table, axes, **example.options)
    return fig


def pixels(fig: Figure) -> bytes:
    buffer = io.BytesIO()
    fig.savefig(buffer, dpi=60, metadata={"Software": None})
    return buffer.getvalue()


def test_every_figure_has_an_example() -> None:
    assert {example.draw.__name__ for example in EXAMPLES.values()} == set(figures.__all__)


@every_figure
def test_a_figure_is_redrawn_from_its_csv(example: Example, tmp_path: Path, low_resolution: None) -> None:
    fig = drawn(example, example.table)
    export.save_figure(fig, "one", example.table, "Made.", folder=tmp_path, provenance={"profile": "default"})
    again = drawn(example, export.read_numbers(tmp_path / "one.csv"))
    assert pixels(again) == pixels(drawn(example, example.table))


def intervals(table: pd.DataFrame) -> list[str]:
    """The columns of a table that hold ends of intervals by resampling."""
    measured = {"value": ("low", "high")}
    measured |= {side: (f"{side}_low", f"{side}_high") for side in ("overall", "tail")}
    return [end for name, ends in measured.items() if name in table for end in ends if end in table]


def n_marks(fig: Figure) -> int:
    """Points with error bars, or that could have them."""
    bars = [each for ax in fig.axes for each in ax.containers if isinstance(each, ErrorbarContainer)]
    return sum(len(each.lines[0].get_xdata()) for each in bars if each.lines[0] is not None)


@pytest.mark.parametrize("name", [name for name, each in EXAMPLES.items() if intervals(each.table)])
def test_a_value_without_an_interval_is_shown_without_a_bar(name: str) -> None:
    """As of windows without a hit; see `statistics.percentile_interval`."""
    example = EXAMPLES[name]
    ends = example.table[intervals(example.table)].astype(float)
    ends.iloc[0] = np.nan
    without = example.table.assign(**ends)
    drawn(example, without).draw_without_rendering()
    assert n_marks(drawn(example, without)) == n_marks(drawn(example, example.table))


@every_figure
def test_everything_is_on_the_page_and_legible(example: Example) -> None:
    fig = drawn(example, example.table)
    fig.draw_without_rendering()
    shown = fig.get_tightbbox()  # inches, of all that is drawn
    width, height = fig.get_size_inches()
    assert min(shown.x0, shown.y0) > -0.01
    assert shown.x1 < width + 0.01
    assert shown.y1 < height + 0.01
    assert min(text.get_fontsize() for text in fig.findobj(Text) if text.get_text()) >= style.SMALL_PT


@every_figure
def test_tick_labels_do_not_overlap(example: Example) -> None:
    fig = drawn(example, example.table)
    fig.draw_without_rendering()
    for ax in fig.axes:
        if ax.get_xticklabels()[0].get_rotation():
            continue  # the boxes of turned labels overlap, the labels do not
        boxes = visible_label_boxes(ax.xaxis)
        assert all(left.x1 < right.x0 for left, right in zip(boxes, boxes[1:], strict=False))


def visible_label_boxes(axis: Axis) -> list[Bbox]:
    low, high = sorted(axis.get_view_interval())
    ticks = sorted(axis.get_major_ticks(), key=lambda tick: tick.get_loc())
    labels = [tick.label1 for tick in ticks if low <= tick.get_loc() <= high]
    return [label.get_window_extent() for label in labels if label.get_text()]


@every_figure
def test_settings_outside_change_nothing(example: Example) -> None:
    expected = pixels(drawn(example, example.table))
    hostile = {"font.size": 15, "axes.facecolor": "black", "lines.linewidth": 5, "axes.grid": False}
    with mpl.rc_context(hostile | {"xtick.labelsize": 20, "errorbar.capsize": 9, "legend.fontsize": 20}):
        fig = drawn(example, example.table)
    assert pixels(fig) == expected


@every_figure
def test_every_axis_is_labelled(example: Example) -> None:
    fig = drawn(example, example.table)
    assert all(ax.get_xlabel() for ax in fig.axes)
    names = "".join(label.get_text() for label in fig.axes[0].get_yticklabels())
    assert all(ax.get_ylabel() for ax in fig.axes) or any(letter.isalpha() for letter in names)


@every_figure
def test_a_missing_and_an_unknown_column_are_named(example: Example) -> None:
    _, axes = style.subplots(**example.subplots)
    optional = {"targets", "n", "small", "positions"}
    for column in set(example.table.columns) - optional:
        with pytest.raises(InputError, match=column):
            example.draw(example.table.drop(columns=column), axes, **example.options)
    with pytest.raises(InputError, match="colour_of_the_sky"):
        example.draw(example.table.assign(colour_of_the_sky=1), axes, **example.options)


@every_figure
def test_an_empty_table_is_refused(example: Example) -> None:
    with pytest.raises(InputError, match="no rows"):
        drawn(example, example.table.iloc[:0])


def test_lines_hold_the_numbers_of_the_table() -> None:
    example = EXAMPLES["gradient_norms"]
    (ax,) = drawn(example, example.table).axes
    for line, (_, rows) in zip(ax.lines, example.table.groupby("part", sort=False), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), rows["step"])
        np.testing.assert_array_equal(line.get_ydata(), rows["value"])


def test_dots_stand_in_the_row_of_their_method_with_their_interval() -> None:
    example = EXAMPLES["method_comparison"]
    fig = drawn(example, example.table)
    for ax, (_, rows) in zip(fig.axes, example.table.groupby("metric", sort=False), strict=True):
        for place, (container, row) in enumerate(zip(ax.containers, rows.itertuples(), strict=True)):
            point, _, (bar,) = container.lines
            assert point.get_xydata().tolist() == [[row.value, place]]
            ends = bar.get_segments()[0][:, 0]
            assert ends.tolist() == pytest.approx([row.low, row.high])
    names = [label.get_text() for label in fig.axes[0].get_yticklabels()]
    assert names == ["LML", "MSL", "MSL, τ = 2", "MSL + ATS", "popularity", "uniform"]


def test_an_interval_that_misses_a_constant_by_a_rounding_error_is_drawn_and_a_real_miss_refused() -> None:
    constant = np.log(1349)
    np.testing.assert_array_equal(arms(constant, np.nextafter(constant, 8), constant), [[0.0], [0.0]])
    np.testing.assert_allclose(arms([1.0, 2.0], [0.5, 2.5], [1.5, 3.0]), [[0.5, -0.5], [0.5, 1.0]])


def test_a_temperature_curve_without_a_hit_has_no_negative_ticks() -> None:
    example = EXAMPLES["temperature_curve"]
    (ax,) = drawn(example, example.table.assign(value=0.0, low=0.0, high=0.0)).axes
    assert ax.get_ylim()[0] == 0


def test_an_adaptive_temperature_is_a_point_with_its_range() -> None:
    example = EXAMPLES["temperature_curve"]
    (ax,) = drawn(example, example.table).axes
    point, _, bars = ax.containers[1].lines
    assert point.get_xydata().tolist() == [[1.9, 0.0275]]
    assert bars[0].get_segments()[0][:, 0].tolist() == pytest.approx([1.5, 2.6])


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("method_comparison", {"metric": "HR", "k": 10}, "several rows in one panel"),
        ("method_comparison", {"group": ["head", "tail"] * 9}, "choose one"),
        ("gradient_norms", {"part": "mine"}, "no style"),
        ("decoding_cost", {"metric": "speed"}, "unknown metrics"),
        ("paper_against_ours", {"status": "maybe"}, "unknown status"),
    ],
)
def test_a_table_that_fits_no_figure_is_refused(name: str, change: dict, message: str) -> None:
    example = EXAMPLES[name]
    with pytest.raises(InputError, match=message):
        drawn(example, example.table.assign(**change))


def test_axes_that_do_not_fit_the_panels_are_refused() -> None:
    example = EXAMPLES["method_comparison"]
    with pytest.raises(InputError, match="2 panels in the table, 3 axes"):
        drawn(example, example.table.query("metric != 'HR'"))
