from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from reclib.analysis.eisam.sharpness import (
    cosine,
    example_alignment,
    item_sharpness,
    lm_losses,
    loss_slices,
    sequence_losses,
    sharpness_by_decile,
)
from reclib.schema import InputError
from reclib.training.lm_trainer import catalogue_log_likelihood
from tests.training.sequence_toy import dataset, make_model
from tests.training.toy import make_toy

# Losses h_k/2 ‖θ − c_k‖²: every quantity is known.
CENTRE = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 4.0], [1.0, 1.0]], dtype=torch.float64)
CURVATURE = torch.tensor([1.0, 2.0, 0.5, 4.0], dtype=torch.float64)
TARGET = np.array([1, 1, 2, 3])
COUNTS = np.array([0, 30, 20, 10])


def bowl() -> tuple[Tensor, object]:
    theta = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    return theta, lambda rows: CURVATURE[rows] / 2 * (theta - CENTRE[rows]).square().sum(dim=1)


def test_sharpness_of_an_item_is_slope_and_curvature() -> None:
    theta, losses = bowl()
    table = item_sharpness(losses, [theta], TARGET, COUNTS, radius=0.3)  # type: ignore[arg-type]
    assert table["item_idx"].tolist() == [1, 2, 3]
    assert table["decile"].tolist() == [1, 2, 3]
    assert table["count"].tolist() == [30, 20, 10]
    assert table["n_examples"].tolist() == [2, 1, 1]
    assert not theta.detach().any(), "the weights are what they were"
    for row in table.itertuples():
        own = np.flatnonzero(row.item_idx == TARGET)
        slope = (CURVATURE[own, None] * -CENTRE[own]).mean(dim=0)
        assert row.gradient_norm == pytest.approx(float(slope.norm()))
        assert row.loss == pytest.approx(float((CURVATURE[own] / 2 * CENTRE[own].square().sum(1)).mean()))
        expected = 0.3 * float(slope.norm()) + 0.3**2 / 2 * float(CURVATURE[own].mean())
        assert row.sharpness == pytest.approx(expected)


def test_items_and_examples_are_sampled_the_same_way_each_time() -> None:
    theta, losses = bowl()
    options = {"radius": 0.1, "items_per_decile": 1, "examples_per_item": 1}
    tables = [
        item_sharpness(losses, [theta], TARGET, COUNTS, seed=seed, **options)  # type: ignore[arg-type]
        for seed in (0, 0)
    ]
    assert tables[0].equals(tables[1])
    assert tables[0]["n_examples"].tolist() == [1, 1, 1]


def test_deciles_hold_a_tenth_of_the_items_each() -> None:
    model, windows = make_model(), dataset().train
    losses = sequence_losses(model, windows)
    weights = list(model.parameters())
    table = item_sharpness(
        losses, weights, windows.target_idx, dataset().counts, radius=0.05, items_per_decile=2
    )
    assert table["count"].groupby(table["decile"]).max().is_monotonic_decreasing
    means = sharpness_by_decile(table)
    assert means["decile"].tolist() == list(range(1, 11))
    assert (means["items"] == 2).all()
    assert (means["sharpness"] > 0).all()
    first = table[table["decile"] == 1]["sharpness"]
    assert means["sharpness"][0] == pytest.approx(first.mean())
    assert means["sharpness_error"][0] == pytest.approx(first.std() / np.sqrt(2))


def test_losses_of_windows_are_those_of_the_models() -> None:
    toy = make_toy()
    windows = toy.dataset.test.take(np.arange(6))
    prompts = toy.prompts(windows)
    rows = np.array([4, 1])
    found = lm_losses(toy.lm, prompts, windows.target_idx, toy.trie, toy.items)(rows)
    expected = catalogue_log_likelihood(toy.lm, prompts, windows.target_idx, toy.trie, toy.items)
    np.testing.assert_allclose(found.detach().numpy(), expected[rows], rtol=1e-6)
    assert found.requires_grad

    model = make_model(dropout=0.5).train()
    windows = dataset().test
    losses = sequence_losses(model, windows)(rows)
    history, target = (torch.from_numpy(part[rows]).long() for part in (windows.history, windows.target_idx))
    scores = model.user_states(history) @ model.item_matrix()[1:].T
    torch.testing.assert_close(
        losses, torch.nn.functional.cross_entropy(scores, target - 1, reduction="none")
    )


def test_slices_follow_the_loss_along_lines() -> None:
    theta, losses = bowl()
    groups = {"head": np.array([0, 1]), "tail": np.array([2])}
    distances = [-0.5, 0.0, 0.5]
    table = loss_slices(losses, [theta], groups, distances=distances)  # type: ignore[arg-type]
    assert len(table) == 2 * 2 * 3
    ascent = table[(table["group"] == "tail") & (table["direction"] == "ascent")]
    # Its gradient at 0 is −0.5 (3, 4): a step of length t along it is t further from the centre.
    expected = [0.25 * (5 + distance) ** 2 for distance in distances]
    np.testing.assert_allclose(ascent["loss"], expected)
    at_home = table[table["distance"] == 0]
    assert (at_home.groupby("group")["loss"].nunique() == 1).all()
    random = table[table["direction"] == "random"]
    assert random.groupby("group")["loss"].apply(lambda values: values.iloc[0] != values.iloc[2]).all()
    assert not theta.detach().any()
    with pytest.raises(InputError, match="group 'none' has no windows"):
        loss_slices(losses, [theta], {"none": np.array([], int)}, distances=[0.0])  # type: ignore[arg-type]


def test_alignment_of_a_batch_by_every_example() -> None:
    theta, losses = bowl()
    weights = np.array([0.5, 2.0, 1.0, 0.0])
    slopes = (CURVATURE[:, None] * -CENTRE).numpy()
    expected = np.linalg.norm(weights @ slopes) / (weights @ np.linalg.norm(slopes, axis=1))
    found = example_alignment(losses, [theta], np.arange(4), weights)  # type: ignore[arg-type]
    assert found == pytest.approx(expected)


def test_cosine_of_gradients_in_parts() -> None:
    first, second = (
        [torch.tensor([1.0, 0.0]), torch.tensor([[1.0]])],
        [torch.tensor([1.0, 1.0]), torch.zeros(1, 1)],
    )
    assert cosine(first, second) == pytest.approx(0.5)
    assert cosine(first, first) == pytest.approx(1)
