from __future__ import annotations

import torch

from reclib.models.sequence_model import states_in_like_lengths
from tests.training.sequence_toy import make_model

HISTORY = torch.tensor([[0, 0, 3, 7], [1, 2, 3, 4]])


def test_scores_are_products_of_states_and_items() -> None:
    model = make_model().eval()
    assert model.user_states(HISTORY).shape == (2, 16)
    assert model.item_matrix().shape == (model.n_items + 1, 16)
    assert not model.item_matrix()[0].any()
    items = torch.tensor([[1, 0], [4, 2]])
    assert torch.equal(model.item_vectors(items), model.item_matrix()[items])


def test_padding_on_the_left_changes_no_state() -> None:
    for is_causal in (True, False):
        model = make_model(is_causal=is_causal).eval()
        wider = torch.cat([torch.zeros(2, 3, dtype=torch.long), HISTORY], dim=1)
        assert torch.allclose(model.user_states(wider), model.user_states(HISTORY))


def test_without_causality_the_mask_stands_after_the_history() -> None:
    model = make_model(is_causal=False).eval()
    given: list[torch.Tensor] = []
    handle = model.backbone.register_forward_pre_hook(lambda _, inputs: given.extend(inputs))
    model.user_states(HISTORY)
    handle.remove()
    vectors, mask = given
    assert vectors.shape[1] == 5
    assert torch.equal(vectors[:, :-1], model.items(HISTORY))
    assert torch.equal(vectors[:, -1], model.backbone.mask_vector.expand(2, -1))
    assert mask.tolist() == [[False, False, True, True, True], [True] * 5]


def test_the_oldest_item_falls_out_where_there_is_no_more_room() -> None:
    model = make_model(is_causal=False).eval()
    full = torch.arange(1, 9)[None]
    assert full.shape[1] == model.backbone.max_length
    changed = full.clone()
    changed[0, 0] = 20
    assert torch.equal(model.user_states(full), model.user_states(changed))


def test_histories_read_in_like_lengths_have_the_same_states_and_little_padding() -> None:
    model = make_model().eval()
    generator = torch.Generator().manual_seed(0)
    history = torch.randint(1, 8, (40, 6), generator=generator)
    length = torch.randint(0, 7, (40, 1), generator=generator)
    history = history.masked_fill(torch.arange(6) < 6 - length, 0)
    read: list[int] = []

    def states(part: torch.Tensor) -> torch.Tensor:
        read.append(part.numel())
        return model.user_states(part)

    parted = states_in_like_lengths(states, history)
    torch.testing.assert_close(parted, model.user_states(history))
    assert sum(read) < 1.3 * int((history != 0).sum())
    assert states_in_like_lengths(model.user_states, history[:0]).shape == (0, 16)
    torch.testing.assert_close(states_in_like_lengths(states, history[:3]), parted[:3])
