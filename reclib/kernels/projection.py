"""Linear projections of text embeddings that heed a co-occurrence graph: Rec-PCA, and what it is compared to.

[TF-LLMER] = "Break the Optimization Barrier of LLM-Enhanced Recommenders: A Theoretical Analysis and
Practical Framework", arXiv 2604.20490. Confirmed by its abstract: item embeddings are normalised; Rec-PCA
reduces dimensions so as to retain semantic information and to have a small total variation over an
item–item co-occurrence graph of interactions. Derived by us, since the body is not at hand: every formula
below, by the numbers and sections of our specification. Rows of zeros (padding, and items without a text)
count nowhere and stay zero.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from reclib.kernels.eigen import lanczos, largest_eigenpairs
from reclib.kernels.smoothness import SparseGraph, laplacian_rows

SMALLEST_NORM = 1e-8
ROWS_AT_ONCE = 4096  # of a float32 product; the blocks are added up in float64
PANEL = 512  # columns of a symmetric product that are computed together
RANK_TOLERANCE = 1e-6  # over the largest eigenvalue; below is what products in float32 leave of a zero


class InfeasibleError(ValueError):
    """Fewer directions than asked for have a positive eigenvalue. n_positive: how many have."""

    def __init__(self, message: str, n_positive: int) -> None:
        super().__init__(message)
        self.n_positive = n_positive


def scaled_rows(rows: Tensor, *, scale: float = 1.0) -> Tensor:
    """The rows s e_j / (‖e_j‖ + 1e-8), of any shape (..., D); a vector of zeros stays zero.

    The gradient passes through the length, so that it is orthogonal to e_j and of size s/‖e_j‖.
    Item-embedding normalisation is confirmed by the abstract, its form and the scale are derived by us, Eq.
    (7), §5.
    """
    return rows * (scale / (torch.linalg.vector_norm(rows, dim=-1, keepdim=True) + SMALLEST_NORM))


def centred_rows(rows: Tensor, *, is_unit: bool = True, mean: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """x_i / ‖x_i‖ − x̄, (N, E) in the type of the rows, and x̄, (E,) float64.

    Scaling first removes the disparity of norms, and the mean after it the cone, before anything is
    projected (derived by us, §4.3). Without `is_unit` only the mean is taken off. mean: that of a fit, for
    rows that came later. Rows of zeros stay zero and are not part of the mean.
    """
    is_there = rows.any(dim=1, keepdim=True)
    prepared = scaled_rows(rows) if is_unit else rows.clone()
    if mean is None:
        total = torch.stack([block.double().sum(dim=0) for block in prepared.split(ROWS_AT_ONCE)]).sum(dim=0)
        mean = total / is_there.sum().clamp_min(1)
    prepared -= mean.to(prepared.dtype)
    prepared *= is_there
    return prepared, mean


class Moments(NamedTuple):
    """What every projection below is made of; it depends on neither λ nor d.

    covariance: Σ = X_cᵀ X_c, (E, E) float64; roughness: T = X_cᵀ L X_c, (E, E) float64, zero without a graph
    """

    covariance: Tensor
    roughness: Tensor


def moments(centred: Tensor, graph: SparseGraph | None = None) -> Moments:
    """Σ and T of centred rows (N, E) and the normalised graph Â of the same N rows.

    A block of rows at a time, in float32 where the rows are, added up in float64; only the panels on and
    above the diagonal. O(edges·E + N E²) time, O(E²) memory beside the rows; Â is never dense. Equivalent:
    `X.T @ X` and `X.T @ (I - Â) @ X` in float64. Derived by us, §4.4.
    """
    width = centred.shape[1]
    covariance = torch.zeros(width, width, dtype=torch.float64, device=centred.device)
    roughness = torch.zeros_like(covariance)
    for first in range(0, len(centred), ROWS_AT_ONCE):
        rows = slice(first, first + ROWS_AT_ONCE)
        _add_upper(covariance, centred[rows], centred[rows])
        if graph is not None:
            _add_upper(roughness, centred[rows], laplacian_rows(graph, centred, rows))
    return Moments(_mirrored(covariance), _mirrored(roughness))


def _add_upper(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add leftᵀ right to the panels on and above the diagonal of a total."""
    for first in range(0, total.shape[0], PANEL):
        total[first : first + PANEL, first:] += left[:, first : first + PANEL].T @ right[:, first:]


def _mirrored(upper: Tensor) -> Tensor:
    """The symmetric matrix with this upper triangle."""
    return upper.triu() + upper.triu(1).T


class Projection(NamedTuple):
    """A fitted linear projection, z = (x/‖x‖ − x̄) W; for items of the fit and for those that came later.

    mean: x̄ (E,); directions: W (E, d); eigenvalue: (d,) of each direction, descending; is_unit: whether
    rows are scaled to length one first
    """

    mean: Tensor
    directions: Tensor
    eigenvalue: Tensor
    is_unit: bool


def project(projection: Projection, rows: Tensor) -> Tensor:
    """Z (N, d) of any rows (N, E), in their type; rows of zeros stay zero."""
    centred, _ = centred_rows(rows, is_unit=projection.is_unit, mean=projection.mean)
    return centred @ projection.directions.to(centred.dtype)


def rec_pca(known: Moments, d: int, *, weight: float) -> tuple[Tensor, Tensor]:
    """W (E, d) that maximises tr(Wᵀ Σ W) − λ tr(Wᵀ T W) under WᵀW = I, and the d eigenvalues of Σ − λT.

    By Ky Fan's theorem the eigenvectors of the d largest eigenvalues; λ = `weight` = 0 is PCA, λ = 1
    maximises tr(Wᵀ X_cᵀ Â X_c W) but for isolated items. Derived by us, Eq. (6), §4.2.

    Raises InfeasibleError where not all d eigenvalues are positive: then λ outweighs the variance, and W
    would turn to directions in which the embeddings hardly differ (§4.3).
    """
    values, directions = largest_eigenpairs(known.covariance - weight * known.roughness, d)
    _check_feasible(values, float(known.covariance.diagonal().mean()), weight)
    return directions, values


def rec_pca_by_products(
    centred: Tensor, graph: SparseGraph | None, d: int, *, weight: float
) -> tuple[Tensor, Tensor]:
    """As `rec_pca`, from centred rows (N, E) and the normalised graph, without Σ, T or any (E, E) matrix.

    By `lanczos` on V ↦ X_cᵀ(X_c V − λ L X_c V), O(N E) for each direction tried: some hundred instead of E of
    them. In float32 where the rows are, blocks of rows added up in float64; residuals up to 1e-6 of the
    largest eigenvalue there, else 1e-9. Derived by us, §4.4. Raises InfeasibleError as `rec_pca`.
    """

    def product(directions: Tensor) -> Tensor:
        values = centred @ directions.to(centred.dtype)
        if graph is not None and weight:
            values = values - weight * laplacian_rows(graph, values)
        blocks = zip(centred.split(ROWS_AT_ONCE), values.split(ROWS_AT_ONCE), strict=True)
        total = torch.zeros_like(directions)
        for left, right in blocks:
            total += left.T @ right
        return total

    like = torch.zeros(centred.shape[1], dtype=torch.float64, device=centred.device)
    tolerance = 1e-6 if centred.dtype == torch.float32 else 1e-9
    values, directions = lanczos(product, d, like=like, tolerance=tolerance)
    _check_feasible(values, squared_length(centred) / centred.shape[1], weight)
    return directions, values


def _check_feasible(values: Tensor, mean_variance: float, weight: float) -> None:
    d, largest = len(values), max(float(values[0]), mean_variance)
    n_positive = int((values > RANK_TOLERANCE * largest).sum())
    if n_positive < d:
        remedy = f"take at most {n_positive} dimensions" if n_positive else "lower λ"
        remedy += " or lower λ" if weight and n_positive else ""
        raise InfeasibleError(
            f"λ = {weight:g}: {n_positive} of {d} eigenvalues of Σ − λT are positive, so that directions in "
            f"which items hardly differ would be chosen: {remedy}",
            n_positive,
        )


def principal(known: Moments, share: float) -> tuple[Tensor, Tensor]:
    """The fewest principal directions that hold a share of the variance, V (E, m), and their variances (m,).

    At most as many as the rows span. Decomposes Σ whole, O(E³).
    """
    values, vectors = torch.linalg.eigh(known.covariance)
    values, vectors = values.flip(0), vectors.flip(1)
    rank = max(1, int((values > RANK_TOLERANCE * values[0]).sum()))
    below = int((values.cumsum(0) < share * values.clamp_min(0).sum()).sum())
    kept = min(rank, below + 1)
    return vectors[:, :kept], values[:kept]


def within(known: Moments, basis: Tensor) -> Moments:
    """The moments of rows that were mapped by a basis (E, m) before: (m, m) each."""
    return Moments(basis.T @ known.covariance @ basis, basis.T @ known.roughness @ basis)


def truncated_rec_pca(known: Moments, d: int, *, weight: float, share: float) -> tuple[Tensor, Tensor]:
    """As `rec_pca` among the principal directions that hold a share of the variance: (E, d) and (d,).

    A comparison: near-null directions cannot be chosen, whatever λ. Derived by us, §4.3. Raises
    InfeasibleError as `rec_pca`, and where the principal directions are fewer than d.
    """
    basis, _ = principal(known, share)
    _check_room(basis.shape[1], d, share)
    directions, values = rec_pca(within(known, basis), d, weight=weight)
    return basis @ directions, values


def whitened(directions: Tensor, values: Tensor) -> Tensor:
    """V Λ^−½ (E, d) of principal directions and their variances, so that ZᵀZ = I. A comparison, §4.3.

    Under a uniform p the condition number is one before rows are scaled.
    """
    return directions / values.sqrt()


def locality_preserving(known: Moments, d: int, *, share: float) -> tuple[Tensor, Tensor]:
    """W (E, d) that minimises tr(Wᵀ T W) under Wᵀ Σ W = I, and 1 − its generalised eigenvalues, descending.

    Objective (6) as a ratio instead of a difference, among the principal directions that hold a share of
    the variance: these whitened, then the directions of the least total variation regardless of their
    variance. It is also Rec-PCA of the whitened rows, with the same W for every λ > 0. Relative:
    locality-preserving projections (He, Niyogi, NIPS 2003), truncated. A comparison, "Rec-PCA-w" of §4.3,
    derived by us. Raises InfeasibleError where the principal directions are fewer than d.
    """
    basis, variance = principal(known, share)
    _check_room(basis.shape[1], d, share)
    basis = basis / variance.sqrt()
    rough = within(known, basis).roughness
    values, inner = largest_eigenpairs(torch.eye(len(rough)).to(rough) - rough, d)
    return basis @ inner, values


def _check_room(n_directions: int, d: int, share: float) -> None:
    if n_directions < d:
        raise InfeasibleError(
            f"{n_directions} principal directions hold {share:.0%} of the variance, fewer than the {d} "
            f"dimensions asked for: keep a larger share or take at most {n_directions} dimensions",
            n_directions,
        )


def penalised_variance(known: Moments, directions: Tensor, *, weight: float) -> Tensor:
    """tr(Wᵀ Σ W) − λ tr(Wᵀ T W), a scalar; W (E, d). The objective (6), derived by us."""
    return (directions * ((known.covariance - weight * known.roughness) @ directions)).sum()


def squared_length(rows: Tensor) -> float:
    """‖X‖² of all rows (N, E), added up in float64; of centred rows tr Σ."""
    return float(sum(block.square().sum(dim=1).double().sum() for block in rows.split(ROWS_AT_ONCE)))


def retained_variance(centred: Tensor, directions: Tensor) -> float:
    """tr(Qᵀ Σ Q) / tr Σ of centred rows (N, E), Q an orthonormal basis of the directions (E, d).

    So that it is between 0 and 1 for whitened directions too; 1 for rows that do not vary.
    """
    basis = torch.linalg.qr(directions)[0]
    whole = squared_length(centred)
    return squared_length(centred @ basis.to(centred.dtype)) / whole if whole else 1.0


def safe_weight(known: Moments) -> float:
    """1/μ_max, μ_max the largest generalised eigenvalue of (T, Σ): every smaller λ is feasible for every d.

    Where Σ is singular, among its directions of variance. Infinite without a graph. O(E³). Derived by us,
    §4.3.
    """
    basis, variance = principal(known, 1.0)
    rough = within(known, basis / variance.sqrt()).roughness
    largest = float(torch.linalg.eigvalsh(rough)[-1])
    return 1 / largest if largest > 0 else float("inf")
