"""DROS: the backbone is trained against the worst distribution of items near a flattened popularity.

[DROS] = Yang et al., "A Generic Learning Framework for Sequential Recommendation with Distribution Shifts",
SIGIR 2023. Beside the recommendation loss stands a distributionally robust one: the largest expected loss
over all distributions of items within a Kullback–Leibler ball around a nominal one, in its dual form with a
fixed multiplier β:

L = L_recommend + α · mean over positions of β log Σ_i q_i exp((σ(s_i) − y_i)² / β)   (`kernels.robust`)

over all items i of the catalogue, y_i = 1 for the item that came next. q is the training popularity to a
small power, and the maximum moves weight on to the items that are predicted worst: rare items that came next
and are not expected, popular ones that are expected and did not come. α = 0 is the backbone.

From the paper and the settings of its public code: the catalogue-wide squared error, the popularity with one
added to each count, its power 0.05, β = 1, and that the term is added to the recommendation loss.

Changed: the public code has the popularity inside the exponent, exp(q_i l_i / β), which is no longer the dual
of a ball around q; here it weighs the exponentials. It takes the squared error of the scores themselves; here
of their sigmoid, which is what the binary loss predicts with, and never overflows. Its term has no factor β,
and it trains the last position of a window; here the positions of the setting.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from reclib.kernels.robust import catalogue_robust_loss, flattened_popularity
from reclib.models.items import IdItems
from reclib.models.sequence_model import SequenceModel
from reclib.schema import settle
from reclib.training.loop import Fitted
from reclib.training.methods.starting import drawn_weights, encoder
from reclib.training.sequence_batches import Batch
from reclib.training.sequence_objectives import Context, SequenceObjective, predicted_positions

if TYPE_CHECKING:
    from reclib.training.methods import MethodSetup


@dataclass(frozen=True, kw_only=True)
class DROSOptions:
    """Options of DROS.

    robust_weight: α; temperature: β, the smaller the further the worst distribution may be from the nominal
    popularity_power: γ of the nominal distribution, 1 is the popularity of training, 0 none
    """

    robust_weight: float = 1.0  # public code of DLLM2Rec, whose student it is
    temperature: float = 1.0  # public code
    popularity_power: float = 0.05  # public code of SASRec with binary cross-entropy

    def __post_init__(self) -> None:
        settle(
            self,
            "dros",
            positive=("temperature",),
            not_negative=("robust_weight",),
            share=("popularity_power",),
        )


GRID = tuple(
    DROSOptions(robust_weight=weight, temperature=temperature)
    for weight in (1.0, 0.3, 0.1)
    for temperature in (1.0, 0.2)
)


class RobustObjective:
    """The recommendation loss of some positions + α · the robust loss of the same ones, read once.

    recommend: also says which positions; counts: (N+1,) training interactions
    """

    def __init__(self, recommend: SequenceObjective, counts: np.ndarray, options: DROSOptions) -> None:
        self.recommend, self.options = recommend, options
        self.log_nominal = flattened_popularity(torch.from_numpy(counts[1:]), power=options.popularity_power)

    def __call__(
        self, model: SequenceModel, batch: Batch, context: Context
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Total, and its parts; the robust one is not computed where it has no weight."""
        positions, weight = self.recommend.config.positions, self.options.robust_weight
        predicted = predicted_positions(model, batch, positions, context.generator)
        total, parts = self.recommend.of_predicted(model, batch, predicted, context)
        if not weight or not len(predicted.target):
            return total, parts
        losses = catalogue_robust_loss(
            predicted.states,
            model.item_matrix(),
            predicted.target,
            self.log_nominal.to(predicted.states.device),
            temperature=self.options.temperature,
        )
        robust = losses.mean() * context.weight
        return total + weight * robust, parts | {"robust": robust.detach()}


def train(setup: MethodSetup, options: DROSOptions, *, seed: int, workdir: Path) -> Fitted:
    """Train the backbone with the robust loss beside its own. Raises what `fit` raises."""
    dataset = setup.dataset
    with drawn_weights(seed):
        model = SequenceModel(IdItems(dataset.n_items, setup.backbone.d_model), encoder(setup))
    recommend = SequenceObjective(setup.train, n_items=dataset.n_items, counts=dataset.counts)
    return setup.fit(
        model,
        objective=RobustObjective(recommend, dataset.counts, options),
        seed=seed,
        workdir=workdir,
    )
