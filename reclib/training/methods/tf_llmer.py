"""TF-LLMER: a table that starts from Rec-PCA of the texts, trained and normalised where it is in use.

[TF-LLMER] = "Break the Optimization Barrier of LLM-Enhanced Recommenders: A Theoretical Analysis and
Practical Framework", arXiv 2604.20490. Confirmed by its abstract: item embeddings are normalised, and reduced
by Rec-PCA, which keeps semantic information and penalises total variation over an item–item co-occurrence
graph. Derived by us, for the body of the paper is not at hand (specification, §4 to §6): the objective and
its closed form (`item_projection`), the graph of the ten items that share most users, λ, that the table is
trained and tied, ẽ = s e/‖e‖ at lookup and at scoring with s = 8, states left free, and no weight decay on
the table.

Its ablations are options: λ = 0 is PCA, `norm=None` leaves vectors as they are, `is_trained=False` freezes
them, and `is_shuffled` relabels the items of the graph at random: a placebo.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from reclib.data.cooccurrence import GraphKind, shuffled, training_graph
from reclib.schema import settle
from reclib.seeding import numpy_generator
from reclib.training.item_projection import ProjectedTexts, ProjectionOptions, TextGeometry
from reclib.training.loop import Fitted
from reclib.training.methods.item_norm import ItemNorm
from reclib.training.methods.item_tables import train_table
from reclib.training.methods.starting import text_matrix

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from reclib.data.dataset import Dataset
    from reclib.training.methods import MethodSetup


@dataclass(frozen=True, kw_only=True)
class TFLLMEROptions:
    """Options of TF-LLMER.

    weight: λ of the penalty on total variation; graph: kind of co-occurrence graph, n_neighbours: its K
    is_shuffled: whether the graph's items are relabelled at random
    norm: see `ItemNorm`, None leaves vectors as they are; is_trained: whether the table moves
    temperature: τ of states of length one, None leaves states free
    """

    weight: float = 1.0
    graph: GraphKind = "top_k"
    n_neighbours: int = 10
    is_shuffled: bool = False
    norm: ItemNorm | None = field(default_factory=ItemNorm)
    is_trained: bool = True
    temperature: float | None = None

    def __post_init__(self) -> None:
        settle(self, "tf_llmer", not_negative=("weight",), positive=("n_neighbours", "temperature"))


GRID = tuple(
    TFLLMEROptions(weight=weight, norm=ItemNorm(scale=scale))
    for scale in (8.0, 4.0)
    for weight in (1.0, 1.1, 0.9)
)


@lru_cache(maxsize=1)
def _graph(dataset: Dataset, kind: GraphKind, n_neighbours: int) -> csr_array:
    """The graph of a data set, kept for the next λ; read only."""
    return training_graph(dataset, kind, n_neighbours=n_neighbours)


def projected(setup: MethodSetup, options: TFLLMEROptions, *, seed: int) -> ProjectedTexts:
    """Rec-PCA of the texts over the graph of the training interactions, of mean length one.

    Raises InputError where item texts are missing or too narrow, and for a λ that is not feasible.
    """
    text = text_matrix(setup, "TF-LLMER")
    graph = _graph(setup.dataset, options.graph, options.n_neighbours)
    if options.is_shuffled:
        graph = shuffled(graph, numpy_generator(seed, "shuffled graph"))
    return TextGeometry(text, graph).fit(setup.backbone.d_model, ProjectionOptions(weight=options.weight))


def train(setup: MethodSetup, options: TFLLMEROptions, *, seed: int, workdir: Path) -> Fitted:
    """Train the backbone on the table of `projected`. Raises what `projected` and `fit` raise."""
    found = projected(setup, options, seed=seed)
    return train_table(
        setup,
        found.starting_table(numpy_generator(seed, "items without text")),
        norm=options.norm,
        seed=seed,
        workdir=workdir,
        is_trained=options.is_trained,
        temperature=options.temperature,
    )
