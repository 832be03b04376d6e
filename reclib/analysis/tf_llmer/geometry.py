"""What the study of TF-LLMER's geometry shares: text tables of one catalogue, its graph, and projections.

Confirmed by the abstract of TF-LLMER (arXiv 2604.20490): norm disparity, misaligned angular clustering,
item-embedding normalisation, Rec-PCA. Derived by us, with the sections of our specification: how each is
measured and tried here. None of the numbers is a reproduction of the paper's, which are not at hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from reclib.analysis.workbench import DATA_SEED, StudyBench
from reclib.artifacts import Artifact
from reclib.config import DataConfig, GeometryConfig, TextConfig
from reclib.data.cooccurrence import training_graph
from reclib.data.dataset import Dataset
from reclib.data.load import load
from reclib.kernels.curvature import condition_number, covariance
from reclib.models.text_encoder import Pooling, load_encoder
from reclib.text.embeddings import TextEmbeddings, embed_texts, text_fingerprint
from reclib.text.item_text import item_texts
from reclib.training.item_projection import TextGeometry

if TYPE_CHECKING:
    from scipy.sparse import csr_array

SENTENCE, LM_MEAN, LM_LAST = "sentence", "lm_mean", "lm_last"
TABLES = (SENTENCE, LM_MEAN, LM_LAST)
LM_TABLES = (LM_MEAN, LM_LAST)
_POOLINGS: dict[str, Pooling] = {LM_MEAN: "mean", LM_LAST: "last_token"}


@dataclass(frozen=True, kw_only=True)
class PooledTextConfig:
    """What text tables of a catalogue depend on; of several poolings, all from one pass."""

    data: DataConfig
    text: TextConfig
    wording: str
    poolings: tuple[str, ...]


class GeometryBench(StudyBench):
    """The data set of a profile's sequence recommenders, with the text tables that are looked at."""

    @cached_property
    def _spaces(self) -> dict[str, TextGeometry]:
        return {}

    @property
    def settings(self) -> GeometryConfig:
        """The settings of this study."""
        return self.profile.geometry

    @property
    def data(self) -> DataConfig:
        """Which data set, and its preprocessing."""
        return self.profile.sequence.data

    @cached_property
    def dataset(self) -> Dataset:
        """The data set, after preprocessing; the same for every seed."""
        return load(self.data, seed=DATA_SEED)

    @cached_property
    def texts(self) -> list[str]:
        """What is embedded of each item, (N,)."""
        if self.settings.wording == "titles":
            return list(self.dataset.titles)
        return item_texts(self.dataset.items, self.dataset.domain)

    def embedded(self, table: str) -> Artifact:
        """The step that a text table comes from: that of the sentence encoder, or that of the LM."""
        settings, is_sentence = self.settings, table == SENTENCE
        poolings: tuple[str, ...] = ("mean",) if is_sentence else tuple(_POOLINGS.values())
        encoder = settings.encoder if is_sentence else settings.lm
        config = PooledTextConfig(
            data=self.data,
            text=TextConfig(encoder=encoder, max_tokens=settings.max_tokens),
            wording=settings.wording,
            poolings=poolings,
        )
        # Brand and description are texts, and no part of the data's fingerprint.
        upstream = [self.dataset.fingerprint, text_fingerprint(self.texts)]
        return self.artifact(
            "embed_pooled", pooled_step, config, upstream=upstream, seed=DATA_SEED, bench=self
        )

    @cached_property
    def tables(self) -> dict[str, np.ndarray]:
        """Text embeddings (N+1, E) by the names of `TABLES`; row 0, padding, is zero."""
        tables = {}
        steps = {table: self.embedded(table) for table in (SENTENCE, LM_MEAN)}
        for table in TABLES:
            step = steps[SENTENCE if table == SENTENCE else LM_MEAN]
            embeddings = TextEmbeddings.load(step.path / _POOLINGS.get(table, "mean"))
            embeddings.check(self.texts)
            tables[table] = embeddings.matrix
        return tables

    @cached_property
    def upstream(self) -> list[Artifact]:
        """The steps behind the text tables, for the key of what reads them all."""
        return [self.embedded(SENTENCE), self.embedded(LM_MEAN)]

    @cached_property
    def graph(self) -> csr_array:
        """The co-occurrence graph of the training interactions, (N+1, N+1): the K best neighbours."""
        return training_graph(self.dataset, "top_k", n_neighbours=self.settings.n_neighbours)

    def space(self, table: str) -> TextGeometry:
        """A text table and the graph, gathered for projections."""
        if table not in self._spaces:
            self._spaces[table] = TextGeometry(self.tables[table], self.graph)
        return self._spaces[table]


def pooled_step(
    config: PooledTextConfig, *, seed: int, workdir: Path, bench: GeometryBench
) -> dict[str, Any]:
    """Embed the text of every item in one pass; each pooling is kept as a file of its own."""
    encode = load_encoder(
        config.text,
        texts=bench.texts,
        device=bench.device,
        poolings=config.poolings,  # type: ignore[arg-type]
    )
    label = f"{config.text.encoder}, {' and '.join(config.poolings)}"
    whole = embed_texts(bench.texts, encode, encoder=label, workdir=workdir)
    width = whole.matrix.shape[1] // len(config.poolings)
    for place, pooling in enumerate(config.poolings):
        matrix = np.ascontiguousarray(whole.matrix[:, place * width : (place + 1) * width])
        TextEmbeddings(matrix, config.text.encoder, whole.fingerprint).save(workdir / pooling)
    about = {"encoder": config.text.encoder, "items": len(bench.texts), "width": width}
    return {"about": about | {"poolings": ", ".join(config.poolings)}}


def unit_rows(table: np.ndarray) -> np.ndarray:
    """Rows of length one, float64; rows of zeros stay zero."""
    rows = np.asarray(table, dtype=np.float64)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)


def uniform_condition(table: np.ndarray) -> float:
    """κ of the covariance of a table's items under a uniform p, exact null directions left out.

    What the Hessian is where nothing is learnt yet. table: (N+1, D); rows of zeros are no items.
    """
    rows = np.asarray(table, dtype=np.float64)
    items = torch.from_numpy(np.concatenate([np.zeros((1, rows.shape[1])), rows[rows.any(axis=1)]]))
    uniform = torch.full((len(items) - 1,), 1 / (len(items) - 1), dtype=torch.float64)
    return float(condition_number(torch.linalg.eigvalsh(covariance(uniform, items))))
