from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
import seaborn

from reclib.plotting import style
from reclib.schema import InputError


def test_palette_is_seaborns_colorblind() -> None:
    assert [color.lower() for color in seaborn.color_palette("colorblind").as_hex()] == list(style.PALETTE)


@pytest.mark.parametrize("width", ["column", "text"])
def test_size_follows_from_width_and_panels(width: style.Width) -> None:
    inches = style.WIDTHS_IN[width]
    assert style.size(width=width, columns=2, rows=3, ratio=0.5)["figure.figsize"] == (
        inches,
        pytest.approx(inches / 2 * 0.5 * 3, abs=1e-3),
    )


def test_unknown_width_is_refused() -> None:
    with pytest.raises(InputError, match="'page'"):
        style.size(width="page")  # type: ignore[arg-type]


def test_settings_are_matplotlibs_and_leave_no_trace() -> None:
    before = dict(mpl.rcParams)
    fig, _ = style.subplots(1, 2, width="text")
    assert dict(mpl.rcParams) == before
    assert fig.get_layout_engine() is not None
    assert fig.get_size_inches()[0] == style.WIDTHS_IN["text"]
    assert style.rc()["pdf.fonttype"] == 42
    assert style.rc()["savefig.bbox"] is None
    assert set(style.rc()) <= set(mpl.rcParams)


@pytest.mark.parametrize("styles", [style.METHOD_STYLE, style.DATASET_STYLE])
def test_no_two_look_alike(styles: dict[str, style.SeriesStyle]) -> None:
    looks = {(one.color, one.marker, one.line) for one in styles.values()}
    labels = {one.label for one in styles.values()}
    assert len(looks) == len(labels) == len(styles)


def test_objectives_of_one_figure_differ_without_colour() -> None:
    compared = ["lml", "msl", "msl_temperature", "msl_ats", "msl_alpha", "untuned", "popularity", "uniform"]
    shown = style.method_styles(compared)
    assert len({one.marker for one in shown.values()}) == len(compared)


def test_temperatures_are_labelled_and_told_apart() -> None:
    shown = style.method_styles(["msl", "msl_2", "msl_4.5", "lml_1.5", "msl_5"])
    assert [one.label for one in shown.values()] == [
        "MSL",
        "MSL, τ = 2",
        "MSL, τ = 4.5",
        "LML, τ = 1.5",
        "MSL, τ = 5",
    ]
    assert shown["msl_2"].color == shown["msl_4.5"].color == style.METHOD_STYLE["msl_temperature"].color
    assert len({(one.color, one.marker, one.line) for one in shown.values()}) == 5


def test_a_method_with_normalised_items_looks_like_itself_and_is_told_apart() -> None:
    shown = style.method_styles(["pca", "pca_norm", "random_norm"])
    assert [one.label for one in shown.values()] == ["PCA init", "PCA init + norm", "random init + norm"]
    assert shown["pca_norm"].color == shown["pca"].color
    assert shown["pca_norm"].marker != shown["pca"].marker
    with pytest.raises(InputError, match="mine_norm"):
        style.method_styles(["mine_norm"])


def test_an_unknown_method_is_refused_and_can_be_added(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r'METHOD_STYLE\["mine"\]'):
        style.method_styles(["mine"])
    monkeypatch.setitem(style.METHOD_STYLE, "mine", style.SeriesStyle("Mine", style.GREEN, "*", "-"))
    assert style.method_styles(["mine"])["mine"].label == "Mine"


def test_an_unknown_data_set_gets_a_free_colour() -> None:
    shown = style.dataset_styles(["msl_book", "mine", "other"])
    assert shown["mine"].label == "mine"
    assert len({one.color for one in shown.values()}) == 3


def test_axes_made_elsewhere_are_drawn_in_this_style() -> None:
    @style.styled
    def draw(table: None, ax: plt.Axes) -> None:
        ax.set_xlabel("x")
        ax.plot([0, 1])

    with mpl.rc_context({"font.size": 30, "xtick.labelsize": 30, "lines.linewidth": 9}):
        fig, ax = plt.subplots()
        draw(None, ax)
        fig.draw_without_rendering()
        assert {label.get_fontsize() for label in ax.get_xticklabels()} == {style.SMALL_PT}
        assert ax.xaxis.label.get_fontsize() == style.LABEL_PT
        assert ax.lines[0].get_linewidth() == style.look()["lines.linewidth"]
