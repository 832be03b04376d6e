"""Eigenpairs of symmetric matrices: all of a small one, and few of one that is only known by its products."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

BLOCK = 32  # directions that are added at once; also the multiplicity of eigenvalues that is found for sure
TOLERANCE = 1e-9  # residual of an eigenpair, over the largest absolute eigenvalue
GROWTH = 1.25  # of the basis between two looks at the residuals


def largest_eigenpairs(matrix: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest eigenvalues of a symmetric matrix, descending, (k,), and their vectors, (D, k).

    matrix: (D, D), decomposed whole, O(D³). A vector's sign is free: its largest entry is made positive, on
    every machine alike. Raises ValueError for a k that is not in 1…D.
    """
    _check(k, len(matrix))
    values, vectors = torch.linalg.eigh(matrix)
    return values.flip(0)[:k], _signed(vectors.flip(1)[:, :k])


def lanczos(
    product: Callable[[Tensor], Tensor], k: int, *, like: Tensor, tolerance: float = TOLERANCE
) -> tuple[Tensor, Tensor]:
    """As `largest_eigenpairs`, of a symmetric operator that is known by its products: (k,) and (D, k).

    product: (D, b) → (D, b), for any b; like: (D,), for width, dtype and device. Blocks of products span a
    Krylov space with an orthonormal basis Q; the eigenpairs of QᵀAQ are taken once ‖A v − θ v‖ is at most
    `tolerance` of the largest |θ| for all k. The basis grows to width D if it must, where they are exact; so
    this ends always, and is cheap where few are wanted and they stand apart. Starts from a fixed draw.
    """
    width = len(like)
    _check(k, width)
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
                return values, _signed(vectors)
        added = _orthonormal(images[:, -BLOCK:], basis)
        basis, images = torch.cat([basis, added], dim=1), torch.cat([images, product(added)], dim=1)


def _check(k: int, width: int) -> None:
    if not 1 <= k <= width:
        raise ValueError(f"k is {k}, the matrix has {width} eigenvalues: choose 1 to {width}")


def _signed(vectors: Tensor) -> Tensor:
    """Vectors (D, k) with a positive largest entry each."""
    return vectors * vectors.gather(0, vectors.abs().argmax(dim=0, keepdim=True)).sign()


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
