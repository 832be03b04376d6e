from __future__ import annotations

import pytest
import torch

from reclib.config import BackboneConfig
from reclib.models.backbones import build_backbone
from reclib.models.backbones.residual import EndPositions
from reclib.schema import InputError


def test_positions_count_from_the_end() -> None:
    positions = EndPositions(6, 4)
    assert torch.equal(positions(2), positions(6)[-2:])


@pytest.mark.parametrize("name", ["sasrec", "fmlp", "lightsans", "gmlp"])
def test_a_history_longer_than_the_positions_is_refused(name: str) -> None:
    backbone = build_backbone(BackboneConfig(name=name, d_model=8), max_length=9)
    with pytest.raises(InputError, match="10 positions.*max_length 9"):
        backbone(torch.zeros(1, 10, 8), torch.ones(1, 10, dtype=torch.bool))


@pytest.mark.parametrize("name", ["fmlp", "lrurec", "lightsans", "gmlp"])
def test_half_precision_is_near_single(name: str) -> None:
    """Sums over the history are made in single precision whatever the vectors are."""
    backbone = build_backbone(BackboneConfig(name=name, d_model=8, dropout=0.0), max_length=9)
    vectors = torch.randn(2, 9, 8, generator=torch.Generator().manual_seed(1))
    mask = torch.ones(2, 9, dtype=torch.bool)
    single = backbone(vectors, mask)
    with torch.autocast("cpu", torch.bfloat16):
        half = backbone(vectors, mask)
    torch.testing.assert_close(half.float(), single, atol=0.1, rtol=0.1)
