"""Ranks and lists of windows by a sequence model over the whole catalogue, in blocks of users."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from reclib.data.dataset import Dataset, Windows
from reclib.evaluation.ranks import Seen, check_targets
from reclib.kernels.full_ranking import NotFiniteError, target_ranks, top_items
from reclib.models.products import float32_products
from reclib.models.sequence_model import SequenceModel
from reclib.schema import PAD_IDX, RANK, InputError
from reclib.seeding import numpy_generator

USERS_PER_BLOCK = 1024  # encoded at once
STATES_AT_ONCE = 65_536  # ranked at once: the catalogue is put in order for each such block


def rank_windows(
    model: SequenceModel,
    windows: Windows,
    *,
    cutoff: int | None = None,
    seen: Seen = "kept",
    device: torch.device | str | None = None,
    users_per_block: int = USERS_PER_BLOCK,
) -> pd.Series:
    """Place of each target among all items, ties against it; `<NA>` beyond the cut-off.

    rank = 1 + |{i ≠ target : score_i ≥ score_target}|, over all items (`seen="kept"`) or over all but those
    of the window's history (`seen="removed"`; a target that is in its own history stays). A cut-off K makes
    it many times faster, and all of HR@k and NDCG@k for k ≤ K remain exact. A window without a history is
    ranked by the state the backbone gives it.

    Returns (W,) Int64. Raises InputError for items outside the catalogue and for scores that are not finite.
    """
    check_targets(windows.target_idx, rows=len(windows), n_items=model.n_items)
    ranks = np.empty(len(windows), np.int64)
    with _Scoring(model, windows, device, users_per_block) as scoring:
        for rows, states in scoring.blocks():
            target = torch.from_numpy(windows.target_idx[rows]).long().to(states.device)
            history = scoring.history(rows) if seen == "removed" else None
            with _explained(rows):
                found = target_ranks(states, scoring.items, target, cutoff=cutoff, seen=history)
            ranks[rows] = found.cpu().numpy()
    rank = pd.Series(ranks, name=RANK, dtype="Int64")
    return rank if cutoff is None else rank.mask(rank > cutoff)


def recommend_lists(
    model: SequenceModel,
    windows: Windows,
    k: int,
    *,
    seen: Seen = "kept",
    device: torch.device | str | None = None,
    users_per_block: int = USERS_PER_BLOCK,
) -> np.ndarray:
    """The k items of the highest scores for each window, best first, as `rank_windows` scores them.

    Returns (W, k) item_idx, 0 where nothing is left to recommend.
    """
    lists = np.empty((len(windows), k), np.int64)
    with _Scoring(model, windows, device, users_per_block) as scoring:
        for rows, states in scoring.blocks():
            history = scoring.history(rows) if seen == "removed" else None
            with _explained(rows):
                lists[rows] = top_items(states, scoring.items, k, seen=history).cpu().numpy()
    return lists


def validation_ndcg(
    dataset: Dataset, *, k: int = 10, n_windows: int | None = None, seen: Seen = "kept"
) -> Callable[[SequenceModel], float]:
    """A function that gives a model's NDCG@k on the validation windows, for `training.loop.fit`.

    n_windows: measured on as many windows, the same ones for all epochs, seeds and methods; None takes all.
    Raises InputError where there is no validation window.
    """
    windows = dataset.valid
    if not len(windows):
        raise InputError(f"{dataset.name} has no validation windows: train without `validate`, or split anew")
    if n_windows is not None and n_windows < len(windows):
        chosen = numpy_generator(0, "validation windows").choice(len(windows), n_windows, replace=False)
        windows = windows.take(np.sort(chosen))

    def ndcg(model: SequenceModel) -> float:
        rank = rank_windows(model, windows, cutoff=min(k, model.n_items), seen=seen)
        gain = 1 / np.log2(rank.to_numpy(dtype=np.float64, na_value=np.inf) + 1)
        return float(gain.mean())

    return ndcg


class _Scoring:
    """A model in evaluation mode for as long as windows are scored; afterwards as it was."""

    def __init__(
        self, model: SequenceModel, windows: Windows, device: torch.device | str | None, users_per_block: int
    ) -> None:
        unknown = ((windows.history < PAD_IDX) | (windows.history > model.n_items)).any(axis=1)
        if unknown.any():
            raise InputError(
                f"window {int(unknown.argmax())}: its history holds an item outside 0…{model.n_items}: "
                f"encode it as item_idx of this catalogue"
            )
        self.model, self.windows, self.users_per_block = model, windows, users_per_block
        self.device = model.device if device is None else torch.device(device)
        self._before = model.training, model.device

    def __enter__(self) -> _Scoring:
        self.model.eval().to(self.device)
        with torch.inference_mode():
            self.items = self.model.item_matrix()
        return self

    def __exit__(self, *_: object) -> None:
        was_training, device = self._before
        self.model.train(was_training).to(device)

    def history(self, rows: np.ndarray) -> Tensor:
        """Histories of some windows, (b, S) int64."""
        return torch.from_numpy(self.windows.history[rows]).long().to(self.device)

    def blocks(self) -> Iterator[tuple[np.ndarray, Tensor]]:
        """Rows of windows and their states; those of like lengths are encoded together."""
        lengths = (self.windows.history != PAD_IDX).sum(axis=1)
        by_length = np.argsort(lengths, kind="stable")
        for start in range(0, len(by_length), STATES_AT_ONCE):
            rows = by_length[start : start + STATES_AT_ONCE]
            states = []
            for first in range(0, len(rows), self.users_per_block):
                chosen = rows[first : first + self.users_per_block]
                longest = max(1, int(lengths[chosen].max()))
                with torch.inference_mode(), float32_products():
                    states.append(self.model.user_states(self.history(chosen)[:, -longest:]))
            yield rows, torch.cat(states)


@contextlib.contextmanager
def _explained(rows: np.ndarray) -> Iterator[None]:
    """Say of a kernel's refusal which window or item it is, and what to do about it."""
    try:
        with torch.inference_mode(), float32_products():
            yield
    except NotFiniteError as error:
        what = f"window {rows[error.index]}: its state" if error.what == "row" else f"item_idx {error.index}"
        raise InputError(f"{what} is not finite: look at the model's training and embeddings") from error
    except ValueError as error:
        raise InputError(str(error)) from error
