"""What the loop and the ranking rely on, of every encoder."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from reclib.config import BackboneConfig
from reclib.models.backbones import BACKBONES, build_backbone
from reclib.schema import InputError

WIDTH, LENGTH = 8, 9
CAUSAL = [name for name, backbone in BACKBONES.items() if backbone.is_causal]


def made(name: str, *, dropout: float = 0.0, n_layers: int = 2, max_length: int = LENGTH) -> nn.Module:
    """An encoder whose weights are large, so that every path shows in its states."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = BackboneConfig(name=name, d_model=WIDTH, n_layers=n_layers, n_heads=2, dropout=dropout)
        backbone = build_backbone(config, max_length=max_length)
        with torch.no_grad():
            for parameter in backbone.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
    return backbone.double().eval()


def histories(lengths: list[int], *, n_positions: int = LENGTH, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Item vectors (B, S, D), noise at padding too, and the mask (B, S)."""
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(len(lengths), n_positions, WIDTH, generator=generator, dtype=torch.float64)
    mask = torch.arange(n_positions) >= n_positions - torch.tensor(lengths)[:, None]
    return vectors, mask


def close(left: Tensor, right: Tensor) -> bool:
    return torch.allclose(left, right, rtol=1e-5, atol=1e-5)  # a float32 inside some


@pytest.mark.parametrize("name", BACKBONES)
def test_last_only_is_the_last_state(name: str) -> None:
    backbone, (vectors, mask) = made(name), histories([9, 4, 1, 0])
    assert close(backbone(vectors, mask, last_only=True), backbone(vectors, mask)[:, -1])


@pytest.mark.parametrize("name", BACKBONES)
def test_a_full_batch_is_its_rows_among_padded_ones(name: str) -> None:
    backbone, (vectors, mask) = made(name), histories([9, 9, 3])
    assert close(backbone(vectors[:2], mask[:2]), backbone(vectors, mask)[:2])


@pytest.mark.parametrize("name", CAUSAL)
def test_a_later_item_never_changes_an_earlier_state(name: str) -> None:
    backbone, (vectors, mask) = made(name), histories([9, 5])
    changed = vectors.clone()
    changed[:, 6:] = histories([9, 5], seed=2)[0][:, 6:]
    before, after = backbone(vectors, mask), backbone(changed, mask)
    assert close(before[:, :6], after[:, :6])
    assert (before[:, 6:] - after[:, 6:]).abs().amax(-1).min() > 1e-2


@pytest.mark.parametrize("name", BACKBONES)
def test_every_earlier_item_reaches_the_last_state(name: str) -> None:
    backbone, (vectors, mask) = made(name), histories([6])
    vectors.requires_grad_()
    backbone(vectors, mask, last_only=True).square().sum().backward()
    reached = vectors.grad.abs().sum(-1)[0]
    assert (reached[3:] > 0).all()
    assert (reached[:3] == 0).all(), "padding does not"


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("n_positions", [1, 4, 9])
def test_trimmed_padding_leaves_states_as_they_were(name: str, n_positions: int) -> None:
    backbone, (vectors, mask) = made(name), histories([n_positions, 1])
    whole = backbone(vectors, mask)
    trimmed = backbone(vectors[:, -n_positions:], mask[:, -n_positions:])
    assert close(whole[:, -n_positions:], trimmed)


@pytest.mark.parametrize("name", BACKBONES)
def test_padding_is_finite_zero_and_without_gradients(name: str) -> None:
    backbone, (vectors, mask) = made(name), histories([0, 4])
    vectors.requires_grad_()
    states = backbone(vectors, mask)
    assert states.isfinite().all()
    assert (states[~mask] == 0).all()
    assert (backbone(vectors, mask, last_only=True)[0] == 0).all()
    states.square().sum().backward()
    assert (vectors.grad[~mask] == 0).all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in backbone.parameters())


@pytest.mark.parametrize("name", BACKBONES)
def test_no_histories_have_no_states(name: str) -> None:
    backbone, (vectors, mask) = made(name), histories([9])
    assert backbone(vectors[:0], mask[:0]).shape == (0, LENGTH, WIDTH)
    assert backbone(vectors[:0], mask[:0], last_only=True).shape == (0, WIDTH)


@pytest.mark.parametrize("name", BACKBONES)
def test_every_weight_is_trained(name: str) -> None:
    backbone, (vectors, mask) = made(name, dropout=0.1).train(), histories([9, 7, 2])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        backbone(vectors, mask).square().sum().backward()
    used_outside = {"mask_vector"}
    for parameter_name, parameter in backbone.named_parameters():
        if parameter_name not in used_outside:
            assert parameter.grad is not None, parameter_name
            assert parameter.grad.abs().sum() > 0, parameter_name


@pytest.mark.parametrize("name", BACKBONES)
def test_dropout_is_drawn_in_training_only(name: str) -> None:
    backbone, (vectors, mask) = made(name, dropout=0.5), histories([9])
    assert torch.equal(backbone(vectors, mask), backbone(vectors, mask))
    backbone.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        first, second = backbone(vectors, mask), backbone(vectors, mask)
        torch.manual_seed(1)
        again = backbone(vectors, mask)
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("name", BACKBONES)
def test_training_without_dropout_is_evaluation(name: str) -> None:
    backbone, (vectors, mask) = made(name), histories([9, 3])
    evaluated = backbone(vectors, mask)
    assert close(backbone.train()(vectors, mask), evaluated)


def test_an_unknown_name_lists_those_there_are() -> None:
    with pytest.raises(InputError, match="'sasrek' is unknown: choose one of gru4rec, sasrec"):
        build_backbone(BackboneConfig(name="sasrek"), max_length=5)


# Our own count, layer by layer, at the sizes public comparisons train.
D, N_LAYERS, N_POSITIONS = 64, 2, 50
NORM, FEED_FORWARD = 2 * D, (D * 4 * D + 4 * D) + (4 * D * D + D)
ATTENTION = 4 * (D * D + D)
COUNTS = {
    "gru4rec": N_LAYERS * 6 * D * D,
    "narm": N_LAYERS * 6 * D * D + 2 * D * D + D + 2 * D * D,
    "sasrec": N_POSITIONS * D + NORM + N_LAYERS * (ATTENTION + FEED_FORWARD + 2 * NORM),
    "bert4rec": D + N_POSITIONS * D + N_LAYERS * (ATTENTION + FEED_FORWARD + 2 * NORM) + D * D + D,
}


@pytest.mark.parametrize(("name", "expected"), COUNTS.items())
def test_parameter_counts(name: str, expected: int) -> None:
    config = BackboneConfig(name=name, d_model=D, n_layers=N_LAYERS)
    backbone = build_backbone(config, max_length=N_POSITIONS)
    assert sum(parameter.numel() for parameter in backbone.parameters()) == expected
