"""Eigenpairs of symmetric matrices: all of a small one, and few of one that is only known by its products."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

DENSE_WIDTH = 1024  # up to here the whole decomposition takes seconds
BLOCK = 16  # directions that are added at once; also the multiplicity of eigenvalues that is found for sure
TOLERANCE = 1e-9  # residual of an eigenpair, over the largest absolute eigenvalue
GROWTH = 1.25  # of the basis between two looks at the residuals
SOLVERS = ("auto", "dense", "lanczos")


def largest_eigenpairs(matrix: Tensor, k: int, *, solver: str = "auto") -> tuple[Tensor, Tensor]:
    """The k largest eigenvalues of a symmetric matrix, descending, (k,), and their vectors, (D, k).

    matrix: (D, D). "dense" decomposes it whole; "lanczos" takes `lanczos`; "auto" decomposes up to a width
    of 1,024 or where more than a quarter of all are wanted. A vector's sign is free: its largest entry is
    made positive, on every machine alike. Raises ValueError for another solver and for a k that is not in
    1…D.
    """
    if solver not in SOLVERS:
        raise ValueError(f"unknown solver {solver!r}: choose one of {', '.join(SOLVERS)}")
    if not 1 <= k <= len(matrix):
        raise ValueError(f"k is {k}, the matrix has {len(matrix)} eigenvalues: choose 1 to {len(matrix)}")
    if solver == "auto":
        solver = "dense" if len(matrix) <= max(DENSE_WIDTH, 4 * k) else "lanczos"
    if solver == "dense":
        values, vectors = torch.linalg.eigh(matrix)
        values, vectors = values.flip(0)[:k], vectors.flip(1)[:, :k]
    else:
        values, vectors = lanczos(lambda rows: matrix @ rows, k, like=matrix[0])
    signs = vectors.gather(0, vectors.abs().argmax(dim=0, keepdim=True)).sign()
    return values, vectors * signs


def lanczos(product: Callable[[Tensor], Tensor], k: int, *, like: Tensor) -> tuple[Tensor, Tensor]:
    """The k largest eigenvalues, descending, (k,), and vectors, (D, k), of a symmetric operator.

    product: (D, b) → (D, b), for any b; like: (D,), for width, dtype and device. Blocks of products span a
    Krylov space with an orthonormal basis Q; the eigenpairs of QᵀAQ are taken once ‖A v − θ v‖ is at most
    1e-9 (in float32 8e-6) of the largest |θ| for all k. The basis grows to width D if it must, where they
    are exact; so this ends always, and is cheap where few are wanted and they stand apart. Starts from a
    fixed draw.
    """
    width, tolerance = len(like), max(TOLERANCE, 64 * torch.finfo(like.dtype).eps)
    generator = torch.Generator()
    generator.manual_seed(0)
    start = torch.randn(width, min(BLOCK, width), generator=generator, dtype=torch.float64)
    basis = torch.linalg.qr(start.to(like))[0]
    images = product(basis)
    looked_at = 0
    while True:
        size = basis.shape[1]
        if size == width or (size >= 2 * k and size >= GROWTH * looked_at):
            looked_at = size
            small = basis.T @ images
            values, inner = torch.linalg.eigh((small + small.T) / 2)
            largest = values.abs().amax()
            values, inner = values.flip(0)[:k], inner.flip(1)[:, :k]
            vectors = basis @ inner
            residual = torch.linalg.vector_norm(images @ inner - vectors * values, dim=0).amax()
            if size == width or residual <= tolerance * largest:
                return values, vectors
        added = _orthonormal(images[:, -BLOCK:], basis)
        basis, images = torch.cat([basis, added], dim=1), torch.cat([images, product(added)], dim=1)


def _orthonormal(block: Tensor, basis: Tensor) -> Tensor:
    """Orthonormal columns of a block beyond a basis, (D, b); at most as many as there is room for.

    A block inside the span leaves nothing but rounding errors, whose directions serve as new ones: the
    second and third round make them orthogonal to the basis.
    """
    block = block[:, : basis.shape[0] - basis.shape[1]]
    for _ in range(3):
        block = torch.linalg.qr(block - basis @ (basis.T @ block))[0]
    return block


def quadrature(product: Callable[[Tensor], Tensor], start: Tensor, n_steps: int) -> tuple[Tensor, Tensor]:
    """Nodes θ (m,) and weights (m,) with vᵀ f(A) v ≈ Σ_k w_k f(θ_k), v = `start`, by m ≤ n_steps products.

    Lanczos quadrature with full reorthogonalisation, exact for polynomials up to degree 2m − 1 and for every
    f once the space is exhausted. product: as in `lanczos`; start: (D,), not zero.
    """
    length = torch.linalg.vector_norm(start)
    basis = (start / length)[:, None]
    images = product(basis)
    while basis.shape[1] < min(n_steps, len(start)):
        rest = images[:, -1:]
        for _ in range(2):
            rest = rest - basis @ (basis.T @ rest)
        size = torch.linalg.vector_norm(rest)
        if size <= TOLERANCE * torch.linalg.vector_norm(images[:, -1]):
            break
        basis = torch.cat([basis, rest / size], dim=1)
        images = torch.cat([images, product(basis[:, -1:])], dim=1)
    small = basis.T @ images
    nodes, inner = torch.linalg.eigh((small + small.T) / 2)
    return nodes, inner[0].square() * length.square()
