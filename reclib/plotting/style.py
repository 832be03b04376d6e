"""Sizes, fonts and the look of every method, as pure functions that return matplotlib settings.

    fig, ax = style.subplots(width="column")
    figures.popularity_curve(table, ax)

Settings hold inside `context` only; nothing here changes matplotlib's global state.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Literal, ParamSpec, TypeVar

import matplotlib as mpl
import matplotlib.pyplot as plt
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reclib.schema import InputError

Width = Literal["column", "text"]
WIDTHS_IN = {"column": 3.337, "text": 7.006}  # acmart sigconf: \columnwidth and \textwidth in inches
LABEL_PT, SMALL_PT = 8.0, 7.0
SCREEN_DPI = 150  # on screen only, so that text of print size is legible in a notebook

# seaborn's palette "colorblind"; a test holds the two equal
BLUE, ORANGE, GREEN, RED, PURPLE = "#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc"
BROWN, PINK, GREY, YELLOW, SKY = "#ca9161", "#fbafe4", "#949494", "#ece133", "#56b4e9"
PALETTE = (BLUE, ORANGE, GREEN, RED, PURPLE, BROWN, PINK, GREY, YELLOW, SKY)
INK = "#262626"


@dataclass(frozen=True)
class SeriesStyle:
    """How one method or data set looks in every figure."""

    label: str
    color: str
    marker: str
    line: str | tuple[float, tuple[float, ...]]


# The keys are the names in tables; a notebook adds its own method by METHOD_STYLE["mine"] = SeriesStyle(…).
METHOD_STYLE: dict[str, SeriesStyle] = {
    "lml": SeriesStyle("LML", BLUE, "o", "-"),
    "lml_valid": SeriesStyle(r"$\mathcal{L}^1$ (valid tokens)", SKY, "s", "--"),
    "lml_item": SeriesStyle(r"$\mathcal{L}^2$ (target item)", GREEN, "D", "-"),
    "lml_temperature": SeriesStyle("LML + τ", BLUE, "o", "--"),
    "msl": SeriesStyle("MSL", RED, "^", "-"),
    "msl_temperature": SeriesStyle("MSL + τ", ORANGE, "v", "--"),
    "msl_ats": SeriesStyle("MSL + ATS", PURPLE, "P", "-."),
    "msl_alpha": SeriesStyle("MSL + α", BROWN, "X", ":"),
    "sdpo": SeriesStyle("S-DPO", GREEN, "s", "--"),
    "sdpo_same_reference": SeriesStyle("S-DPO, one reference", SKY, "D", ":"),
    "dros": SeriesStyle("SASRec + DROS", BROWN, "<", "-."),
    "dllm2rec": SeriesStyle("DLLM2Rec", PINK, ">", "--"),
    "llm_cf": SeriesStyle("LLM-CF", ORANGE, "X", "-."),
    "bigrec": SeriesStyle("BIGRec", INK, "o", "--"),
    "llara": SeriesStyle("LLaRA", ORANGE, "D", "--"),
    "a_llmrec": SeriesStyle("A-LLMRec", SKY, "^", "-."),
    "llara_lml": SeriesStyle("LLaRA, LML", BLUE, "D", ":"),
    "llara_sdpo": SeriesStyle("LLaRA, S-DPO", GREEN, "D", "-."),
    "llara_msl_ats": SeriesStyle("LLaRA, MSL + ATS", PURPLE, "D", "-."),
    "a_llmrec_lml": SeriesStyle("A-LLMRec, LML", BLUE, "^", "-"),
    "a_llmrec_sdpo": SeriesStyle("A-LLMRec, S-DPO", GREEN, "^", "--"),
    "a_llmrec_msl_ats": SeriesStyle("A-LLMRec, MSL + ATS", PURPLE, "^", "-."),
    "grounded": SeriesStyle("LML, grounded", SKY, "o", "--"),
    "grounded_popularity": SeriesStyle("LML, grounded + popularity", SKY, "v", "-"),
    "grounded_collaborative": SeriesStyle("LML, grounded + SASRec", SKY, "X", "--"),
    "untuned": SeriesStyle("no fine-tuning", INK, "<", (0, (3, 1, 1, 1))),
    "popularity": SeriesStyle("popularity", GREY, "s", ":"),
    "uniform": SeriesStyle("uniform", GREY, "x", (0, (1, 2))),
    "beam_full": SeriesStyle("beam, full softmax", BLUE, "s", "-"),
    "beam_valid": SeriesStyle("beam, valid tokens", GREEN, "o", "--"),
    "exact": SeriesStyle("exact top K", RED, "*", "-"),
    "catalogue": SeriesStyle("exact, all items", ORANGE, "D", ":"),
    "base": SeriesStyle("backbone", INK, "s", "--"),
    "cities": SeriesStyle("CITIES", SKY, "v", ":"),
    "loam": SeriesStyle("LOAM", GREEN, "^", "-."),
    "melt": SeriesStyle("MELT", BROWN, "X", "-"),
    "rlmrec_con": SeriesStyle("RLMRec-Con", BLUE, "D", "--"),
    "rlmrec_gen": SeriesStyle("RLMRec-Gen", PURPLE, "P", "-"),
    "llminit": SeriesStyle("LLMInit", ORANGE, "<", ":"),
    "llm_esr": SeriesStyle("LLM-ESR", PINK, ">", "-."),
    "faerec": SeriesStyle("FAERec", RED, "o", "-"),
    "without_gate": SeriesStyle("no gate", BLUE, "v", ":"),
    "without_item_alignment": SeriesStyle("no item alignment", ORANGE, "^", ":"),
    "without_feature_alignment": SeriesStyle("no feature alignment", GREEN, "D", ":"),
    "without_curriculum": SeriesStyle("no curriculum", PURPLE, "P", ":"),
    "without_popularity_groups": SeriesStyle("no popularity groups", BROWN, "X", "--"),
    "erm": SeriesStyle("ERM", INK, "s", "-"),
    "reweight": SeriesStyle("re-weighting", ORANGE, "v", "-"),
    "logit_adjustment": SeriesStyle("logit adjustment", BROWN, "D", "--"),
    "sam": SeriesStyle("SAM", BLUE, "^", "--"),
    "imbsam": SeriesStyle("ImbSAM", SKY, "P", "-."),
    "focal_sam": SeriesStyle("Focal-SAM", GREEN, "X", "-."),
    "cc_sam": SeriesStyle("CC-SAM-style", PINK, "<", "-"),
    "without_weights": SeriesStyle("EISAM, no weights", GREY, ">", "--"),
    "eisam2": SeriesStyle("EISAM-2", PURPLE, "*", "--"),
    "eisam": SeriesStyle("EISAM", RED, "o", "--"),
    "eisam_exact": SeriesStyle("EISAM, item by item", YELLOW, "d", "-"),
    "gru4rec": SeriesStyle("GRU4Rec", BROWN, "v", "-."),
    "sasrec": SeriesStyle("SASRec", BLUE, "o", ":"),
    "bert4rec": SeriesStyle("BERT4Rec", SKY, "s", "-"),
    "fmlp": SeriesStyle("FMLP-Rec", ORANGE, "^", "-."),
    "lrurec": SeriesStyle("LRURec", GREEN, "D", "--"),
    "narm": SeriesStyle("NARM", PURPLE, "P", "--"),
    "lightsans": SeriesStyle("LightSANs", PINK, "X", "--"),
    "gmlp": SeriesStyle("gMLP", GREY, "<", ":"),
    "hstu": SeriesStyle("HSTU", RED, "v", "--"),
    "random": SeriesStyle("random init", INK, "o", "-"),
    "pca": SeriesStyle("PCA init", BLUE, "D", "-"),
    "whitened": SeriesStyle("whitened", SKY, "^", "--"),
    "frozen_adapter": SeriesStyle("frozen + adapter", GREEN, "s", "-"),
    "alpharec": SeriesStyle("AlphaRec MLP", BROWN, "v", ":"),
    "llmemb": SeriesStyle("LLMEmb", PURPLE, "X", "-."),
    "rec_pca": SeriesStyle("Rec-PCA init", BLUE, "P", "--"),
    "tf_llmer": SeriesStyle("TF-LLMER", RED, "D", "-"),
    "norm_lookup": SeriesStyle("norm at lookup only", ORANGE, "s", "--"),
    "norm_scoring": SeriesStyle("norm at scoring only", ORANGE, "v", "-."),
    "norm_layer": SeriesStyle("layer norm", PURPLE, "s", ":"),
    "frozen": SeriesStyle("frozen table", GREEN, "P", "--"),
    "shuffled_graph": SeriesStyle("shuffled graph", GREY, "P", "-."),
    "hinge": SeriesStyle("hinge", GREEN, "P", ":"),
    "copies": SeriesStyle("exact, weights for each item", BROWN, "D", "-"),
    "naive": SeriesStyle("exact, item by item", SKY, "X", ":"),
}
DATASET_STYLE: dict[str, SeriesStyle] = {
    "ml-100k": SeriesStyle("MovieLens-100K", PURPLE, "P", "-."),
    "msl_book": SeriesStyle("Book", BLUE, "o", "-"),
    "msl_office": SeriesStyle("Office", ORANGE, "s", "--"),
    "msl_toy": SeriesStyle("Toy", GREEN, "^", ":"),
    "scientific_2018": SeriesStyle("Scientific", RED, "D", "-"),
    "games_2018": SeriesStyle("Games", BROWN, "v", "--"),
    "ml_1m": SeriesStyle("MovieLens-1M", SKY, "X", "-."),
    "synthetic": SeriesStyle("synthetic", INK, "x", (0, (3, 1, 1, 1))),
}
_LINES: tuple[Any, ...] = ("-", "--", ":", "-.", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)))
_MARKERS = "osD^vPX*<>"
_WITH_TEMPERATURE = re.compile(r"(lml|msl)_(\d+(?:\.\d+)?)")
_NORMALISED = "_norm"  # ends a method's name where its item vectors are normalised


def size(*, width: Width = "column", rows: int = 1, columns: int = 1, ratio: float = 0.66) -> dict[str, Any]:
    """Figure size in inches: the page's width, and `ratio` height to width of each panel."""
    if width not in WIDTHS_IN:
        raise InputError(f'width={width!r}: choose "column" ({WIDTHS_IN["column"]} in) or "text"')
    inches = WIDTHS_IN[width]
    return {"figure.figsize": (inches, round(inches / columns * ratio * rows, 3))}


def fonts() -> dict[str, Any]:
    """8 pt labels, 7 pt ticks and legends, at final size."""
    return {
        "font.size": LABEL_PT,
        "axes.labelsize": LABEL_PT,
        "axes.titlesize": LABEL_PT,
        "xtick.labelsize": SMALL_PT,
        "ytick.labelsize": SMALL_PT,
        "legend.fontsize": SMALL_PT,
        "legend.title_fontsize": SMALL_PT,
        "mathtext.fontset": "dejavusans",
    }


def look() -> dict[str, Any]:
    """Lines, axes, grid and legend."""
    return {
        "axes.edgecolor": INK,
        "axes.labelcolor": INK,
        "axes.axisbelow": True,
        "axes.grid": True,
        "axes.linewidth": 0.6,
        "axes.prop_cycle": plt.cycler(color=PALETTE),
        "axes.spines.right": False,
        "axes.spines.top": False,
        "grid.color": "#e3e3e3",
        "grid.linewidth": 0.5,
        "legend.frameon": False,
        "legend.handlelength": 2.2,
        "lines.linewidth": 1.2,
        "lines.markersize": 4.0,
        "patch.linewidth": 0.6,
        "text.color": INK,
        "xtick.color": INK,
        "ytick.color": INK,
    }


def export() -> dict[str, Any]:
    """Embedded TrueType fonts, 300 dpi, and the size kept as it is."""
    return {
        "figure.constrained_layout.use": True,
        "figure.dpi": SCREEN_DPI,
        "pdf.fonttype": 42,
        "ps.fonttype": 42,
        "savefig.bbox": None,
        "savefig.dpi": 300,
        "savefig.facecolor": "white",
        "savefig.transparent": False,
    }


def rc() -> dict[str, Any]:
    """All settings but the size."""
    return fonts() | look() | export()


def context(**changes: Any) -> AbstractContextManager[None]:
    """A block with this project's settings, and matplotlib's own defaults for all others."""
    return mpl.style.context(["default", rc() | changes])


def subplots(
    rows: int = 1, columns: int = 1, *, width: Width = "column", ratio: float = 0.66, **options: Any
) -> tuple[Figure, Any]:
    """Figure of final size in this project's style, and its axes as `plt.subplots` returns them."""
    with context(**size(width=width, rows=rows, columns=columns, ratio=ratio)):
        fig, axes = plt.subplots(rows, columns, **options)
    return fig, axes


P = ParamSpec("P")
R = TypeVar("R")


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Draw with this project's settings, whatever they are outside.

    The axes are the second positional argument. Their labels were made before, and their ticks are made when
    the figure is rendered, both outside this context: their sizes are fixed on the axes.
    """

    @functools.wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        with context():
            for ax in np.ravel(np.asarray(args[1], dtype=object)):
                _fix_text(ax)
            return draw(*args, **kwargs)

    return wrapper


def method_styles(methods: Iterable[str]) -> dict[str, SeriesStyle]:
    """The look of each method of one figure.

    "msl_2" and "lml_1.5" are MSL and LML at that temperature, "pca_norm" is PCA with normalised items. Where
    two of them meet, the later one takes another line and marker. Raises InputError for an unknown name.
    """
    taken: dict[str, SeriesStyle] = {}
    for name in dict.fromkeys(methods):
        taken[name] = _distinct(_method_style(name), taken.values())
    return taken


def dataset_styles(datasets: Iterable[str]) -> dict[str, SeriesStyle]:
    """The look of each data set of one figure; an unknown one gets its own name and a free colour."""
    names = list(dict.fromkeys(datasets))
    used = {DATASET_STYLE[name].color for name in names if name in DATASET_STYLE}
    free = [color for color in PALETTE if color not in used] or list(PALETTE)
    unknown = [name for name in names if name not in DATASET_STYLE]
    made = {
        name: SeriesStyle(name, free[i % len(free)], _MARKERS[i % len(_MARKERS)], _LINES[i % len(_LINES)])
        for i, name in enumerate(unknown)
    }
    return {name: made.get(name) or DATASET_STYLE[name] for name in names}


def _method_style(name: str) -> SeriesStyle:
    if name in METHOD_STYLE:
        return METHOD_STYLE[name]
    plain = METHOD_STYLE.get(name.removesuffix(_NORMALISED))
    if plain is not None:
        return replace(plain, label=f"{plain.label} + norm")
    match = _WITH_TEMPERATURE.fullmatch(name)
    if match is None:
        known = ", ".join(METHOD_STYLE)
        raise InputError(f'method {name!r} has no style: add METHOD_STYLE["{name}"], or use one of {known}')
    loss, temperature = match.groups()
    return replace(METHOD_STYLE[f"{loss}_temperature"], label=f"{loss.upper()}, τ = {float(temperature):g}")


def _distinct(style: SeriesStyle, taken: Iterable[SeriesStyle]) -> SeriesStyle:
    used = {(other.color, other.marker, other.line) for other in taken}
    others = (
        replace(style, marker=marker, line=line) for marker, line in zip(_MARKERS, _LINES, strict=False)
    )
    candidates = (one for one in (style, *others) if (one.color, one.marker, one.line) not in used)
    return next(candidates, style)


def _fix_text(ax: Axes) -> None:
    for text in (ax.xaxis.label, ax.yaxis.label, ax.title):
        text.set(fontsize=LABEL_PT, color=INK)
    ax.tick_params(which="both", labelsize=SMALL_PT, color=INK, labelcolor=INK, width=0.6)
    ax.tick_params(which="major", length=2.5)
    ax.tick_params(which="minor", length=1.5)
