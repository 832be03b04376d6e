from __future__ import annotations

import pytest
import torch
from torch import Tensor

from reclib.models.backbones.fmlp import CausalFilter, FMLPRec


def made(max_length: int) -> tuple[CausalFilter, Tensor]:
    """A filter in double precision with large weights, and vectors (3, max_length, 4)."""
    generator = torch.Generator().manual_seed(max_length)
    made_filter = CausalFilter(max_length, 4)
    made_filter.spectrum.data = torch.randn(made_filter.spectrum.shape, generator=generator)
    return made_filter, torch.randn(3, max_length, 4, generator=generator)


def published(made_filter: CausalFilter, values: Tensor) -> Tensor:
    """irfft(W ⊙ rfft(x)): the paper's filter."""
    spectrum = torch.view_as_complex(made_filter.spectrum) * torch.fft.rfft(values, dim=1)
    return torch.fft.irfft(spectrum, n=values.shape[1], dim=1)


def zero_after(values: Tensor, i: int) -> Tensor:
    return torch.cat([values[:, : i + 1], torch.zeros_like(values[:, i + 1 :])], dim=1)


@pytest.mark.parametrize("max_length", [1, 2, 7, 8])
def test_the_last_position_is_the_published_filter(max_length: int) -> None:
    made_filter, values = made(max_length)
    torch.testing.assert_close(made_filter(values)[:, -1], published(made_filter, values)[:, -1])


@pytest.mark.parametrize("max_length", [7, 8])
def test_each_position_is_the_published_filter_without_the_later_items(max_length: int) -> None:
    made_filter, values = made(max_length)
    states = made_filter(values)
    for i in range(max_length):
        torch.testing.assert_close(states[:, i], published(made_filter, zero_after(values, i))[:, i])
        shifted = torch.roll(
            zero_after(values, i), max_length - 1 - i, dims=1
        )  # the prefix, padded on the left
        torch.testing.assert_close(states[:, i], published(made_filter, shifted)[:, -1])


@pytest.mark.parametrize("max_length", [7, 8])
def test_the_published_filter_adds_the_later_items(max_length: int) -> None:
    made_filter, values = made(max_length)
    taps, wrapped = made_filter.taps(max_length), made_filter(values).clone()
    for i in range(max_length):
        for j in range(i + 1, max_length):
            wrapped[:, i] += taps[max_length + i - j] * values[:, j]
    torch.testing.assert_close(wrapped, published(made_filter, values))


def test_it_is_a_causal_convolution_at_any_length() -> None:
    made_filter, values = made(8)
    values = values[:, :5]
    naive = torch.zeros_like(values)
    for i in range(5):
        for k in range(i + 1):
            naive[:, i] += made_filter.taps(8)[k] * values[:, i - k]
    torch.testing.assert_close(made_filter(values), naive)


def test_parameters_are_those_of_the_public_code() -> None:
    """d=64, 2 layers, S=50: a layer has 26·64 complex weights, two layer norms and a 4D feed-forward."""
    layer = 26 * 64 * 2 + 2 * 128 + (64 * 256 + 256) + (256 * 64 + 64)
    backbone = FMLPRec(d_model=64, n_layers=2, n_heads=2, dropout=0.5, max_length=50)
    assert sum(parameter.numel() for parameter in backbone.parameters()) == 2 * layer + 50 * 64 + 128
