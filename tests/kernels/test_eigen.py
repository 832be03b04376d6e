"""Few eigenpairs are those of the whole decomposition, also where they repeat or the space is exhausted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from reclib.kernels.eigen import lanczos, largest_eigenpairs, quadrature


def symmetric(values: Tensor, seed: int = 0) -> Tensor:
    """A matrix with these eigenvalues."""
    generator = torch.Generator().manual_seed(seed)
    square = torch.randn(len(values), len(values), generator=generator, dtype=torch.float64)
    basis = torch.linalg.qr(square)[0]
    return (basis * values) @ basis.T


SPECTRA = {
    "power law": 1 / torch.arange(1, 301, dtype=torch.float64),
    "signs of both kinds": torch.linspace(-3, 2, 300, dtype=torch.float64),
    "repeated": torch.cat([torch.full((5,), 4.0), torch.linspace(0, 1, 295)]).double(),
    "low rank": torch.cat([torch.linspace(1, 2, 12), torch.zeros(288)]).double(),
}


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("k", [1, 10])
def test_lanczos_finds_what_the_whole_decomposition_finds(name: str, k: int) -> None:
    matrix = symmetric(SPECTRA[name])
    values, vectors = lanczos(lambda rows: matrix @ rows, k, like=matrix[0])
    dense_values, _ = largest_eigenpairs(matrix, k)
    torch.testing.assert_close(values, dense_values, atol=1e-8, rtol=1e-8)
    torch.testing.assert_close(matrix @ vectors, vectors * values, atol=1e-7, rtol=0)
    torch.testing.assert_close(vectors.T @ vectors, torch.eye(k).double(), atol=1e-9, rtol=0)


def test_vectors_have_one_sign_however_they_are_found() -> None:
    matrix = symmetric(SPECTRA["power law"])
    by_lanczos = lanczos(lambda rows: matrix @ rows, 5, like=matrix[0])[1]
    by_whole = largest_eigenpairs(matrix, 5)[1]
    torch.testing.assert_close(by_lanczos, by_whole, atol=1e-6, rtol=0)
    assert (by_whole.gather(0, by_whole.abs().argmax(0, keepdim=True)) > 0).all()


def test_few_products_suffice_where_few_eigenvalues_stand_apart() -> None:
    values = torch.cat([torch.tensor([50.0, 40.0, 30.0]), torch.rand(997)]).double()
    matrix, columns = symmetric(values), []

    def product(rows: Tensor) -> Tensor:
        columns.append(rows.shape[1])
        return matrix @ rows

    found, _ = lanczos(product, 3, like=matrix[0])
    np.testing.assert_allclose(found, [50, 40, 30], rtol=1e-9)
    assert sum(columns) < 250, "of 1,000"


def test_all_eigenvalues_of_a_small_operator_are_exact() -> None:
    matrix = symmetric(torch.linspace(0, 1, 7, dtype=torch.float64))
    torch.testing.assert_close(
        lanczos(lambda rows: matrix @ rows, 7, like=matrix[0])[0], torch.linalg.eigvalsh(matrix).flip(0)
    )


def test_float32_ends_at_its_own_accuracy() -> None:
    matrix = symmetric(SPECTRA["power law"]).float()
    values, _ = lanczos(lambda rows: matrix @ rows, 4, like=matrix[0], tolerance=1e-5)
    torch.testing.assert_close(values, 1 / torch.arange(1.0, 5.0), atol=1e-5, rtol=0)


def test_quadrature_gives_quadratic_forms_of_functions() -> None:
    matrix = symmetric(torch.linspace(0.1, 2, 40, dtype=torch.float64))
    start = torch.randn(40, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    values, vectors = torch.linalg.eigh(matrix)
    for function in (torch.log, torch.sqrt, torch.exp):
        exact = ((vectors.T @ start).square() * function(values)).sum()
        nodes, weights = quadrature(lambda rows: matrix @ rows, start, 15)
        assert (weights * function(nodes)).sum().item() == pytest.approx(exact.item(), rel=1e-4)


def test_quadrature_stops_where_the_space_is_exhausted() -> None:
    matrix = torch.diag(torch.tensor([1.0, 2.0, 0.0, 0.0])).double()
    nodes, weights = quadrature(lambda rows: matrix @ rows, torch.tensor([3.0, 4.0, 0.0, 0.0]).double(), 4)
    torch.testing.assert_close(nodes, torch.tensor([1.0, 2.0]).double())
    torch.testing.assert_close(weights, torch.tensor([9.0, 16.0]).double())


def test_what_cannot_be_found_is_refused() -> None:
    with pytest.raises(ValueError, match="k is 4, the matrix has 3"):
        largest_eigenpairs(torch.eye(3), 4)
    with pytest.raises(ValueError, match="k is 0, the matrix has 3"):
        lanczos(lambda rows: rows, 0, like=torch.zeros(3))
