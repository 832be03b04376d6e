"""The comparison of TF-LLMER as cached steps: each arm tuned on validation, its learning rate included.

One step an arm, data set, backbone and seed: it trains every setting at every learning rate, keeps the
training curves of all, and the test ranks of the one with the best NDCG@10 on validation. With the first seed
everything is tried; the other seeds train what it chose. The test part chooses nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reclib import artifacts
from reclib.analysis.sequence import TEXT_FILE, SequenceBench, try_each
from reclib.analysis.sequence_cells import Cell
from reclib.analysis.tf_llmer.arms import ARMS, settings
from reclib.analysis.workbench import DATA_SEED
from reclib.artifacts import Artifact
from reclib.config import (
    BackboneConfig,
    DataConfig,
    Profile,
    SequenceTrainConfig,
    TextConfig,
    TFLLMERConfig,
    canonical_json,
)
from reclib.evaluation.full_ranking import rank_windows, validation_ndcg
from reclib.models.text_encoder import Pooling, load_encoder
from reclib.schema import RANK, TARGET_IDX
from reclib.text.embeddings import embed_texts
from reclib.text.item_text import item_texts
from reclib.training.methods import METHODS, schema_version

TRIED = ["place", "options", "learning_rate", "ndcg", "is_chosen", "best_epoch", "cpu_seconds", "parameters"]
CURVE = ["place", "epoch", "name", "value"]


@dataclass(frozen=True, kw_only=True)
class Try:
    """One setting of a method at one learning rate."""

    options: Any
    learning_rate: float


@dataclass(frozen=True, kw_only=True)
class ArmConfig:
    """What an arm depends on, beside its seed and its text embeddings; cutoff: the deepest rank kept."""

    data: DataConfig
    backbone: BackboneConfig
    train: SequenceTrainConfig
    method: str
    tried: tuple[Try, ...]
    cutoff: int


@dataclass(frozen=True, kw_only=True)
class PooledStepConfig:
    """What the text embeddings of a catalogue by another pooling than the mean depend on."""

    data: DataConfig
    text: TextConfig
    pooling: Pooling


class TFLLMERBench(SequenceBench):
    """What the arms share: data sets, text embeddings, settings. A `SequenceBench` of those settings.

    So the tables of `analysis.sequence_tables` read it.
    """

    def __init__(
        self,
        profile: Profile,
        artifact: Callable[..., Artifact] = artifacts.get_or_compute,
        *,
        device: str | None = None,
    ) -> None:
        own = profile.tf_llmer
        sequence = replace(profile.sequence, text=own.text, backbone=own.backbone, train=own.train, tuning=0)
        super().__init__(replace(profile, sequence=sequence), artifact, device=device)

    @property
    def settings(self) -> TFLLMERConfig:
        """The settings of this comparison."""
        return self.profile.tf_llmer

    def embedded(self, data: DataConfig, upstream: list[str]) -> Artifact:
        """The step that the text embeddings of a data set come from, pooled as the settings say."""
        if self.settings.pooling == "mean":
            return super().embedded(data, upstream)
        config = PooledStepConfig(data=data, text=self.settings.text, pooling=self.settings.pooling)
        return self.artifact(
            "embed_pooled_items", pooled_step, config, upstream=upstream, seed=DATA_SEED, bench=self
        )

    def places(self) -> list[tuple[DataConfig, str]]:
        """Every data set and backbone."""
        sources = [replace(self.profile.sequence.data, source=source) for source in self.settings.sources]
        return list(product(sources, self.settings.backbones))

    def arms(
        self, labels: Iterable[str], *, backbone: str | None = None, more_seeds: Iterable[int] = ()
    ) -> dict[Cell, Artifact]:
        """The artifact of every arm, seed, data set and backbone, or of one backbone; tuned before the rest.

        more_seeds: beside those of the settings.
        """
        cells = [
            Cell(data=data, backbone=name, method=ARMS[label].method, label=label, seed=seed)
            for data, name in self.places()
            if backbone in (None, name)
            for label in dict.fromkeys(labels)
            for seed in dict.fromkeys((*self.settings.seeds, *more_seeds))
        ]
        return {cell: self.arm(cell) for cell in cells}

    def arm(self, cell: Cell) -> Artifact:
        """The artifact of one arm and seed: "windows", "tried", "curves" and "summary"."""
        first = replace(cell, seed=self.settings.seeds[0])
        tried = [
            Try(options=options, learning_rate=rate)
            for options in settings(cell.label, self.settings)
            for rate in self.settings.learning_rates
        ]
        if cell != first:
            tried = [tried[self.arm(first)["summary"]["place"]]]
        config = ArmConfig(
            data=cell.data,
            backbone=replace(self.settings.backbone, name=cell.backbone),
            train=self.settings.train,
            method=cell.method,
            tried=tuple(tried),
            cutoff=max(self.profile.sequence.evaluation.cutoffs),
        )
        upstream = self._upstream(cell.data, cell.method)
        return self.artifact(
            "train_arm",
            arm_step,
            config,
            upstream=upstream,
            seed=cell.seed,
            schema_version=schema_version(cell.method, config.train.positions),
            bench=self,
        )


def pooled_step(
    config: PooledStepConfig, *, seed: int, workdir: Path, bench: SequenceBench
) -> dict[str, Any]:
    """Embed the text of every item by a causal LM with another pooling than the mean."""
    dataset = bench.dataset(config.data)
    texts = item_texts(dataset.items, dataset.domain)
    encode = load_encoder(config.text, texts=texts, device=bench.device, poolings=(config.pooling,))
    encoder = f"{config.text.encoder}, {config.pooling}"
    embeddings = embed_texts(texts, encode, encoder=encoder, workdir=workdir)
    embeddings.save(workdir / TEXT_FILE)
    return {"about": {"encoder": encoder, "width": embeddings.matrix.shape[1]}}


def arm_step(config: ArmConfig, *, seed: int, workdir: Path, bench: SequenceBench) -> dict[str, Any]:
    """Train every try of an arm; rank the test windows with the best on validation, seen items kept.

    Tries that an earlier, killed process has finished are not run again. Returns "windows" (window,
    target_idx, rank up to the cut-off) of the chosen try, "tried", "curves" of all, and "summary".
    """
    found = try_each(config.tried, partial(_run, config, bench, seed), workdir=workdir)
    best = int(np.argmax([one["ndcg"] for one in found]))
    rows = [
        (place, canonical_json(each.options), each.learning_rate, one["ndcg"], place == best, *one["cost"])
        for place, (each, one) in enumerate(zip(config.tried, found, strict=True))
    ]
    curves = [(place, *row) for place, one in enumerate(found) for row in one["trace"]]
    test = bench.dataset(config.data).test
    rank = pd.Series(found[best]["ranks"], dtype="Int64").replace(0, pd.NA)
    return {
        "windows": pd.DataFrame({"window": np.arange(len(test)), TARGET_IDX: test.target_idx, RANK: rank}),
        "tried": pd.DataFrame(rows, columns=TRIED),
        "curves": pd.DataFrame(curves, columns=CURVE),
        "summary": {
            "place": best,
            "learning_rate": config.tried[best].learning_rate,
            "valid_ndcg": found[best]["ndcg"],
            "cpu_seconds": sum(one["cost"][1] for one in found),
        },
    }


def _run(config: ArmConfig, bench: SequenceBench, seed: int, tried: Try, folder: Path) -> dict[str, Any]:
    """Train one setting at one learning rate; ranks beyond the cut-off are 0."""
    train = replace(config.train, learning_rate=tried.learning_rate)
    setup = bench.setup(config.data, config.backbone, train, config.method)
    start = time.process_time()
    fitted = METHODS[config.method].train(setup, tried.options, seed=seed, workdir=folder)
    seconds = time.process_time() - start
    ranks = rank_windows(
        fitted.model, setup.dataset.test, cutoff=config.cutoff, seen="kept", device=bench.device
    )
    n_parameters = sum(weight.numel() for weight in fitted.model.parameters() if weight.requires_grad)
    return {
        "ndcg": validation_ndcg(setup.dataset, k=10)(fitted.model),
        "cost": [int(fitted.best_epoch), seconds, n_parameters],
        "trace": fitted.trace.to_numpy().tolist(),
        "ranks": ranks.fillna(0).astype(int).tolist(),
    }


def tuning_table(trained: Mapping[Cell, Artifact], bench: TFLLMERBench) -> pd.DataFrame:
    """What tuning tried: dataset, backbone, method, and `TRIED` but for the place; of the first seed."""
    parts = [
        run["tried"].assign(dataset=bench.dataset(cell.data).name, backbone=cell.backbone, method=cell.label)
        for cell, run in trained.items()
        if cell.seed == bench.settings.seeds[0]
    ]
    table = pd.concat(parts, ignore_index=True)
    return table[["dataset", "backbone", "method", *TRIED[1:]]]
