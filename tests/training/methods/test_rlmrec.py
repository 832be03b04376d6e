"""RLMRec's two directions: Con maps texts to the ID space, Gen maps what stands for hidden items to texts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from reclib.schema import InputError
from reclib.training.loop import fit
from reclib.training.methods import rlmrec
from reclib.training.sequence_objectives import SequenceObjective
from tests.training.methods.made_setup import Recurrent, built, context, setup, some_batch, table, text_matrix
from tests.training.sequence_toy import WIDTH, LeftNeighbour, dataset, train_config


def con_model() -> rlmrec.ContrastedModel:
    return built(lambda: rlmrec.ContrastedModel(table(), Recurrent(), text_matrix(), d_model=WIDTH))


def gen_model(*, is_causal: bool = True) -> rlmrec.ReconstructingModel:
    backbone = Recurrent if is_causal else lambda: LeftNeighbour(WIDTH, max_length=8)
    return built(lambda: rlmrec.ReconstructingModel(table(), backbone(), text_matrix(), d_model=WIDTH))


def own_text_is_nearest(model: rlmrec.ContrastedModel) -> float:
    """Share of items whose ID vector has its own text, among all texts, as the nearest."""
    with torch.no_grad():
        ids, texts = (torch.nn.functional.normalize(view[1:], dim=1) for view in model.embedding_views())
    return float(((ids @ texts.T).argmax(dim=1) == torch.arange(len(ids))).float().mean())


def trained(options: rlmrec.RLMRecConOptions, workdir: Path) -> rlmrec.ContrastedModel:
    config = train_config(epochs=30)
    terms = [rlmrec.Contrast(options)]
    fitted = fit(
        con_model(), dataset().train, config, validate=None, seed=0, workdir=workdir, extra_terms=terms
    )
    return fitted.model  # type: ignore[return-value]


def test_con_brings_each_item_next_to_its_text(tmp_path: Path) -> None:
    options = rlmrec.RLMRecConOptions(alignment_weight=0.5)
    (tmp_path / "without").mkdir()
    without = trained(replace(options, alignment_weight=0.0), tmp_path / "without")
    assert own_text_is_nearest(trained(options, tmp_path)) > 0.9
    assert own_text_is_nearest(without) < 0.2


def test_con_reads_the_items_of_the_batch_and_trains_both_sides() -> None:
    model, batch = con_model(), some_batch(2)
    loss, parts = rlmrec.Contrast(rlmrec.RLMRecConOptions(alignment_weight=0.5))(model, batch, context())
    torch.testing.assert_close(loss.detach(), 0.5 * parts["contrast"])
    loss.backward()
    touched = set(model.items.table.weight.grad.any(dim=1).nonzero().flatten().tolist())
    assert touched == set(batch.history.unique().tolist()) | set(batch.target.tolist()) - {0}
    assert all(weight.grad.any() for weight in model.projection.parameters())
    assert all(weight.grad is None for weight in model.backbone.parameters())


def test_con_contrasts_from_id_to_text() -> None:
    model, batch = con_model(), some_batch(3)
    items = sorted((set(batch.history.unique().tolist()) | set(batch.target.tolist())) - {0})
    ids, texts = (view[items].detach().double().numpy() for view in model.embedding_views())
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (ids, texts)]
    logits = unit[0] @ unit[1].T / 0.2
    expected = np.mean(np.log(np.exp(logits).sum(axis=1)) - np.diag(logits))
    _, parts = rlmrec.Contrast(rlmrec.RLMRecConOptions(temperature=0.2))(model, batch, context())
    assert float(parts["contrast"]) == pytest.approx(expected, rel=1e-5)


def gen_objective(**options: Any) -> rlmrec.Reconstruction:
    recommend = SequenceObjective(train_config(), n_items=dataset().n_items)
    return rlmrec.Reconstruction(recommend, rlmrec.RLMRecGenOptions(**options))


def test_gen_hides_the_vector_of_an_item_from_what_reconstructs_it() -> None:
    model, batch = gen_model(), some_batch(4)
    hidden = torch.zeros_like(batch.history, dtype=torch.bool)
    hidden[:, -2] = True
    other = batch.history.clone()
    other[:, -2] = other[:, -2] % dataset().n_items + 1
    states = model.states_behind(batch.history, hidden)
    torch.testing.assert_close(model.states_behind(other, hidden), states)
    other[:, -3] = other[:, -3] % dataset().n_items + 1
    assert not torch.allclose(model.states_behind(other, hidden)[:, -2], states[:, -2])


@pytest.mark.parametrize("is_causal", [True, False])
def test_gen_learns_to_tell_the_text_of_a_hidden_item_from_its_context(
    tmp_path: Path, is_causal: bool
) -> None:
    objective = gen_objective(reconstruction_weight=1.0, mask_share=0.2)
    config, model = train_config(epochs=40), gen_model(is_causal=is_causal)
    fitted = fit(model, dataset().train, config, objective=objective, validate=None, seed=0, workdir=tmp_path)
    losses = fitted.trace.query("name == 'reconstruction'")["value"].to_numpy()
    assert losses[-1] < 0.6 * losses[0]
    assert model.hidden_vector.any() == is_causal  # the cloze has a mask vector of its own


def test_gen_without_gaps_is_the_recommendation_loss_alone() -> None:
    model, batch = gen_model().eval(), some_batch(5)
    total, parts = gen_objective(mask_share=0.0)(model, batch, context(1))
    alone, _ = SequenceObjective(train_config(), n_items=dataset().n_items)(model, batch, _after_gaps(batch))
    torch.testing.assert_close(total, alone)
    assert float(parts["reconstruction"]) == 0


def _after_gaps(batch: Any) -> Any:
    """A context whose generator has drawn as many numbers as the gaps of a batch take."""
    after = context(1)
    torch.rand(batch.history.shape, generator=after.generator)
    return after


def test_gen_recommends_from_histories_with_gaps() -> None:
    model, batch = gen_model().eval(), some_batch(5)
    with_gaps, _ = gen_objective(mask_share=0.5, reconstruction_weight=0.0)(model, batch, context(1))
    without, _ = gen_objective(mask_share=0.0)(model, batch, context(1))
    assert not torch.allclose(with_gaps, without)
    with_gaps.backward()
    assert model.hidden_vector.grad.any()
    assert not any(weight.grad.any() for weight in model.reconstruct.parameters())


@pytest.mark.parametrize("positions", ["all", "last"])
@pytest.mark.parametrize("backbone", ["gru4rec", "bert4rec"])
def test_both_train_on_a_causal_and_a_cloze_backbone(tmp_path: Path, backbone: str, positions: str) -> None:
    made = setup(backbone=backbone, positions=positions, epochs=2)
    for name, train, options in (
        ("con", rlmrec.train_con, rlmrec.RLMRecConOptions()),
        ("gen", rlmrec.train_gen, rlmrec.RLMRecGenOptions()),
    ):
        runs = []
        for number in range(2):
            folder = tmp_path / f"{name}{number}"
            folder.mkdir()
            runs.append(train(made, options, seed=3, workdir=folder))
        assert 0 < made.validate(runs[0].model) <= 1
        torch.testing.assert_close(runs[0].model.item_matrix(), runs[1].model.item_matrix())
        assert {"contrast", "reconstruction"} & set(runs[0].trace["name"])


def test_texts_must_be_there_and_of_the_catalogue(tmp_path: Path) -> None:
    made = setup()
    made = replace(made, text=None)
    with pytest.raises(InputError, match="RLMRec-Con reads item texts"):
        rlmrec.train_con(made, rlmrec.RLMRecConOptions(), seed=0, workdir=tmp_path)
    made = replace(made, text=SimpleNamespace(matrix=text_matrix()[:-1]))
    with pytest.raises(InputError, match="39 items for a catalogue of 40"):
        rlmrec.train_gen(made, rlmrec.RLMRecGenOptions(), seed=0, workdir=tmp_path)


def test_grids_start_at_the_defaults() -> None:
    for grid, options in (
        (rlmrec.CON_GRID, rlmrec.RLMRecConOptions),
        (rlmrec.GEN_GRID, rlmrec.RLMRecGenOptions),
    ):
        assert grid[0] == options()
        assert len(set(grid)) == len(grid) == 6
    with pytest.raises(InputError, match="temperature is 0"):
        rlmrec.RLMRecConOptions(temperature=0.0)
