from __future__ import annotations

import torch

from reclib.models.backbones.gmlp import GMLP, GatedBlock, SpatialGate


def test_the_gate_is_its_formula_counted_from_the_end() -> None:
    generator = torch.Generator().manual_seed(1)
    gate = SpatialGate(3, 6)
    gate.weight.data, gate.bias.data = (
        torch.randn(6, 6, generator=generator),
        torch.randn(6, generator=generator),
    )
    u, v = torch.randn(2, 2, 4, 3, generator=generator).unbind(0)
    mask = torch.tensor([[True] * 4, [False, False, True, True]])
    made, normed = gate(u, v, mask), gate.norm(v)
    for row in range(2):
        for i in range(4):
            mixed = gate.bias[2 + i]
            for j in range(i + 1):
                if mask[row, j]:
                    mixed = mixed + gate.weight[2 + i, 2 + j] * normed[row, j]
            torch.testing.assert_close(made[row, i], u[row, i] * mixed)
    torch.testing.assert_close(gate(u[:, -1:], v, mask), made[:, -1:])


def test_the_gate_starts_near_the_identity() -> None:
    gate = SpatialGate(16, 50)
    u, v = torch.randn(2, 4, 50, 16, generator=torch.Generator().manual_seed(2)).unbind(0)
    torch.testing.assert_close(gate(u, v, torch.ones(4, 50, dtype=torch.bool)), u, rtol=0.01, atol=0)


def test_the_last_position_is_the_block_without_causality() -> None:
    """A whole W instead of a triangular one changes all positions but the last, which has no later item."""
    block = GatedBlock(8, 0.0, 5)
    block.spatial.weight.data.normal_(generator=torch.Generator().manual_seed(3))
    values = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(4))
    normed = block.norm(values)
    content = torch.nn.functional.gelu(block.content(normed))
    gate = block.spatial.norm(torch.nn.functional.gelu(block.gate(normed)))
    whole = values + block.outer(content * (block.spatial.weight @ gate + block.spatial.bias[:, None]))
    made = block(values, torch.ones(2, 5, dtype=torch.bool))
    torch.testing.assert_close(made[:, -1], whole[:, -1])
    assert not torch.allclose(made[:, 0], whole[:, 0])


def test_parameters_are_those_of_the_paper() -> None:
    """d=64, 2 layers, S=50, d_ffn = 256: norm, map in, gate with its norm, map out; and a last norm."""
    layer = 128 + (64 * 256 + 256) + 256 + 50 * 50 + 50 + (128 * 64 + 64)
    backbone = GMLP(d_model=64, n_layers=2, n_heads=2, dropout=0.5, max_length=50)
    assert sum(parameter.numel() for parameter in backbone.parameters()) == 2 * layer + 128
