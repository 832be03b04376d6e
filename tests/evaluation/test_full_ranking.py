from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from reclib.evaluation import full_ranking
from reclib.evaluation.full_ranking import rank_windows, recommend_lists, validation_ndcg
from reclib.evaluation.metrics import per_window
from reclib.evaluation.ranks import Seen, ranks_from_lists, ranks_from_scores
from reclib.schema import InputError
from tests.training.sequence_toy import dataset, make_model


def scores() -> np.ndarray:
    model, history = make_model().eval(), torch.from_numpy(dataset().test.history).long()
    with torch.no_grad():
        return (model.user_states(history) @ model.item_matrix().T).numpy()


@pytest.mark.parametrize("seen", ["kept", "removed"])
@pytest.mark.parametrize("users_per_block", [7, 1000])
def test_ranks_are_those_of_the_score_matrix(
    seen: Seen, users_per_block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(full_ranking, "STATES_AT_ONCE", 2 * users_per_block)
    test = dataset().test
    expected = ranks_from_scores(scores(), test.target_idx, seen=seen, history=test.history)
    ranks = rank_windows(make_model(), test, seen=seen, users_per_block=users_per_block)
    pd.testing.assert_series_equal(ranks, expected)
    cut = rank_windows(make_model(), test, cutoff=5, seen=seen, users_per_block=users_per_block)
    pd.testing.assert_series_equal(cut, expected.mask(expected > 5))


@pytest.mark.parametrize("seen", ["kept", "removed"])
def test_lists_give_the_same_ranks(seen: Seen) -> None:
    test = dataset().test
    lists = recommend_lists(make_model(), test, 10, seen=seen, users_per_block=13)
    ranks = rank_windows(make_model(), test, cutoff=10, seen=seen)
    found = ranks_from_lists(lists, test.target_idx)
    was_seen = (test.history == test.target_idx[:, None]).any(axis=1)
    same = ~was_seen if seen == "removed" else np.ones(len(test), dtype=bool)
    pd.testing.assert_series_equal(found[same], ranks[same])


def test_the_model_is_left_in_its_mode() -> None:
    for is_training in (True, False):
        model = make_model().train(is_training)
        rank_windows(model, dataset().test)
        assert model.training == is_training
        assert all(weight.requires_grad for weight in model.parameters())


def test_validation_is_ndcg_on_the_validation_windows() -> None:
    data, model = dataset(), make_model()
    ranks = rank_windows(model, data.valid)
    table = per_window(ranks, (10,), n_items=data.n_items)
    expected = table.loc[table["metric"] == "NDCG", "value"].mean()
    assert validation_ndcg(data)(model) == pytest.approx(expected)


def test_validation_on_some_windows_takes_the_same_each_time() -> None:
    data, model = dataset(), make_model()
    values = {validation_ndcg(data, n_windows=20)(model) for _ in range(3)}
    assert len(values) == 1


def test_a_data_set_without_validation_is_refused() -> None:
    empty = replace(dataset(), valid=dataset().valid.take(np.arange(0)))
    with pytest.raises(InputError, match="no validation windows"):
        validation_ndcg(empty)


def test_a_window_without_a_history_has_a_rank() -> None:
    test = dataset().test.take(np.arange(3))
    empty = replace(test, history=np.zeros_like(test.history))
    assert rank_windows(make_model(), empty).tolist() == [dataset().n_items] * 3, "all scores are equal"


def test_no_windows_have_no_ranks() -> None:
    none = dataset().test.take(np.arange(0))
    assert len(rank_windows(make_model(), none)) == 0
    assert recommend_lists(make_model(), none, 3).shape == (0, 3)


def test_unknown_items_are_refused() -> None:
    test = dataset().test
    with pytest.raises(InputError, match="row 0: target item_idx 9999"):
        rank_windows(make_model(), replace(test, target_idx=np.full_like(test.target_idx, 9999)))
    with pytest.raises(InputError, match=r"window \d+: its history holds an item outside"):
        recommend_lists(make_model(), replace(test, history=test.history + 9999), 3)


def test_an_item_that_is_not_finite_is_named() -> None:
    model = make_model()
    with torch.no_grad():
        model.items.table.weight[17, 3] = torch.nan
    with pytest.raises(InputError, match="item_idx 17 is not finite"):
        rank_windows(model, dataset().test.take(np.arange(0, 1)))


def test_a_state_that_is_not_finite_is_named_by_its_window() -> None:
    model, test = make_model().eval(), dataset().test
    states = model.user_states

    def broken(history: torch.Tensor) -> torch.Tensor:
        made = states(history).clone()
        made[(history[:, -1] == int(test.history[11, -1])), 0] = torch.nan
        return made

    model.user_states = broken  # type: ignore[method-assign]
    named = np.flatnonzero(test.history[:, -1] == test.history[11, -1])
    with pytest.raises(InputError, match=rf"window ({'|'.join(map(str, named))}): its state is not finite"):
        rank_windows(model, test)
