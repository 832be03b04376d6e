"""Users of like taste by the text of what they chose, found without comparing texts of users in pairs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from reclib.data.dataset import Windows
from reclib.kernels.neighbours import nearest_by_cosine
from reclib.schema import PAD_IDX


class SimilarUsers(NamedTuple):
    """U users and whom each resembles.

    user_of_row: (W,) the user of each window given; histories: (U, S) int64 of their last windows
    similar: (U, k) users, most similar first, none of them the user; k may be 0
    """

    user_of_row: Tensor
    histories: Tensor
    similar: Tensor

    def to(self, device: torch.device | str) -> SimilarUsers:
        """The same on another device."""
        return SimilarUsers(*(values.to(device) for values in self))


def similar_users(windows: Windows, text: np.ndarray, k: int) -> SimilarUsers:
    """The k users nearest by cosine to each user, where a user is the mean text embedding of their items.

    windows: of training; a user's items are the history and the target of their last window
    text: (N+1, E). Source: [LLM-ESR], with this mean for the embedding of a text about the user.
    """
    user_of_row, _ = pd.factorize(windows.user_id)
    last = pd.Series(np.arange(len(windows))).groupby(user_of_row).max().to_numpy()
    histories = torch.from_numpy(windows.history[last]).long()
    target = torch.from_numpy(windows.target_idx[last]).long()
    chosen = torch.cat([histories, target[:, None]], dim=1)
    users = embedding_bag(chosen, torch.from_numpy(text).float(), mode="mean", padding_idx=PAD_IDX)
    return SimilarUsers(torch.from_numpy(user_of_row).long(), histories, nearest_by_cosine(users, k))
