"""Batches of windows for sequence recommenders, composed so that little padding is computed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from reclib.data.dataset import Windows
from reclib.schema import PAD_IDX, InputError

ORDER_VERSION = {"all": 1, "last": 2, "every": 1}  # schema_version of a step that trains; raised by hand
POOL = 32  # batches whose windows are sorted by length before they are cut apart


class Batch(NamedTuple):
    """B windows of a step.

    history: (B, S) int64, padded on the left, cut to the longest of the batch; target: (B,) int64
    row: (B,) int64, which of the windows given to `fit` each is
    """

    history: Tensor
    target: Tensor
    row: Tensor


class WindowBatches:
    """The windows that are trained on, in a new order each epoch.

    An epoch is shuffled, sorted by length within pools of `POOL` batches, cut into batches, and the batches
    are shuffled. Under positions "last" a pool is one batch, drawn without regard to length: a batch of like
    lengths would teach one length alone, where other positions predict at every length up to it.
    positions "all" takes the last window of each user, the others all windows; windows without any item in
    their history are left out.
    """

    def __init__(
        self,
        windows: Windows,
        *,
        n_items: int,
        batch_size: int,
        positions: Literal["all", "last", "every"],
        device: torch.device,
    ) -> None:
        _check(windows, n_items)
        lengths = (windows.history != PAD_IDX).sum(axis=1)
        rows = _trained_rows(windows, positions)
        if not len(rows):
            raise InputError("no training window has an item in its history: there is nothing to learn from")
        self.batch_size = batch_size
        self._pool = batch_size * (1 if positions == "last" else POOL)
        self.rows = torch.from_numpy(rows)
        self.lengths = torch.from_numpy(lengths[rows])
        self._positions = torch.ones_like(self.lengths) if positions == "last" else self.lengths
        self._row = self.rows.to(device)
        self._history = torch.from_numpy(windows.history[rows]).to(device)
        self._target = torch.from_numpy(windows.target_idx[rows]).long().to(device)

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    @property
    def n_windows(self) -> int:
        """Windows of an epoch."""
        return len(self.rows)

    def epoch(self, generator: torch.Generator) -> Iterator[tuple[Batch, float]]:
        """Batches of one epoch in the order that a CPU generator gives, each with its weight.

        The weight is the batch's predicted positions over those of a mean batch: as a factor of its mean
        loss it makes every position of the epoch weigh alike, though long histories hold more of them.
        """
        shuffled = torch.randperm(len(self.rows), generator=generator)
        pools = shuffled.split(self._pool)
        ordered = [pool[self.lengths[pool].argsort(stable=True)] for pool in pools]
        batches = [batch for pool in ordered for batch in pool.split(self.batch_size)]
        for number in torch.randperm(len(batches), generator=generator).tolist():
            chosen = batches[number]
            longest = int(self.lengths[chosen].max())
            weight = float(self._positions[chosen].sum() * len(self) / self._positions.sum())
            chosen = chosen.to(self._row.device)
            history = self._history[chosen, -longest:].long()
            yield Batch(history, self._target[chosen], self._row[chosen]), weight


def predicted_counts(
    windows: Windows, n_items: int, positions: Literal["all", "last", "every"]
) -> np.ndarray:
    """How often an epoch predicts each item, (N+1,): as a target, and but for "last" after another item.

    A cloze hides a share of the items instead, each as likely as another: near enough to weigh items by.
    """
    _check(windows, n_items)
    rows = _trained_rows(windows, positions)
    counts = np.bincount(windows.target_idx[rows], minlength=n_items + 1)
    if positions != "last":
        history = windows.history[rows]
        counts += np.bincount(history[:, 1:][history[:, :-1] != PAD_IDX], minlength=n_items + 1)
    return counts


def _trained_rows(windows: Windows, positions: str) -> np.ndarray:
    """The windows that are trained on: those with a history, and only each user's last under "all"."""
    rows = _last_of_users(windows.user_id) if positions == "all" else np.arange(len(windows))
    return rows[(windows.history[rows] != PAD_IDX).any(axis=1)]


def _last_of_users(user_id: np.ndarray) -> np.ndarray:
    """The last row of each user, in the order of rows."""
    import pandas as pd

    return np.flatnonzero(~pd.Series(user_id).duplicated(keep="last").to_numpy())


def _check(windows: Windows, n_items: int) -> None:
    """Refuse items outside the catalogue, naming the first bad window."""
    for name, items, least in (
        ("history", windows.history, PAD_IDX),
        ("target", windows.target_idx[:, None], PAD_IDX + 1),
    ):
        bad = ((items < least) | (items > n_items)).any(axis=1)
        if bad.any():
            row = int(bad.argmax())
            raise InputError(
                f"training window {row}: its {name} holds an item outside {least}…{n_items}: "
                f"encode it as item_idx of this catalogue"
            )
