from __future__ import annotations

import numpy as np
import pytest

from reclib.plotting import style
from reclib.schema import InputError
from tests.plotting.made_tables import EXAMPLES


def drawn(name: str, **change: object) -> list:
    example = EXAMPLES[name]
    fig, axes = style.subplots(**example.subplots)
    example.draw(example.table.assign(**change), axes, **example.options)
    return fig.axes


def test_steps_are_densities() -> None:
    ax = drawn("table_distributions")[0]
    for patch in ax.patches:
        heights, edges, _ = patch.get_data()
        assert (heights * np.diff(edges)).sum() == pytest.approx(1)


def test_markers_are_measured_and_lines_predicted() -> None:
    table = EXAMPLES["formula_curves"].table
    ax, _ = drawn("formula_curves")
    rows = table[(table["formula"] == "(4)") & (table["series"] == 0.2)]
    predicted, measured = ax.lines[0], ax.lines[1]
    np.testing.assert_array_equal(predicted.get_ydata(), rows["predicted"])
    np.testing.assert_array_equal(measured.get_ydata(), rows["measured"])
    assert (predicted.get_marker(), measured.get_linestyle()) == ("None", "None")


def test_normalised_trainings_are_solid_and_hold_their_numbers() -> None:
    table = EXAMPLES["curvature_against_loss"].table
    for ax, (_, rows) in zip(
        drawn("curvature_against_loss"), table.groupby("measure", sort=False), strict=True
    ):
        for line, ((_, is_normalised), own) in zip(
            ax.lines, rows.groupby(["start", "normalised"], sort=False), strict=True
        ):
            assert line.get_linestyle() == ("-" if is_normalised else ":")
            np.testing.assert_array_equal(line.get_ydata(), own["value"])


def test_no_feasible_dimension_is_not_drawn() -> None:
    (ax,) = drawn("feasible_dimensions")
    assert (EXAMPLES["feasible_dimensions"].table["dimensions"] == 0).any()
    assert all((line.get_ydata() > 0).all() for line in ax.lines)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("table_distributions", {"table": "mine"}, r"unknown table \['mine'\]"),
        ("table_distributions", {"series": "mine"}, r"unknown series \['mine'\]"),
        ("formula_curves", {"formula": "(7)"}, r"unknown formula"),
        ("overlap_by_table", {"stage": "mine"}, r"unknown stage"),
        ("training_losses", {"start": "mine"}, r"unknown start"),
        ("curvature_against_loss", {"measure": "mine"}, r"unknown measure"),
        ("projection_sweep", {"series": [str(i % 5) for i in range(90)]}, "more than three series"),
    ],
)
def test_tables_that_fit_no_figure_are_refused(name: str, change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        drawn(name, **change)
