"""Normalised items have one length where it is asked for, and turn without shrinking."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from reclib.config import BackboneConfig
from reclib.kernels.projection import scaled_rows
from reclib.models.backbones import BACKBONES, build_backbone
from reclib.models.items import FusedItems, IdItems, NormalisedItems
from reclib.models.sequence_model import SequenceModel
from reclib.models.text_adapter import TextAdapter
from reclib.models.unit_states import UnitStates
from reclib.schema import InputError
from reclib.training.parameter_groups import decay_groups

N, D = 12, 8
HISTORY = torch.tensor([[0, 0, 3, 7, 2], [1, 2, 3, 4, 5]])


def raw(seed: int = 0) -> IdItems:
    rows = np.random.default_rng(seed).normal(size=(N + 1, D)) + 0.5
    rows[0] = 0
    return IdItems.from_matrix(rows)


def model(name: str = "sasrec", **options: object) -> SequenceModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        backbone = build_backbone(BackboneConfig(name=name, d_model=D, dropout=0.0), max_length=6)
        return SequenceModel(NormalisedItems(raw(), **options), backbone).eval()


def test_vectors_are_those_of_the_kernel() -> None:
    items = NormalisedItems(raw(), scale=5.0)
    torch.testing.assert_close(items.matrix(), scaled_rows(raw().matrix(), scale=5.0))
    torch.testing.assert_close(items.matrix()[1:].norm(dim=1), torch.full((N,), 5.0))
    assert torch.equal(items(HISTORY), items.matrix()[HISTORY])
    assert not items(HISTORY)[0, :2].any()
    assert items.n_items == N


@pytest.mark.parametrize("where", ["lookup", "scoring", "both"])
def test_they_are_normalised_where_it_is_asked_for(where: str) -> None:
    made = model(where=where, scale=3.0)
    read, scored, plain = made.items(HISTORY), made.item_matrix(), raw().matrix()
    scaled = scaled_rows(plain, scale=3.0)
    torch.testing.assert_close(read, (plain if where == "scoring" else scaled)[HISTORY])
    torch.testing.assert_close(scored, plain if where == "lookup" else scaled)
    torch.testing.assert_close(made.item_vectors(HISTORY), scored[HISTORY])


def test_layer_normalisation_takes_the_mean_of_the_entries_off() -> None:
    rows = NormalisedItems(raw(), scale=2.0, norm="layer").matrix()
    expected = torch.nn.functional.layer_norm(raw().matrix()[1:], [D]) * 2 / D**0.5
    torch.testing.assert_close(rows[1:], expected, atol=1e-4, rtol=1e-4)  # it adds 1e-5 to the variance
    assert not rows[0].any()


@pytest.mark.parametrize("name", BACKBONES)
def test_any_backbone_reads_and_scores_them(name: str) -> None:
    made = model(name)
    scores = made.user_states(HISTORY) @ made.item_matrix().T
    assert scores.shape == (2, N + 1)
    scores.square().sum().backward()
    gradient = made.items.items.table.weight.grad
    assert gradient.isfinite().all()
    assert not gradient[0].any()


def test_a_longer_table_gives_the_same_scores() -> None:
    made = model()
    before = made.user_states(HISTORY) @ made.item_matrix().T
    with torch.no_grad():
        made.items.items.table.weight *= torch.rand(N + 1, 1) + 0.5
    torch.testing.assert_close(made.user_states(HISTORY) @ made.item_matrix().T, before, atol=1e-4, rtol=1e-4)


def test_a_vector_of_zeros_stays_zero_and_gets_no_gradient() -> None:
    rows = raw().matrix().detach().clone()
    rows[4] = 0
    items = NormalisedItems(IdItems.from_matrix(rows.numpy()))
    (items.matrix() * torch.randn(N + 1, D)).sum().backward()
    assert not items.matrix()[4].any()
    assert not items.items.table.weight.grad[4].any()
    assert items.items.table.weight.grad.isfinite().all()


def test_other_item_modules_are_normalised_too() -> None:
    text = np.random.default_rng(0).normal(size=(N + 1, 10)).astype("f4")
    text[0] = 0
    adapter = TextAdapter(text, D, hidden=6)
    for inner in (adapter, FusedItems(raw(), adapter, d_model=D)):
        items = NormalisedItems(inner, scale=4.0)
        torch.testing.assert_close(items.matrix()[1:].norm(dim=1), torch.full((N,), 4.0))
        torch.testing.assert_close(items(HISTORY), items.matrix()[HISTORY])


def test_normalised_tables_do_not_decay_and_all_else_does() -> None:
    made = model()
    table = made.items.items.table.weight
    optimiser = torch.optim.Adam(decay_groups(made), lr=0.1, weight_decay=0.5)
    before = {name: weight.detach().clone() for name, weight in made.named_parameters()}
    for weight in made.parameters():
        weight.grad = torch.zeros_like(weight)
    optimiser.step()
    assert torch.equal(table, before["items.items.table.weight"])
    moved = made.backbone.stack.blocks[0].attention.output.weight
    assert not torch.equal(moved, before["backbone.stack.blocks.0.attention.output.weight"])


def test_without_normalised_items_everything_decays_as_before() -> None:
    made = SequenceModel(raw(), model().backbone)
    optimiser = torch.optim.Adam(decay_groups(made), lr=0.1, weight_decay=0.5)
    assert [group["weight_decay"] for group in optimiser.param_groups] == [0.5]
    assert len(optimiser.param_groups[0]["params"]) == len(list(made.parameters()))


@pytest.mark.parametrize("name", ["sasrec", "bert4rec"])
def test_unit_states_score_by_cosine_over_a_temperature(name: str) -> None:
    plain = model(name, scale=1.0)
    made = SequenceModel(plain.items, UnitStates(plain.backbone, temperature=0.05)).eval()
    cosine = torch.nn.functional.cosine_similarity(
        plain.user_states(HISTORY)[:, None], plain.item_matrix()[None], dim=-1
    )
    scores = made.user_states(HISTORY) @ made.item_matrix().T
    torch.testing.assert_close(scores, cosine / 0.05, atol=1e-4, rtol=1e-4)
    assert made.is_causal == plain.is_causal
    padded = made.states(torch.tensor([[0, 0, 1]]))
    assert not padded[0, :2].any()


def test_what_cannot_be_normalised_is_refused() -> None:
    with pytest.raises(InputError, match="scale is 0"):
        NormalisedItems(raw(), scale=0)
    with pytest.raises(InputError, match="where is 'input': choose one of both, lookup, scoring"):
        NormalisedItems(raw(), where="input")
    with pytest.raises(InputError, match="norm is 'l1'"):
        NormalisedItems(raw(), norm="l1")
    with pytest.raises(InputError, match="temperature is -1"):
        UnitStates(torch.nn.Identity(), temperature=-1)
