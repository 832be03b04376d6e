"""How well conditioned the loss is in the states of a sequence model, context by context and in training.

The kernels and what is confirmed or derived of them: `kernels.curvature`. κ depends on how far a model is
fitted, because a better one has p on fewer items: it is compared at equal training loss, never at the end
of training (measured by us, §8 of the specification of TF-LLMER).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from reclib.data.dataset import Windows
from reclib.kernels.curvature import extreme_spectra, largest_bound, spectra
from reclib.models.sequence_model import SequenceModel
from reclib.schema import InputError
from reclib.seeding import numpy_generator, torch_generator
from reclib.training.sequence_batches import Batch
from reclib.training.sequence_objectives import Context

COLUMNS = ("lambda_max", "lambda_min", "kappa", "kappa_median", "trace", "effective_rank", "n_effective")
DENSE_WIDTH = 1024  # up to here a Hessian takes less than a second
EPOCH, NAME, VALUE = "epoch", "name", "value"  # of a training trace


def curvature_table(
    model: SequenceModel, windows: Windows, *, solver: Literal["auto", "dense", "products"] = "auto"
) -> pd.DataFrame:
    """The Hessian H = Cov_p(e) of each window's next-item distribution, one row a window.

    Columns: lambda_max, lambda_min (null directions left out), kappa = λ_max/λ_min, kappa_median =
    λ_max/median, trace, effective_rank, n_effective (items that share p), bound (max r² ≥ λ_max) and
    state_norm. "dense" makes H, (D, D); "products" never does, and then kappa_median is missing and
    effective_rank an estimate; "auto" is "dense" up to a width of 1,024. Rank by κ only what was trained to
    the same loss.
    """
    history = torch.from_numpy(windows.history).long().to(model.device)
    was_training = model.training
    model.eval()
    with torch.no_grad():
        states, items = model.user_states(history), model.item_matrix()
    model.train(was_training)
    return _table(states.cpu(), items.detach().cpu(), solver)


def _table(states: Tensor, items: Tensor, solver: str) -> pd.DataFrame:
    if solver == "auto":
        solver = "dense" if states.shape[1] <= DENSE_WIDTH else "products"
    if solver == "dense":
        found = spectra(states, items)
    else:
        found = extreme_spectra(states, items, generator=torch_generator(0, "curvature probes"))
    columns = (
        found.largest,
        found.smallest,
        found.largest / found.smallest,
        found.largest / found.median,
        found.trace,
        found.effective_rank,
        found.n_effective,
    )
    table = pd.DataFrame({name: column.numpy() for name, column in zip(COLUMNS, columns, strict=True)})
    table["bound"] = float(largest_bound(items.double()))
    table["state_norm"] = torch.linalg.vector_norm(states.double(), dim=1).numpy()
    return table


def curvature_summary(table: pd.DataFrame) -> dict[str, float]:
    """Medians over contexts of the columns of `curvature_table`, and lambda_max_cv.

    lambda_max_cv: standard deviation of λ_max over its mean; where it is large no one step size fits all
    contexts.
    """
    summary = {name: float(table[name].median()) for name in COLUMNS}
    mean = table["lambda_max"].mean()
    summary["lambda_max_cv"] = float(table["lambda_max"].std(ddof=0) / mean) if mean else float("nan")
    return summary


def some_contexts(windows: Windows, n_contexts: int, *, seed: int) -> Windows:
    """At most so many windows, drawn without replacement, in their order: the same for every model."""
    if len(windows) <= n_contexts:
        return windows
    drawn = numpy_generator(seed, "curvature contexts").choice(len(windows), n_contexts, replace=False)
    return windows.take(np.sort(drawn))


class CurvatureTerm:
    """A term for `training.loop.fit` that adds 0 to the loss and `curvature_summary` to the trace.

    It measures before the first step of every epoch, so that the row of epoch 0 is the model as it was
    drawn, and that of epoch e the one after e epochs. Names are those of the summary with the prefix
    "curvature_".
    """

    def __init__(self, contexts: Windows) -> None:
        self.contexts = contexts
        self._epoch = -1

    def __call__(
        self, model: SequenceModel, batch: Batch, context: Context
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Zero, and the measures in the first step of an epoch."""
        nothing = torch.zeros((), device=model.device)
        if context.epoch == self._epoch:
            return nothing, {}
        self._epoch = context.epoch
        summary = curvature_summary(curvature_table(model, self.contexts))
        return nothing, {f"curvature_{name}": torch.tensor(value) for name, value in summary.items()}


def at_equal_loss(
    traces: Mapping[str, pd.DataFrame], *, loss: str = "cross_entropy", level: float | None = None
) -> pd.DataFrame:
    """All measures of each training in the first epoch whose loss is at most a level, one row a training.

    traces: `Fitted.trace` (epoch, name, value) by the name of the training; loss: the name of the loss in
    it. level: by default the lowest that every training reaches. Columns: run, epoch, level, and the
    measures. A training that does not reach the level has an empty row. Raises InputError for a trace
    without that loss.
    """
    wide = {run: trace.pivot(index=EPOCH, columns=NAME, values=VALUE) for run, trace in traces.items()}
    for run, table in wide.items():
        if loss not in table:
            names = ", ".join(map(str, table.columns)) or "nothing"
            raise InputError(f"the trace of {run!r} has no {loss!r}: it has {names}")
    if level is None:
        level = max(float(table[loss].min()) for table in wide.values())
    rows = []
    for run, table in wide.items():
        reached = table[table[loss] <= level]
        measures = {} if reached.empty else {EPOCH: int(reached.index[0]), **reached.iloc[0].to_dict()}
        rows.append({"run": run, "level": level, **measures})
    return pd.DataFrame(rows)


def norm_summary(vectors: np.ndarray) -> dict[str, float]:
    """How the lengths and angles of item vectors lie: (N, D), rows of zeros left out.

    norm_cv: standard deviation of the lengths over their mean; norm_ratio: longest over shortest;
    mean_cosine: over all pairs of different items, by ‖Σ u‖² and without a matrix of pairs. Raises
    InputError for fewer than two.
    """
    rows = np.asarray(vectors, dtype=np.float64)
    length = np.linalg.norm(rows, axis=1)
    rows, length = rows[length > 0], length[length > 0]
    n_rows = len(rows)
    if n_rows < 2:
        raise InputError(f"{n_rows} item vectors that are not zero: give at least two")
    total = np.square((rows / length[:, None]).sum(axis=0)).sum()
    return {
        "norm_cv": float(length.std() / length.mean()),
        "norm_ratio": float(length.max() / length.min()),
        "mean_cosine": float((total - n_rows) / (n_rows * (n_rows - 1))),
    }
