"""What item vectors start from in the trainings of the geometry study, and what module holds them.

Derived by us: §3.6, §5 and statement 5 of the specification of TF-LLMER.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from reclib.analysis.tf_llmer.geometry import unit_rows
from reclib.analysis.tf_llmer.misalignment import with_spectrum_of
from reclib.models.items import IdItems, NormalisedItems
from reclib.models.text_adapter import TextAdapter
from reclib.schema import PAD_IDX, InputError
from reclib.seeding import numpy_generator
from reclib.training.item_projection import ProjectionOptions

if TYPE_CHECKING:
    from reclib.analysis.tf_llmer.geometry import GeometryBench

RANDOM, ADAPTER, PCA, REC_PCA = "random", "adapter", "pca", "rec_pca"
SHUFFLED, PLAIN, ALIGNED = "shuffled", "plain", "aligned"  # of one spectrum and of unit length
ONE_SPECTRUM = (SHUFFLED, PLAIN, ALIGNED)
ROUNDS = 100  # of alternating between the spectrum and the length


def reduced(bench: GeometryBench, table: str, *, weight: float) -> np.ndarray:
    """A text table brought to the backbone's width by Rec-PCA, λ = 0 is PCA; mean length one, (N+1, d).

    Items without a text start in a random direction.
    """
    fitted = bench.space(table).fit(bench.settings.backbone.d_model, ProjectionOptions(weight=weight))
    return fitted.starting_table(numpy_generator(0, f"absent texts of {table}"))


def one_spectrum(bench: GeometryBench, table: str, *, weight: float) -> dict[str, np.ndarray]:
    """Three tables of unit rows and of one spectrum that differ in which items lie together, (N+1, d) each.

    "plain": PCA, rows scaled to length one; "shuffled": its rows given to other items at random; "aligned":
    Rec-PCA's geometry, alternately given that spectrum and scaled to length one, which settles on both.
    """
    plain = unit_rows(reduced(bench, table, weight=0.0))
    order = numpy_generator(0, f"shuffled {table}").permutation(len(plain) - 1)
    aligned = unit_rows(reduced(bench, table, weight=weight))
    for _ in range(ROUNDS):
        aligned = unit_rows(with_spectrum_of(aligned, plain))
    tables = {SHUFFLED: np.concatenate([plain[:1], plain[1:][order]]), PLAIN: plain, ALIGNED: aligned}
    return {name: rows.astype(np.float32) for name, rows in tables.items()}


def item_module(
    bench: GeometryBench, start: str, table: str, *, weight: float, scale: float | None
) -> nn.Module:
    """Item vectors of a start, normalised to length `scale` where it is given; weights are drawn globally.

    "random": N(0, 0.02²); "adapter": two linear layers over the frozen texts, as LLM-ESR's, the texts
    divided by their mean length; "pca", "rec_pca": trained tables that start from `reduced`; the others:
    trained tables that start from `one_spectrum`. Raises InputError for another start.
    """
    items = _items(bench, start, table, weight)
    return items if scale is None else NormalisedItems(items, scale=scale)


def _items(bench: GeometryBench, start: str, table: str, weight: float) -> nn.Module:
    width = bench.settings.backbone.d_model
    if start == RANDOM:
        return IdItems(bench.dataset.n_items, width)
    if start == ADAPTER:
        text = bench.tables[table]
        length = np.linalg.norm(text, axis=1)
        return TextAdapter(text / length[length > 0].mean(), width, hidden=width)
    if start in (PCA, REC_PCA):
        return IdItems.from_matrix(reduced(bench, table, weight=weight if start == REC_PCA else 0.0))
    if start in ONE_SPECTRUM:
        return IdItems.from_matrix(one_spectrum(bench, table, weight=weight)[start])
    known = ", ".join((RANDOM, ADAPTER, PCA, REC_PCA, *ONE_SPECTRUM))
    raise InputError(f"start {start!r} is unknown: choose one of {known}")


def spectrum_difference(rows: np.ndarray, other: np.ndarray) -> float:
    """‖s − t‖/‖t‖ of the singular values of two tables of one shape; 0 where they are one."""
    first, second = (np.linalg.svd(each[PAD_IDX + 1 :], compute_uv=False) for each in (rows, other))
    return float(np.linalg.norm(first - second) / np.linalg.norm(second))
