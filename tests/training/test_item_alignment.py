"""A-LLMRec's first stage: its losses against a slow version, and what training brings together."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from reclib.config import AlignConfig, TextConfig
from reclib.data.dataset import Windows
from reclib.models.aligned_items import AlignedItems
from reclib.schema import InputError
from reclib.training.item_alignment import align_items, alignment_losses, unit_scale

N_ITEMS, WIDTH, TEXT_WIDTH = 24, 5, 7


def made(n_windows: int = 200) -> tuple[Windows, np.ndarray, np.ndarray, np.ndarray]:
    """Items whose texts tell their vectors, and users who like what is near them."""
    draw = np.random.default_rng(0)
    items = draw.normal(size=(N_ITEMS + 1, WIDTH)).astype(np.float32)
    texts = (items @ draw.normal(size=(WIDTH, TEXT_WIDTH))).astype(np.float32)
    items[0] = texts[0] = 0
    history = np.stack([draw.permutation(N_ITEMS)[:4] + 1 for _ in range(n_windows)]).astype(np.int32)
    users = items[history[:, -1]]
    windows = Windows(np.arange(n_windows), history[:, :-1], history[:, -1], np.zeros(n_windows))
    return windows, items, texts, users


def config(**fields: object) -> AlignConfig:
    values = {"width": 8, "epochs": 60, "batch_size": 32, "learning_rate": 2e-2}
    return AlignConfig(text=TextConfig(encoder="random"), **{**values, **fields})  # type: ignore[arg-type]


@torch.no_grad()
def slow_losses(
    model: AlignedItems, user: torch.Tensor, item: torch.Tensor, text: torch.Tensor, *, is_target: bool
) -> dict[str, float]:
    """Of targets alone, or of negatives alone, number by number."""
    sums = dict.fromkeys(("matching", "item", "text", "recommendation"), 0.0)
    for x, v, t in zip(user, item, text, strict=True):
        e = [1 / (1 + math.exp(-float(a))) for a in model.item_encoder[0](v)]
        q = [1 / (1 + math.exp(-float(a))) for a in model.text_encoder[0](t)]
        v_hat = [float(a) for a in model.item_decoder(torch.tensor(e, dtype=v.dtype))]
        t_hat = [float(a) for a in model.text_decoder(torch.tensor(q, dtype=v.dtype))]
        sums["matching"] += sum((a - b) ** 2 for a, b in zip(e, q, strict=True)) / len(e)
        sums["item"] += sum((a - float(b)) ** 2 for a, b in zip(v_hat, v, strict=True)) / len(v)
        sums["text"] += sum((a - float(b)) ** 2 for a, b in zip(t_hat, t, strict=True)) / len(t)
        score = sum(float(a) * b for a, b in zip(x, v_hat, strict=True)) / len(v)
        chance = 1 / (1 + math.exp(-score))
        sums["recommendation"] -= math.log(chance if is_target else 1 - chance)
    return {name: total / len(user) for name, total in sums.items()}


def test_the_losses_are_those_of_the_formula() -> None:
    torch.manual_seed(0)
    model = AlignedItems(WIDTH, TEXT_WIDTH, 4).double()
    user, *items = torch.randn(3, 6, WIDTH, dtype=torch.float64)
    texts = torch.randn(2, 6, TEXT_WIDTH, dtype=torch.float64)
    found = alignment_losses(model, user, (items[0], items[1]), (texts[0], texts[1]))
    parts = [
        slow_losses(model, user, item, text, is_target=is_target)
        for item, text, is_target in zip(items, texts, (True, False), strict=True)
    ]
    for name, loss in found.items():
        assert loss.item() == pytest.approx(parts[0][name] + parts[1][name], abs=1e-12)


def retrieved(model: AlignedItems, items: np.ndarray, texts: np.ndarray) -> float:
    """How often an item's own text is the nearest of all to its vector, in the space of codes."""
    with torch.no_grad():
        found = model(torch.from_numpy(items[1:]), torch.from_numpy(texts[1:]))
    nearest = torch.cdist(found.item_code, found.text_code).argmin(dim=1)
    return float((nearest == torch.arange(N_ITEMS)).float().mean())


def test_training_brings_each_item_and_its_text_together() -> None:
    windows, items, texts, users = made()
    before = AlignedItems(WIDTH, TEXT_WIDTH, 8)
    model, trace = align_items(windows, items, texts, users, config(), seed=0)
    assert retrieved(before, items, texts) < 0.3
    assert retrieved(model, items, texts) > 0.9
    last = trace[trace["epoch"] == 59].set_index("name")["value"]
    first = trace[trace["epoch"] == 0].set_index("name")["value"]
    assert (last < first).all()


def test_without_reconstruction_codes_fall_together() -> None:
    """What the reconstruction losses are there for: matching alone is met by codes that say nothing."""
    windows, items, texts, users = made()
    spread = {}
    for weight in (0.0, 5.0):
        settings = config(item_weight=weight, text_weight=weight, epochs=15)
        model, _ = align_items(windows, items, texts, np.zeros_like(users), settings, seed=0)
        with torch.no_grad():
            spread[weight] = float(model.text_encoder(torch.from_numpy(texts[1:])).std(dim=0).mean())
    assert spread[0.0] < 0.5 * spread[5.0]


def test_a_seed_gives_one_model_and_another_seed_another() -> None:
    windows, items, texts, users = made(40)
    twice = [align_items(windows, items, texts, users, config(epochs=2), seed=seed)[0] for seed in (0, 0, 1)]
    weights = [model.item_decoder.weight for model in twice]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_cold_item_stands_with_the_code_of_its_text() -> None:
    model = AlignedItems(WIDTH, TEXT_WIDTH, 4)
    item, text = torch.randn(3, WIDTH), torch.randn(3, TEXT_WIDTH)
    joint = model.joint(item, text, torch.tensor([False, True, False]))
    with torch.no_grad():
        found = model(item, text)
    torch.testing.assert_close(joint[[0, 2]], found.item_code[[0, 2]])
    torch.testing.assert_close(joint[1], found.text_code[1])


def test_rows_that_do_not_fit_are_refused() -> None:
    windows, items, texts, users = made(8)
    with pytest.raises(InputError, match="8 windows: one row"):
        align_items(windows, items, texts, users[:-1], config(), seed=0)
    with pytest.raises(InputError, match="25 vectors and 24 text embeddings"):
        align_items(windows, items, texts[:-1], users, config(), seed=0)


def test_vectors_of_any_size_are_brought_to_one() -> None:
    _, items, _, _ = made(8)
    scaled = unit_scale(items)
    assert np.square(scaled[1:]).mean() == pytest.approx(1, rel=1e-5)
    assert not scaled[0].any()
    np.testing.assert_allclose(unit_scale(items * 300), scaled, rtol=1e-5)
    with pytest.raises(InputError, match="all zero"):
        unit_scale(np.zeros((3, 2)))
