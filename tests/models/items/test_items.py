"""Item modules: padding stays zero, fusion is the printed formula, reductions are those of scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import nn

from reclib.models.items import FusedItems, IdItems, largest_variance, pca, truncated
from reclib.models.items.fused import distinct_items
from reclib.models.text_adapter import TextAdapter
from reclib.schema import InputError

N, E, D = 30, 12, 4
RNG = np.random.default_rng(0)
TEXT = np.concatenate([np.zeros((1, E)), RNG.normal(size=(N, E)) * np.linspace(3, 0.5, E)]).astype("f4")


def fused(*, is_gated: bool = True) -> FusedItems:
    torch.manual_seed(0)
    adapter = TextAdapter(TEXT, D, hidden=8, between=nn.GELU())
    return FusedItems(IdItems.from_matrix(pca(TEXT, D)), adapter, d_model=D, is_gated=is_gated)


@pytest.mark.parametrize("make", [lambda: IdItems(N, D), fused, lambda: fused(is_gated=False)])
@pytest.mark.parametrize("is_training", [True, False])
def test_padding_is_zero_before_and_after_training(make, is_training: bool) -> None:
    items = make().train(is_training)
    optimiser = torch.optim.Adam(items.parameters(), lr=0.1, weight_decay=0.1)
    item_idx = torch.tensor([[0, 3, 5], [0, 0, 3]])
    for _ in range(3):
        optimiser.zero_grad()
        (items(item_idx).square().sum() + items.matrix()[1:].sum()).backward()
        optimiser.step()
    assert items(item_idx).shape == (2, 3, D)
    assert not items(item_idx)[item_idx == 0].any()
    assert not items.matrix()[0].any()
    torch.testing.assert_close(items.matrix()[item_idx], items(item_idx))
    assert items.n_items == N


def test_fusion_is_the_gate_in_training_and_the_mean_afterwards() -> None:
    items = fused()
    e_id, e_llm = items.embedding_views()
    w1, w2 = items.gate[0], items.gate[1]
    both = torch.cat([e_id, e_llm], dim=1)
    gate = torch.sigmoid((both @ w1.weight.T + w1.bias) @ w2.weight.T + w2.bias)
    torch.testing.assert_close(items.matrix(), gate * e_id + (1 - gate) * e_llm)
    torch.testing.assert_close(items.eval().matrix(), (e_id + e_llm) / 2)


def test_without_the_gate_both_count_the_same_in_training() -> None:
    items = fused(is_gated=False)
    torch.testing.assert_close(items.matrix(), sum(items.embedding_views()) / 2)


def test_pca_is_scikit_learns_up_to_scale_and_sign() -> None:
    rows = TEXT[1:] / np.linalg.norm(TEXT[1:], axis=1).mean()
    expected = PCA(D, svd_solver="full").fit_transform(rows)
    ours = pca(TEXT, D)
    assert ours.shape == (N + 1, D)
    assert not ours[0].any()
    np.testing.assert_allclose(np.abs(ours[1:]), np.abs(expected), atol=1e-5)
    np.testing.assert_allclose(pca(7 * TEXT, D), ours, atol=1e-6)


def test_other_reductions_keep_dimensions_of_the_texts() -> None:
    spread = np.argsort(-TEXT[1:].var(axis=0))[:D]
    for reduce, kept in ((truncated, np.arange(D)), (largest_variance, np.sort(spread))):
        chosen = TEXT[1:, kept] - TEXT[1:, kept].mean(axis=0)
        ours = reduce(TEXT, D)[1:]
        np.testing.assert_allclose(ours / ours.std(), chosen / chosen.std(), atol=1e-4)


def test_what_cannot_start_a_table_is_refused() -> None:
    with pytest.raises(InputError, match="12 dimensions, fewer than the d_model of 13"):
        pca(TEXT, 13)
    broken = TEXT.copy()
    broken[5, 2] = np.nan
    with pytest.raises(InputError, match="text embedding of item_idx 5 is not finite"):
        pca(broken, D)
    with pytest.raises(InputError, match="starting vector of item_idx 5"):
        IdItems.from_matrix(broken)
    with pytest.raises(InputError, match="row 0"):
        IdItems.from_matrix(np.ones((3, 2)))


def test_distinct_items_are_those_of_a_batch_without_padding() -> None:
    history, target = torch.tensor([[0, 4, 2], [0, 0, 4]]), torch.tensor([9, 2])
    assert distinct_items(history, target).tolist() == [2, 4, 9]
    assert distinct_items(torch.zeros(2, 3, dtype=torch.int64)).tolist() == []
