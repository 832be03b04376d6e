"""DLLM2Rec learns a teacher's lists and vectors; without both weights it is the backbone, to the bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from reclib.kernels.distillation import importance_weights
from reclib.models.items import DistilledItems
from reclib.models.sequence_model import SequenceModel
from reclib.schema import InputError
from reclib.training.methods import base, dllm2rec
from reclib.training.sequence_objectives import SequenceObjective
from reclib.training.teacher import Teacher
from tests.training.made_teacher import K, teacher_of
from tests.training.methods.made_setup import Recurrent, built, context, setup, some_batch, table
from tests.training.sequence_toy import dataset, train_config

NEITHER = dllm2rec.DLLM2RecOptions(ranking_weight=0.0, embedding_weight=0.0)


def teacher(**how: Any) -> Teacher:
    return teacher_of(dataset().train, dataset().n_items, **how)


def taught(**train: Any) -> Any:
    return replace(setup(**train), teacher=teacher())


def model() -> SequenceModel:
    return built(lambda: SequenceModel(table(), Recurrent())).eval()


def objective(
    given: Teacher | None = None, options: dllm2rec.DLLM2RecOptions | None = None, **train: Any
) -> dllm2rec.RankingDistillation:
    recommend = SequenceObjective(train_config(**train), n_items=dataset().n_items)
    return dllm2rec.RankingDistillation(
        recommend, given or teacher(), options or dllm2rec.DLLM2RecOptions(), "cpu"
    )


@pytest.mark.parametrize("backbone", ["sasrec", "bert4rec"])
def test_without_both_weights_it_is_the_backbone(tmp_path: Path, backbone: str) -> None:
    run = taught(backbone=backbone, epochs=2)
    ours = dllm2rec.train(run, NEITHER, seed=1, workdir=tmp_path / "ours").model
    plain = base.train(run, base.BaseOptions(), seed=1, workdir=tmp_path / "base").model
    assert torch.equal(ours.item_matrix(), plain.item_matrix())
    for name in ("ranking_weight", "embedding_weight"):
        options = replace(NEITHER, **{name: 0.5})
        moved = dllm2rec.train(run, options, seed=1, workdir=tmp_path / name).model
        assert not torch.equal(moved.item_matrix(), plain.item_matrix()), name


def own_best(whole: SequenceModel, histories: torch.Tensor, k: int) -> torch.Tensor:
    scores = whole.user_states(histories) @ whole.item_matrix().T
    return 1 + scores[:, 1:].argsort(dim=1, descending=True)[:, :k]


@pytest.mark.parametrize("positions", ["last", "all"])
@pytest.mark.parametrize("list_length", [2, 10])
def test_the_distillation_is_the_weighted_loss_of_the_listed_items(positions: str, list_length: int) -> None:
    whole, batch, lists = model(), some_batch(8), teacher()
    options = dllm2rec.DLLM2RecOptions(ranking_weight=0.7, list_length=list_length)
    term = objective(lists, options, positions=positions, loss="cross_entropy")
    total, parts = term(whole, batch, context())
    kept = slice(0, min(list_length, K))
    listed = torch.from_numpy(lists.items[batch.row.numpy(), kept]).long()
    agrees = (listed[:, :, None] == own_best(whole, batch.history, listed.shape[1])[:, None]).any(dim=2)
    weight = importance_weights(
        torch.from_numpy(lists.distance[batch.row.numpy(), kept]),
        listed > 0,
        agrees,
        position_share=0.3,
        confidence_share=0.5,
        consistency_share=0.1,
        decay=1.0,
    )
    scores = whole.user_states(batch.history) @ whole.item_matrix()[1:].T
    slow = sum(
        weight[:, place] * cross_entropy(scores, listed[:, place] - 1, reduction="none")
        for place in range(listed.shape[1])
    ).mean()
    torch.testing.assert_close(parts["distillation"], slow.detach())
    torch.testing.assert_close(total.detach(), parts["cross_entropy"] + 0.7 * parts["distillation"])
    torch.testing.assert_close(parts["agreement"], agrees.float().mean())


def test_what_student_and_teacher_agree_on_counts_more() -> None:
    """An item that the student comes to rank high is pulled harder than before, by its own consent."""
    whole, batch, lists = model(), some_batch(1), teacher(knows=False)
    term = objective(lists, replace(dllm2rec.DLLM2RecOptions(), consistency_share=5.0), positions="last")
    last = int(lists.items[int(batch.row), K - 1])

    def share() -> float:
        states, matrix = whole.user_states(batch.history), whole.item_matrix()
        listed = term.items[batch.row].long()
        agrees = term._agrees(states, matrix, listed)
        return float(term._weights(batch, listed > 0, agrees)[0, K - 1].detach())

    with torch.no_grad():
        state = whole.user_states(batch.history)[0]
        whole.items.table.weight[last] = -5 * state
    before = share()
    with torch.no_grad():
        whole.items.table.weight[last] = 50 * state
    assert share() > 5 * before


def test_negatives_are_neither_in_the_window_nor_in_the_list() -> None:
    """With all other items listed or seen, the one that is left is what every draw is."""
    whole, data = model(), dataset()
    row = int((data.train.history != 0).sum(axis=1).argmax())
    seen = {*data.train.history[row].tolist(), int(data.train.target_idx[row])} - {0}
    free = [item for item in range(1, data.n_items + 1) if item not in seen]
    items = np.zeros((len(data.train), len(free) - 1), dtype=np.int32)
    items[row] = free[:-1]
    lists = replace(teacher(), items=items, distance=np.where(items > 0, 1.0, np.inf))
    options = dllm2rec.DLLM2RecOptions(list_length=len(free), consistency_share=0.0, confidence_share=0.0)
    batch = some_batch(1)._replace(
        history=torch.from_numpy(data.train.history[[row]]).long(),
        target=torch.from_numpy(data.train.target_idx[[row]]).long(),
        row=torch.tensor([row]),
    )
    _, parts = objective(lists, options, positions="last", n_negatives=3)(whole, batch, context())
    scores = (whole.user_states(batch.history) @ whole.item_matrix().T)[0]
    weight = torch.softmax(-torch.arange(1.0, len(free)), dim=0)
    expected = (weight * torch.nn.functional.softplus(-scores[free[:-1]])).sum()
    expected = expected + 3 * torch.nn.functional.softplus(scores[free[-1]])
    torch.testing.assert_close(parts["distillation"], expected.detach())


def test_windows_without_a_list_are_taught_by_nobody() -> None:
    lists, batch = teacher(), some_batch(6)
    items, distance = lists.items.copy(), lists.distance.copy()
    items[batch.row[3:].numpy()], distance[batch.row[3:].numpy()] = 0, np.inf
    half = replace(lists, items=items, distance=distance)
    for loss in ("bce", "cross_entropy"):
        term = objective(half, positions="last", loss=loss)
        _, parts = term(model(), batch, context())
        first = type(batch)(*(values[:3] for values in batch))
        _, alone = term(model(), first, context())
        if loss == "cross_entropy":  # nothing is drawn
            torch.testing.assert_close(parts["distillation"], alone["distillation"] / 2)
        torch.testing.assert_close(parts["agreement"], alone["agreement"])
        nobody = type(batch)(*(values[3:] for values in batch))
        total, none = term(model(), nobody, context())
        assert float(none["distillation"]) == 0
        torch.testing.assert_close(total.detach(), none[loss])


def test_who_knows_the_next_item_teaches_a_student_whose_own_targets_are_wrong(tmp_path: Path) -> None:
    """Targets that are shuffled teach nothing; the lists of a teacher who saw the right ones do."""
    data, values = dataset(), {}
    shuffled = np.random.default_rng(0).permutation(data.train.target_idx)
    wrong = replace(data, train=replace(data.train, target_idx=shuffled))
    knowing = replace(teacher(), windows=wrong.train.fingerprint)
    for weight in (0.0, 3.0):
        run = setup(epochs=10, positions="last", loss="cross_entropy")
        run = replace(run, dataset=wrong, teacher=knowing)
        options = dllm2rec.DLLM2RecOptions(ranking_weight=weight, embedding_weight=0.0)
        fitted = dllm2rec.train(run, options, seed=0, workdir=tmp_path / str(weight))
        values[weight] = run.validate(fitted.model)
    assert values[3.0] > values[0.0] + 0.2


def test_vectors_of_the_teacher_help_where_they_say_what_is_alike(tmp_path: Path) -> None:
    """Vectors that place each item beside its successor reach the scores through the projection."""
    run = taught(epochs=2, positions="last", loss="cross_entropy")
    options = dllm2rec.DLLM2RecOptions(ranking_weight=0.0, embedding_weight=1.0)
    fitted = dllm2rec.train(run, options, seed=0, workdir=tmp_path)
    items = fitted.model.items
    assert isinstance(items, DistilledItems)
    offsets, projected = items.embedding_views()
    torch.testing.assert_close(fitted.model.item_matrix(), offsets + projected)
    assert float(projected[1:].std().detach()) > 0.05


@pytest.mark.parametrize("positions", ["all", "last"])
@pytest.mark.parametrize("backbone", ["gru4rec", "bert4rec"])
@pytest.mark.parametrize("loss", ["bce", "cross_entropy"])
def test_it_trains_on_a_causal_and_a_cloze_backbone(
    tmp_path: Path, backbone: str, positions: str, loss: str
) -> None:
    run = taught(backbone=backbone, positions=positions, loss=loss, epochs=2)
    first = dllm2rec.train(run, dllm2rec.DLLM2RecOptions(), seed=3, workdir=tmp_path / "a")
    again = dllm2rec.train(run, dllm2rec.DLLM2RecOptions(), seed=3, workdir=tmp_path / "b")
    torch.testing.assert_close(first.model.item_matrix(), again.model.item_matrix())
    assert {loss, "distillation", "agreement"} <= set(first.trace["name"])


def test_a_teacher_must_be_given_and_fit(tmp_path: Path) -> None:
    run = setup(epochs=1)
    options = dllm2rec.DLLM2RecOptions()
    with pytest.raises(InputError, match="give its setup a teacher of the training windows"):
        dllm2rec.train(run, options, seed=0, workdir=tmp_path)
    run = replace(run, teacher=teacher_of(dataset().valid, dataset().n_items))
    with pytest.raises(InputError, match="training windows: one row each"):
        dllm2rec.train(run, options, seed=0, workdir=tmp_path)


def test_options_say_what_they_may_be() -> None:
    assert dllm2rec.GRID[0] == dllm2rec.DLLM2RecOptions()
    assert len(set(dllm2rec.GRID)) == 6
    with pytest.raises(InputError, match="list_length is 0"):
        dllm2rec.DLLM2RecOptions(list_length=0)
    with pytest.raises(InputError, match="are all 0, so that no item counts"):
        dllm2rec.DLLM2RecOptions(position_share=0, confidence_share=0, consistency_share=0)
