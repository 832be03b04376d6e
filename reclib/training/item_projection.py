"""Text embeddings of a catalogue, projected to the width of item vectors with its co-occurrences in view."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from reclib.data.cooccurrence import normalised
from reclib.kernels import projection as kernel
from reclib.kernels.projection import InfeasibleError, Moments, Projection
from reclib.kernels.smoothness import SparseGraph, edge_cosine, kernel_target_alignment, variation_ratio
from reclib.models.products import float32_products
from reclib.schema import PAD_IDX, InputError, settle

if TYPE_CHECKING:
    from scipy.sparse import csr_array

NO_VARIATION = 1e-10  # of squared length around the mean over that of the mean: what float32 leaves of none
DENSE_WIDTH = 1024  # up to here Σ and T are small, and serve every λ and d


@dataclass(frozen=True, kw_only=True)
class ProjectionOptions:
    """How texts are projected; see `kernels.projection`.

    method: "rec_pca", or for comparison "pca", "whitened", "truncated" (Rec-PCA among the principal
    directions of a share of the variance) and "locality_preserving" (those of the least variation there)
    weight: λ of the penalty on total variation, of "rec_pca" and "truncated"
    share: of the variance, in "truncated" and "locality_preserving"
    length: of the projected vectors: "as_is", or divided by their mean length
    solver: "dense" makes the (E, E) matrices and decomposes them, "lanczos" does neither, in "rec_pca", "pca"
    and "whitened"; "auto" is dense up to a width of 1,024, or of 4 d
    """

    method: Literal["rec_pca", "pca", "whitened", "truncated", "locality_preserving"] = "rec_pca"
    weight: float = 1.0
    share: float = 0.95
    length: Literal["as_is", "mean"] = "mean"
    solver: Literal["auto", "dense", "lanczos"] = "auto"

    def __post_init__(self) -> None:
        settle(self, "projection", not_negative=("weight",), share=("share",))


@dataclass(frozen=True, eq=False)
class ProjectedTexts:
    """A fitted projection, and the catalogue it was fitted to.

    projection: keeps mean and W, for items that come later; scale: what projected vectors are multiplied by
    table: (N+1, d) float32; zero in row 0, padding, and for items without a text
    measures: retained_variance, total_variation (over the vectors' squared length), edge_cosine,
    kernel_target_alignment (the last three NaN without a graph), and counts: n_without_text, n_repeated
    (items whose text embedding another item has too), n_isolated (items without an edge)
    """

    projection: Projection
    scale: float
    table: np.ndarray
    measures: dict[str, float]

    def project(self, text: np.ndarray) -> np.ndarray:
        """Vectors of other items, cold ones for example, as those of the table, (M, E) → (M, d) float32.

        Raises InputError for another width and for a vector that is not finite.
        """
        width = len(self.projection.mean)
        if text.ndim != 2 or text.shape[1] != width:
            raise InputError(f"texts of shape {text.shape}: the projection was fitted to (…, {width})")
        _check_finite(text)
        rows = kernel.project(self.projection, torch.from_numpy(np.asarray(text, dtype=np.float32)))
        return (self.scale * rows).numpy()

    def starting_table(self, generator: np.random.Generator) -> np.ndarray:
        """The table to train from: items without a text start in a random direction, at the mean length.

        At zero, where the table has them, they would stay: a normalised vector of zeros has no direction to
        turn.
        """
        table = self.table.copy()
        length = np.linalg.norm(table, axis=1)
        absent = np.flatnonzero(length == 0)
        absent = absent[absent != PAD_IDX]
        drawn = generator.normal(size=(len(absent), table.shape[1]))
        drawn *= length[length > 0].mean() / np.linalg.norm(drawn, axis=1, keepdims=True)
        table[absent] = drawn
        return table


class TextGeometry:
    """The texts of a catalogue and its graph, gathered once; any λ, d and method are then cheap.

    text: (N+1, E), row 0, padding, zero; a vector of zeros is an item without a text: it counts nowhere.
    graph: a symmetric (N+1, N+1) of weights as `data.cooccurrence` makes, or None, for PCA and whitening.
    An item without an edge counts in the variance and pays no penalty. Equal texts get equal vectors, as a
    linear map must. is_unit: whether texts are scaled to length one before they are centred.

    Raises InputError for a graph of another catalogue or one that `normalised` refuses, for a text
    embedding that is not finite, a padding row that is not zero, and a catalogue without any text.
    """

    def __init__(self, text: np.ndarray, graph: csr_array | None, *, is_unit: bool = True) -> None:
        self._check(text, graph)
        self.text = torch.from_numpy(np.asarray(text, dtype=np.float32))
        self.is_unit = is_unit
        self.raw_graph = None if graph is None else _tensors(graph)
        self.graph = None if graph is None else _tensors(normalised(graph))

    @staticmethod
    def _check(text: np.ndarray, graph: csr_array | None) -> None:
        if graph is not None and graph.shape != (len(text), len(text)):
            raise InputError(
                f"a graph of {graph.shape[0] - 1} items for text embeddings of {len(text) - 1}: build it "
                "from the training interactions of the same catalogue"
            )
        _check_finite(text)
        if text[PAD_IDX].any():
            raise InputError("row 0 of text embeddings is padding: it must be zero")
        if graph is not None and graph[[PAD_IDX]].nnz:
            raise InputError("the graph has edges at item_idx 0, which is padding: number items from 1")
        if not text.any():
            raise InputError("all text embeddings are zero: embed the texts of the catalogue")

    @cached_property
    def centred(self) -> tuple[Tensor, Tensor]:
        """Rows as they are projected, (N+1, E), and their mean before, (E,).

        Raises InputError where all texts have one vector, but for rounding.
        """
        rows, mean = kernel.centred_rows(self.text, is_unit=self.is_unit)
        shared = float(mean.square().sum() * self._has_text.sum())
        if kernel.squared_length(rows) <= NO_VARIATION * shared:
            raise InputError("all items have the same text embedding: there is nothing to project")
        return rows, mean

    @cached_property
    def moments(self) -> Moments:
        """Σ and T, (E, E) each, O(N E²); made once for all λ and d."""
        with float32_products():
            return kernel.moments(self.centred[0], self.graph)

    def fit(self, d: int, options: ProjectionOptions | None = None) -> ProjectedTexts:
        """Project to d dimensions; by default Rec-PCA with λ = 1.

        Raises InputError for a d beyond the texts' width, for a λ that is not feasible, saying what is, where
        the method reads a graph and there is none, and where all texts have one vector.
        """
        options = options or ProjectionOptions()
        if not 1 <= d <= self.text.shape[1]:
            raise InputError(
                f"texts have {self.text.shape[1]} dimensions: choose a width of 1 to that many, not {d}"
            )
        penalises = options.method in ("rec_pca", "truncated") and options.weight > 0
        if self.graph is None and (penalises or options.method == "locality_preserving"):
            raise InputError(f"{options.method} reads a graph of items: give one, or take the method pca")
        try:
            directions, values = self._directions(d, options)
        except InfeasibleError as error:
            raise InputError(f"{options.method} to {d} dimensions: {error}") from error
        projection = Projection(self.centred[1], directions, values, self.is_unit)
        rows = self.centred[0] @ directions.float()
        length = float(torch.linalg.vector_norm(rows[self._has_text], dim=1).mean())
        scale = 1 / length if options.length == "mean" and length else 1.0
        return ProjectedTexts(projection, scale, (scale * rows).numpy(), self._measures(rows, directions))

    def _directions(self, d: int, options: ProjectionOptions) -> tuple[Tensor, Tensor]:
        weight, share = options.weight, options.share
        if options.method == "truncated":
            return kernel.truncated_rec_pca(self.moments, d, weight=weight, share=share)
        if options.method == "locality_preserving":
            return kernel.locality_preserving(self.moments, d, share=share)
        if options.method == "rec_pca":
            return self._rec_pca(d, weight, options.solver)
        directions, values = self._rec_pca(d, 0.0, options.solver)
        return (kernel.whitened(directions, values) if options.method == "whitened" else directions), values

    def _rec_pca(self, d: int, weight: float, solver: str) -> tuple[Tensor, Tensor]:
        if solver == "auto":
            width = self.text.shape[1]
            solver = "dense" if width <= max(DENSE_WIDTH, 4 * d) else "lanczos"
        if solver == "dense":
            return kernel.rec_pca(self.moments, d, weight=weight)
        with float32_products():
            return kernel.rec_pca_by_products(self.centred[0], self.graph, d, weight=weight)

    @cached_property
    def _has_text(self) -> Tensor:
        return self.text.any(dim=1)

    def _measures(self, rows: Tensor, directions: Tensor) -> dict[str, float]:
        measures = {"retained_variance": kernel.retained_variance(self.centred[0], directions)}
        for name in ("total_variation", "edge_cosine", "kernel_target_alignment"):
            measures[name] = float("nan")
        if self.graph is not None and self.raw_graph is not None:
            measures["total_variation"] = float(variation_ratio(self.graph, rows))
            measures["edge_cosine"] = float(edge_cosine(self.raw_graph, rows))
            measures["kernel_target_alignment"] = float(kernel_target_alignment(self.graph, rows))
        return measures | self._counts

    @cached_property
    def _counts(self) -> dict[str, float]:
        with_text = self._has_text.nonzero()[:, 0].tolist()
        times = Counter(hash(self.text[row].numpy().tobytes()) for row in with_text)
        n_isolated = 0 if self.graph is None else int(self.graph.is_isolated[PAD_IDX + 1 :].sum())
        return {
            "n_without_text": float(len(self.text) - 1 - len(with_text)),
            "n_repeated": float(sum(count for count in times.values() if count > 1)),
            "n_isolated": float(n_isolated),
        }


def _tensors(graph: csr_array) -> SparseGraph:
    graph = graph.tocsr()
    return SparseGraph(
        torch.from_numpy(graph.indptr.astype(np.int64)),
        torch.from_numpy(graph.indices.astype(np.int64)),
        torch.from_numpy(graph.data.astype(np.float64)),
    )


def _check_finite(text: np.ndarray) -> None:
    bad = ~np.isfinite(text).all(axis=1)
    if bad.any():
        raise InputError(
            f"the text embedding in row {int(bad.argmax())} is not finite: embed that text again"
        )
