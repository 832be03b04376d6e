from __future__ import annotations

import pytest
import torch

from reclib.models.backbones.lrurec import LinearRecurrence, LRURec, last_of_scan, linear_scan


@pytest.mark.parametrize("n_positions", [1, 2, 3, 8, 13])
def test_the_scan_is_the_recurrence(n_positions: int) -> None:
    generator = torch.Generator().manual_seed(n_positions)
    inputs = torch.randn(2, n_positions, 5, dtype=torch.complex128, generator=generator)
    log_radius = -torch.rand(5, dtype=torch.double, generator=generator)
    phase = 6 * torch.rand(5, dtype=torch.double, generator=generator)
    eigenvalue = torch.exp(torch.complex(log_radius, phase))
    state, states = torch.zeros(2, 5, dtype=torch.complex128), []
    for i in range(n_positions):
        state = eigenvalue * state + inputs[:, i]
        states.append(state)
    torch.testing.assert_close(linear_scan(inputs, eigenvalue), torch.stack(states, dim=1))
    torch.testing.assert_close(last_of_scan(inputs, eigenvalue)[:, 0], state)


def test_gradients_of_the_scan_are_right() -> None:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(2, 5, 3, dtype=torch.complex128, generator=generator, requires_grad=True)
    eigenvalue = torch.rand(3, dtype=torch.complex128, generator=generator, requires_grad=True)
    assert torch.autograd.gradcheck(linear_scan, (inputs, eigenvalue))
    assert torch.autograd.gradcheck(last_of_scan, (inputs, eigenvalue))


def test_eigenvalues_start_in_the_ring_and_inputs_start_normalised() -> None:
    recurrence = LinearRecurrence(256, 0.0)
    radius = torch.exp(-torch.exp(recurrence.log_decay))
    assert radius.min() >= 0.8 - 1e-6
    assert radius.max() <= 0.99 + 1e-6
    torch.testing.assert_close(torch.exp(recurrence.log_gain) ** 2 + radius**2, torch.ones(512))


def test_a_prefix_alone_gives_the_same_state() -> None:
    """There are no positions, so that what stands before and behind a prefix is all that could matter."""
    backbone = LRURec(d_model=8, n_layers=2, n_heads=1, dropout=0.0, max_length=50)
    vectors = torch.randn(2, 70, 8, generator=torch.Generator().manual_seed(2))
    mask = torch.ones(2, 70, dtype=torch.bool)
    states = backbone(vectors, mask)
    for n_positions in (1, 6, 33, 70):
        prefix = backbone(vectors[:, :n_positions], mask[:, :n_positions], last_only=True)
        torch.testing.assert_close(prefix, states[:, n_positions - 1])


def test_parameters_are_those_of_the_public_code() -> None:
    """d=64, 2 layers, H = 128; complex maps as two real ones, less the output's imaginary bias, unused."""
    recurrence = 3 * 128 + 2 * (64 * 128 + 128) + 2 * 128 * 64 + 64 + 128
    layer = recurrence + (64 * 256 + 256) + (256 * 64 + 64) + 128
    backbone = LRURec(d_model=64, n_layers=2, n_heads=2, dropout=0.5, max_length=50)
    assert sum(parameter.numel() for parameter in backbone.parameters()) == 2 * layer + 128
