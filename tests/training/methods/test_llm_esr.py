"""LLM-ESR learns two views together, and users move towards similar users, never the other way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from reclib.models.dual_view import DualView
from reclib.models.sequence_model import SequenceModel
from reclib.models.text_adapter import TextAdapter
from reclib.schema import InputError
from reclib.training.loop import Batch, Context, fit
from reclib.training.methods import llm_esr
from reclib.training.sequence_objectives import SequenceObjective
from reclib.training.similar_users import SimilarUsers, similar_users
from tests.training.methods.made_setup import Recurrent, built, context, setup, some_batch, table, text_matrix
from tests.training.sequence_toy import WIDTH, dataset, train_config


def make() -> DualView:
    def model() -> DualView:
        adapter = TextAdapter(text_matrix(), WIDTH, hidden=12)
        return DualView(table(), adapter, Recurrent(), d_model=WIDTH, n_heads=2, max_length=8)

    return built(model)


class Fixed(SequenceModel):
    """States that are a table of users, so that gradients say whose state was moved."""

    def __init__(self) -> None:
        super().__init__(table(), Recurrent())
        self.user_table = torch.nn.Parameter(torch.arange(12.0).reshape(4, 3))

    def user_states(self, history: torch.Tensor) -> torch.Tensor:
        return self.user_table[history[:, -1] - 1]


def nothing(
    model: SequenceModel, batch: Batch, context: Context
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """A recommendation loss that reads no state and costs nothing."""
    return torch.zeros(()), {}


def four_users(k: int) -> SimilarUsers:
    """User u holds item u + 1 alone and resembles the users after, in a circle."""
    similar = (torch.arange(4)[:, None] + torch.arange(1, k + 1)) % 4
    return SimilarUsers(torch.arange(4), torch.arange(1, 5)[:, None], similar)


def batch_of(row: int) -> Batch:
    return Batch(torch.tensor([[row + 1]]), torch.tensor([1]), torch.tensor([row]))


def test_a_user_moves_to_the_mean_of_similar_users_whose_states_pass_no_gradient() -> None:
    model, options = Fixed(), llm_esr.LLMESROptions(distillation_weight=0.5, n_teachers=2)
    loss, parts = llm_esr.Distillation(nothing, four_users(2), options)(model, batch_of(0), context())
    student, teacher = model.user_table[0], model.user_table[1:3].mean(dim=0)
    expected = (student - teacher).square().mean().detach()
    torch.testing.assert_close(parts["distillation"], expected)
    torch.testing.assert_close(loss.detach(), 0.5 * expected)
    loss.backward()
    gradient = model.user_table.grad
    torch.testing.assert_close(gradient[0], 0.5 * 2 * (student - teacher).detach() / 3)
    assert not gradient[1:].any()


def test_drawn_teachers_have_the_gradient_of_all_on_average() -> None:
    means = []
    for n_teachers in (1, 3):
        model, options = Fixed(), llm_esr.LLMESROptions(distillation_weight=1.0, n_teachers=n_teachers)
        term, drawing = llm_esr.Distillation(nothing, four_users(3), options), context()
        for _ in range(600):
            term(model, batch_of(2), drawing)[0].backward()
        means.append(model.user_table.grad[2] / 600)
    torch.testing.assert_close(*means, atol=0.15, rtol=0)  # about three standard errors


def apart(model: SequenceModel, users: SimilarUsers) -> float:
    """Squared distance of the states of similar users, over that of all users."""
    with torch.no_grad():
        states = model.user_states(users.histories)
    near = (states[:, None] - states[users.similar]).square().sum(dim=2).mean()
    return float(near / (2 * states.var(dim=0, unbiased=False).sum()))


def test_distillation_brings_similar_users_together(tmp_path: Path) -> None:
    data, found = dataset(), []
    users = similar_users(data.train, text_matrix(), 5)
    for weight in (0.0, 10.0):
        recommend = SequenceObjective(train_config(), n_items=data.n_items)
        options = llm_esr.LLMESROptions(distillation_weight=weight)
        objective = llm_esr.Distillation(recommend, users, options)
        folder = tmp_path / str(weight)
        folder.mkdir()
        config = train_config(epochs=10)
        model = fit(
            make(), data.train, config, validate=None, seed=0, workdir=folder, objective=objective
        ).model
        found.append(apart(model, users))
    assert found[1] < 0.7 * found[0]


def test_the_student_is_the_state_that_recommends() -> None:
    data, batch = dataset(), some_batch(6)
    recommend = SequenceObjective(train_config(), n_items=data.n_items)
    users = similar_users(data.train, text_matrix(), 2)
    term, model = llm_esr.Distillation(recommend, users, llm_esr.LLMESROptions()), make().eval()
    total, parts = term(model, batch, context())
    taught = model.user_states(users.histories)[users.similar[users.user_of_row[batch.row]]].mean(dim=1)
    expected = (model.user_states(batch.history) - taught).square().mean().detach()
    torch.testing.assert_close(parts["distillation"], expected)
    torch.testing.assert_close(total.detach(), parts["bce"] + 0.1 * expected)


def test_a_user_alone_is_taught_by_nobody() -> None:
    users = SimilarUsers(
        torch.zeros(4, dtype=torch.int64), torch.tensor([[1]]), torch.zeros(1, 0, dtype=torch.int64)
    )
    loss, _ = llm_esr.Distillation(nothing, users, llm_esr.LLMESROptions())(Fixed(), batch_of(0), context())
    assert float(loss) == 0


@pytest.mark.parametrize("positions", ["all", "last"])
@pytest.mark.parametrize("backbone", ["gru4rec", "bert4rec"])
def test_it_trains_on_a_causal_and_a_cloze_backbone(tmp_path: Path, backbone: str, positions: str) -> None:
    made = setup(backbone=backbone, positions=positions, epochs=2)
    runs = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        runs.append(llm_esr.train(made, llm_esr.LLMESROptions(), seed=3, workdir=folder))
    assert 0 < made.validate(runs[0].model) <= 1
    torch.testing.assert_close(runs[0].model.item_matrix(), runs[1].model.item_matrix())
    assert runs[0].model.item_matrix().shape == (dataset().n_items + 1, 2 * WIDTH)
    assert {"bce", "distillation"} <= set(runs[0].trace["name"])


def test_the_collaborative_view_starts_from_the_components_of_the_texts(tmp_path: Path) -> None:
    made = setup(epochs=1, learning_rate=1e-9)
    fitted = llm_esr.train(made, llm_esr.LLMESROptions(), seed=0, workdir=tmp_path)
    start = fitted.model.items.matrix()[1:].detach().numpy()
    text = text_matrix()[1:] - text_matrix()[1:].mean(axis=0)
    singular = np.linalg.svd(text, compute_uv=False)[:WIDTH]
    np.testing.assert_allclose(np.abs(np.corrcoef(start.T) - np.eye(WIDTH)).max(), 0, atol=1e-4)
    ratio = np.linalg.norm(start, axis=0) / singular
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-3)  # up to one scale


def test_the_grid_starts_at_the_defaults() -> None:
    assert llm_esr.GRID[0] == llm_esr.LLMESROptions()
    assert len(set(llm_esr.GRID)) == len(llm_esr.GRID) == 6
    with pytest.raises(InputError, match="n_teachers is 0"):
        llm_esr.LLMESROptions(n_teachers=0)
