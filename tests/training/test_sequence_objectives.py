from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from reclib.config import SequenceTrainConfig
from reclib.training.sequence_batches import Batch
from reclib.training.sequence_objectives import Context, SequenceObjective, predicted_positions
from tests import reference
from tests.training.sequence_toy import make_model

HISTORY = torch.tensor([[0, 0, 3, 7], [1, 2, 3, 4], [0, 0, 0, 9]])
BATCH = Batch(HISTORY, torch.tensor([5, 6, 8]), torch.arange(3))


def context(seed: int = 0) -> Context:
    return Context(0, 0, 1, torch.Generator().manual_seed(seed))


def config(**fields: object) -> SequenceTrainConfig:
    return SequenceTrainConfig(**({"loss": "cross_entropy"} | fields))  # type: ignore[arg-type]


def test_each_position_predicts_the_next_item() -> None:
    predicted = predicted_positions(make_model(dropout=0.0), BATCH, "all", context().generator)
    assert predicted.target.tolist() == [7, 5, 2, 3, 4, 6, 8]
    expected = make_model(dropout=0.0).states(HISTORY)[HISTORY > 0]
    assert torch.equal(predicted.states, expected)


def test_the_last_position_predicts_the_target() -> None:
    predicted = predicted_positions(make_model(dropout=0.0), BATCH, "last", context().generator)
    assert predicted.target.tolist() == [5, 6, 8]
    assert torch.equal(predicted.states, make_model(dropout=0.0).user_states(HISTORY))


def test_a_cloze_hides_what_it_predicts() -> None:
    model = make_model(is_causal=False)
    shown: list[Tensor] = []
    handle = model.backbone.register_forward_pre_hook(lambda _, given: shown.append(given[0]))
    for seed in range(20):
        shown.clear()
        predicted = predicted_positions(model, BATCH, "all", context(seed).generator)
        sequence = torch.cat([BATCH.history, BATCH.target[:, None]], dim=1)  # shorter than max_length
        assert predicted.target.tolist() == sequence[predicted.at].tolist()
        assert predicted.at.any(dim=1).all(), "each window predicts something"
        assert not (predicted.at & (sequence == 0)).any(), "padding is not predicted"
        assert torch.equal(
            shown[0][predicted.at], model.backbone.mask_vector.expand(len(predicted.target), -1)
        )
    handle.remove()


def test_a_cloze_at_the_last_position_is_what_ranking_does() -> None:
    model = make_model(is_causal=False)
    predicted = predicted_positions(model, BATCH, "last", context().generator)
    assert torch.equal(predicted.states, model.user_states(HISTORY))
    assert predicted.target.tolist() == BATCH.target.tolist()


def test_cross_entropy_is_the_mean_of_positions() -> None:
    model = make_model(dropout=0.0)
    total, parts = SequenceObjective(config(), n_items=model.n_items)(model, BATCH, context())
    predicted = predicted_positions(model, BATCH, "all", context().generator)
    losses = reference.catalogue_cross_entropies(predicted.states, model.item_matrix(), predicted.target)
    assert torch.allclose(total, losses.mean())
    assert parts == {"cross_entropy": total.detach()}


@pytest.mark.parametrize("loss", ["bce", "gbce", "sampled_softmax", "cross_entropy"])
@pytest.mark.parametrize("positions", ["all", "last", "every"])
def test_a_batch_of_padding_alone_is_defined(loss: str, positions: str) -> None:
    model = make_model()
    empty = Batch(torch.zeros_like(HISTORY), BATCH.target, BATCH.row)
    objective = SequenceObjective(config(loss=loss, positions=positions), n_items=model.n_items)
    total, _ = objective(model, empty, context())
    total.backward()
    assert torch.isfinite(total)
    assert all(weight.grad is None or bool(weight.grad.isfinite().all()) for weight in model.parameters())
    if positions != "last":
        assert total == 0


def test_a_draw_that_hits_the_target_does_not_count() -> None:
    model = make_model(dropout=0.0)
    counts = np.zeros(model.n_items + 1)
    counts[5] = 1e12  # all draws are item 5
    objective = SequenceObjective(
        config(loss="sampled_softmax", n_negatives=3, positions="last"), n_items=model.n_items, counts=counts
    )
    only = Batch(HISTORY[:1], BATCH.target[:1], BATCH.row[:1])  # its target is item 5
    assert objective(model, only, context())[0] == 0
