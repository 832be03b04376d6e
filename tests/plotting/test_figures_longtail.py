from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from reclib.plotting import figures, style
from reclib.schema import InputError
from tests.plotting.made_tables import EXAMPLES


def drawn(name: str, **change: object) -> list:
    example = EXAMPLES[name]
    fig, axes = style.subplots(**example.subplots)
    example.draw(example.table.assign(**change), axes, **example.options)
    return fig.axes


def test_curves_hold_the_shares_above_zero_on_logarithmic_axes() -> None:
    (ax,) = drawn("two_popularity_curves")
    table = EXAMPLES["two_popularity_curves"].table
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    for line, (_, rows) in zip(ax.lines, table.groupby("kind", sort=False), strict=True):
        shown = rows[rows["share"] > 0]
        np.testing.assert_array_equal(line.get_xdata(), shown["rank"])
        np.testing.assert_array_equal(line.get_ydata(), shown["share"])


def test_two_curves_of_several_data_sets_have_a_panel_each() -> None:
    one = EXAMPLES["two_popularity_curves"].table
    both = pd.concat([one, one.assign(dataset="msl_toy")], ignore_index=True)
    _, axes = style.subplots(columns=2, width="text")
    figures.two_popularity_curves(both, axes)
    assert [ax.get_title(loc="right") for ax in axes] == ["MovieLens-100K", "Toy"]
    assert [len(ax.lines) for ax in axes] == [2, 2]


def test_a_cell_stands_where_its_name_says_with_its_number() -> None:
    table = EXAMPLES["tail_cells"].table
    for ax, (method, rows) in zip(drawn("tail_cells"), table.groupby("method", sort=False), strict=True):
        assert ax.get_title() == style.METHOD_STYLE[str(method)].label
        written = {(text.get_position()): text.get_text() for text in ax.texts}
        for row in rows.to_dict("records"):
            place = (float(row["group"][1] == "T"), float(row["group"][0] == "T"))
            first = written[place].splitlines()[0]
            assert first == ("–" if np.isnan(row["value"]) else f"{row['value']:.3f}")
            assert f"{row['n_items']} items" in written[place]
        image = ax.images[0].get_array().filled(np.nan)
        np.testing.assert_array_equal(image.ravel(), rows["value"])


def test_contrasts_and_coefficients_are_drawn_with_their_intervals() -> None:
    (ax,) = drawn("matched_contrasts")
    table = EXAMPLES["matched_contrasts"].table
    for container, (_, rows) in zip(ax.containers, table.groupby("method", sort=False), strict=True):
        shown = rows[rows["value"].notna()]
        point, _, (bar,) = container.lines
        np.testing.assert_array_equal(point.get_ydata(), shown["value"])
        ends = np.array([segment[:, 1] for segment in bar.get_segments()])
        np.testing.assert_allclose(ends, shown[["low", "high"]])
    for ax, (term, rows) in zip(
        drawn("hit_coefficients"),
        EXAMPLES["hit_coefficients"].table.groupby("term", sort=False),
        strict=True,
    ):
        assert ax.get_title() == term
        values = [container.lines[0].get_xdata()[0] for container in ax.containers]
        assert values == rows["value"].tolist()


def test_methods_that_differ_by_their_line_are_told_apart_without_one() -> None:
    assert {"lml", "sasrec"} <= set(EXAMPLES["matched_contrasts"].table["method"])
    for name in ("matched_contrasts", "hit_coefficients"):
        points = [container.lines[0] for container in drawn(name)[0].containers]
        looks = {(point.get_color(), point.get_marker()) for point in points}
        assert len(looks) == len(points) == 3


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("two_popularity_curves", {"kind": "mine"}, r"unknown kinds \['mine'\]"),
        ("tail_cells", {"group": "XX"}, r"unknown groups \['XX'\]"),
        ("tail_cells", {"group": "HH"}, "one row a method and cell"),
        ("tail_cells", {"method": "mine"}, "one row a method and cell"),
        ("matched_contrasts", {"group": "1"}, "one row a method and group"),
        ("hit_coefficients", {"term": "data"}, "several rows for one term"),
    ],
)
def test_tables_that_fit_no_figure_are_refused(name: str, change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        drawn(name, **change)


def test_a_gap_that_is_not_above_its_error_has_no_place_on_a_logarithmic_axis() -> None:
    gap = EXAMPLES["gap_by_frequency"].table["gap"].copy()
    gap.iloc[1], error = -0.2, EXAMPLES["gap_by_frequency"].table["gap_error"].copy()
    error.iloc[2] = np.nan
    (ax,) = drawn("gap_by_frequency", gap=gap, gap_error=error)
    first, second = (container.lines[0].get_ydata() for container in ax.containers[:2])
    assert len(first) == len(second) - 1
    assert gap.iloc[2] in first
