"""Sequence recommenders as cached steps: embed the texts of items, tune a method, train it, rank with it.

A grid of runs is a list of `Cell`s (`analysis.sequence_cells`); `SequenceBench.train` gives each its
artifact, from the cache or computed. Processes that are handed the same cells share one cache.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reclib import files
from reclib.analysis.sequence_cells import Cell
from reclib.analysis.spaces import embedding_views
from reclib.analysis.workbench import DATA_SEED, StudyBench
from reclib.artifacts import Artifact
from reclib.config import BackboneConfig, DataConfig, SequenceTrainConfig, TextConfig, canonical_json
from reclib.data.dataset import Dataset
from reclib.data.load import load
from reclib.evaluation.full_ranking import rank_windows, recommend_lists, validation_ndcg
from reclib.models.text_encoder import load_encoder
from reclib.schema import RANK, TARGET_IDX
from reclib.text.embeddings import TextEmbeddings, embed_texts, text_fingerprint
from reclib.text.item_text import item_texts
from reclib.training.loop import Fitted
from reclib.training.methods import METHODS, MethodSetup, schema_version

LIST_LENGTH = 20  # of the lists that coverage counts
CHECKPOINTS = ("*.safetensors",)  # what training leaves and a finished cell does not need
TEXT_FILE = "embeddings"


@dataclass(frozen=True, kw_only=True)
class TextStepConfig:
    """What the text embeddings of a catalogue depend on."""

    data: DataConfig
    text: TextConfig


@dataclass(frozen=True, kw_only=True)
class TunedConfig:
    """What the tuning of a method depends on; tried: settings of its grid."""

    data: DataConfig
    backbone: BackboneConfig
    train: SequenceTrainConfig
    method: str
    tried: tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class TrainedConfig:
    """What a trained recommender depends on, beside its seed and its text embeddings.

    options: of the method; cutoff: the deepest rank that is kept
    keeps_spaces: the ID and the LLM embeddings of all items are kept
    """

    data: DataConfig
    backbone: BackboneConfig
    train: SequenceTrainConfig
    method: str
    options: Any
    cutoff: int
    keeps_spaces: bool = False


class SequenceBench(StudyBench):
    """What the cells of a grid share, each made on first use: data sets, text embeddings, tuned options."""

    @cached_property
    def _datasets(self) -> dict[DataConfig, Dataset]:
        return {}

    @cached_property
    def _texts(self) -> dict[DataConfig, tuple[Artifact, TextEmbeddings]]:
        return {}

    def dataset(self, data: DataConfig) -> Dataset:
        """A data set, after preprocessing; the same for every seed."""
        if data not in self._datasets:
            self._datasets[data] = load(data, seed=DATA_SEED)
        return self._datasets[data]

    def text(self, data: DataConfig) -> tuple[Artifact, TextEmbeddings]:
        """The text embeddings of a data set, and the step they come from."""
        if data not in self._texts:
            dataset = self.dataset(data)
            texts = item_texts(dataset.items, dataset.domain)
            # Brand and description are texts, and no part of the data's fingerprint.
            step = self.embedded(data, [dataset.fingerprint, text_fingerprint(texts)])
            embeddings = TextEmbeddings.load(step.path / TEXT_FILE)
            embeddings.check(texts)
            self._texts[data] = step, embeddings
        return self._texts[data]

    def embedded(self, data: DataConfig, upstream: list[str]) -> Artifact:
        """The step that the text embeddings of a data set come from."""
        config = TextStepConfig(data=data, text=self.profile.sequence.text)
        return self.artifact("embed_items", text_step, config, upstream=upstream, seed=DATA_SEED, bench=self)

    def tuned(self, data: DataConfig, backbone: str, method: str) -> Any:
        """The options of a method: the best of its grid on validation, its defaults without a budget.

        The choice is made on the backbone `sequence.tuned_on` where there is one.
        """
        defaults = METHODS[method].options()
        if not self.profile.sequence.tuning:
            return defaults
        chosen = self._tuning(data, self._tuned_on(backbone), method)["chosen"]
        return METHODS[method].grid[chosen["place"]]

    def tuning_table(self, cells: Iterable[Cell]) -> pd.DataFrame:
        """What tuning tried: dataset, backbone, method, options, ndcg (validation), is_chosen, seconds.

        Without a budget, one row a method with its defaults.
        """
        groups = dict.fromkeys((cell.data, self._tuned_on(cell.backbone), cell.method) for cell in cells)
        parts = []
        for data, backbone, method in groups:
            if self.profile.sequence.tuning:
                table = self._tuning(data, backbone, method)["tried"]
            else:
                options = canonical_json(METHODS[method].options())
                table = pd.DataFrame([(options, np.nan, True, np.nan)], columns=_TRIED)
            names = {"dataset": self.dataset(data).name, "backbone": backbone, "method": method}
            parts.append(table.assign(**names)[[*names, *_TRIED]])
        return pd.concat(parts, ignore_index=True)

    def config(self, cell: Cell) -> TrainedConfig:
        """The whole configuration of a cell."""
        settings = self.profile.sequence
        options = replace(self.tuned(cell.data, cell.backbone, cell.method), **dict(cell.changes))
        return TrainedConfig(
            data=cell.data,
            backbone=replace(settings.backbone, name=cell.backbone),
            train=settings.train,
            method=cell.method,
            options=options,
            cutoff=max(settings.evaluation.cutoffs),
            keeps_spaces=cell.keeps_spaces,
        )

    def train(self, cells: Iterable[Cell]) -> dict[Cell, Artifact]:
        """The artifact of every cell, from the cache or computed now, in order."""
        return {
            cell: self.artifact(
                "train_sequence",
                train_step,
                self.config(cell),
                upstream=self._upstream(cell.data, cell.method),
                seed=cell.seed,
                schema_version=schema_version(cell.method, self.profile.sequence.train.positions),
                bench=self,
            )
            for cell in cells
        }

    def setup(
        self, data: DataConfig, backbone: BackboneConfig, train: SequenceTrainConfig, method: str
    ) -> MethodSetup:
        """What a method is trained with."""
        dataset = self.dataset(data)
        return MethodSetup(
            dataset=dataset,
            text=self.text(data)[1] if METHODS[method].reads_text else None,
            backbone=backbone,
            train=train,
            validate=validation_ndcg(dataset, k=10),
            device=self.device,
        )

    def _upstream(self, data: DataConfig, method: str) -> list[Artifact | str]:
        texts = [self.text(data)[0]] if METHODS[method].reads_text else []
        return [self.dataset(data).fingerprint, *texts]

    def _tuned_on(self, backbone: str) -> str:
        return self.profile.sequence.tuned_on or backbone

    def _tuning(self, data: DataConfig, backbone: str, method: str) -> Artifact:
        settings = self.profile.sequence
        config = TunedConfig(
            data=data,
            backbone=replace(settings.backbone, name=backbone),
            train=settings.train,
            method=method,
            tried=METHODS[method].grid[: settings.tuning],
        )
        upstream = self._upstream(data, method)
        return self.artifact(
            "tune_sequence",
            tune_step,
            config,
            upstream=upstream,
            seed=DATA_SEED,
            schema_version=schema_version(method, settings.train.positions),
            bench=self,
        )


def text_step(config: TextStepConfig, *, seed: int, workdir: Path, bench: SequenceBench) -> dict[str, Any]:
    """Embed the text of every item, kept as a file; "about" says by what."""
    dataset = bench.dataset(config.data)
    texts = item_texts(dataset.items, dataset.domain)
    encode = load_encoder(config.text, texts=texts, device=bench.device)
    embeddings = embed_texts(texts, encode, encoder=config.text.encoder, workdir=workdir)
    embeddings.save(workdir / TEXT_FILE)
    shape = embeddings.matrix.shape
    return {"about": {"encoder": config.text.encoder, "items": shape[0] - 1, "width": shape[1]}}


_TRIED = ["options", "ndcg", "is_chosen", "seconds"]


def tune_step(config: TunedConfig, *, seed: int, workdir: Path, bench: SequenceBench) -> dict[str, Any]:
    """Train each setting and keep the one with the best NDCG@10 on validation.

    The test part is never read. Settings that an earlier, killed process has finished are not run again.
    Returns "tried" (options, ndcg, is_chosen, seconds) and "chosen" (its place).
    """
    setup = bench.setup(config.data, config.backbone, config.train, config.method)
    found = try_each(config.tried, partial(_tried, setup, config.method, seed), workdir=workdir)
    rows = [
        (canonical_json(options), one["ndcg"], False, one["seconds"])
        for options, one in zip(config.tried, found, strict=True)
    ]
    tried = pd.DataFrame(rows, columns=_TRIED)
    best = int(tried["ndcg"].argmax())
    return {"tried": tried.assign(is_chosen=tried.index == best), "chosen": {"place": best}}


def _tried(setup: MethodSetup, method: str, seed: int, options: Any, folder: Path) -> dict[str, float]:
    """Validation NDCG@10 and seconds of one setting."""
    start = time.perf_counter()
    fitted = METHODS[method].train(setup, options, seed=seed, workdir=folder)
    ndcg = validation_ndcg(setup.dataset, k=10)(fitted.model)
    return {"ndcg": ndcg, "seconds": time.perf_counter() - start}


def train_step(config: TrainedConfig, *, seed: int, workdir: Path, bench: SequenceBench) -> dict[str, Any]:
    """Train one method on one backbone and rank the whole catalogue for every test window, seen items kept.

    Returns "windows" (window, target_idx, rank up to the cut-off), "lists" (items (W, 20)), "trace",
    "summary" and, where they are kept, "spaces": the two embeddings of every item.
    """
    setup = bench.setup(config.data, config.backbone, config.train, config.method)
    dataset = setup.dataset
    cpu, start = time.process_time(), time.perf_counter()
    fitted = METHODS[config.method].train(setup, config.options, seed=seed, workdir=workdir)
    train_seconds, train_cpu = time.perf_counter() - start, time.process_time() - cpu
    start = time.perf_counter()
    ranks = rank_windows(fitted.model, dataset.test, cutoff=config.cutoff, seen="kept", device=bench.device)
    rank_seconds = time.perf_counter() - start
    k = min(LIST_LENGTH, dataset.n_items)
    lists = recommend_lists(fitted.model, dataset.test, k, seen="kept", device=bench.device)
    drop_checkpoints(workdir)
    windows = pd.DataFrame(
        {"window": np.arange(len(ranks)), TARGET_IDX: dataset.test.target_idx, RANK: ranks}
    )
    summary = _summary(fitted, setup) | {
        "train_seconds": train_seconds,
        "train_cpu_seconds": train_cpu,
        "rank_seconds": rank_seconds,
    }
    kept = {"spaces": _spaces(fitted)} if config.keeps_spaces else {}
    lists_kept = {"items": lists.astype(np.int32)}
    return {"windows": windows, "lists": lists_kept, "trace": fitted.trace, "summary": summary, **kept}


def _summary(fitted: Fitted, setup: MethodSetup) -> dict[str, Any]:
    """Sizes of a trained model: all parameters, and those of its sequence encoder."""
    trained = [p.numel() for p in fitted.model.parameters() if p.requires_grad]
    encoder = [p.numel() for p in fitted.model.backbone.parameters()]
    return {
        "best_epoch": int(fitted.best_epoch),
        "parameters": int(sum(trained)),
        "backbone_parameters": int(sum(encoder)),
        "valid_ndcg": validation_ndcg(setup.dataset, k=10)(fitted.model),
        "train_windows": len(setup.dataset.train),
    }


def _spaces(fitted: Fitted) -> dict[str, np.ndarray]:
    id_embedding, llm_embedding = embedding_views(fitted.model)
    return {
        "id_embedding": id_embedding.astype(np.float16),
        "llm_embedding": llm_embedding.astype(np.float16),
    }


def try_each(settings: Iterable[Any], run: Callable[[Any, Path], Any], *, workdir: Path) -> list[Any]:
    """What `run(setting, folder)` gives for each setting, as JSON has it; checkpoints are dropped after it.

    A setting that an earlier, killed process has finished is not run again.
    """

    def tried(setting: Any, folder: Path) -> Any:
        folder.mkdir(exist_ok=True)
        found = run(setting, folder)
        drop_checkpoints(folder)
        return found

    return [
        files.kept(workdir / f"tried_{place}.json", partial(tried, setting, workdir / f"setting_{place}"))
        for place, setting in enumerate(settings)
    ]


def drop_checkpoints(folder: Path) -> None:
    """Remove the weights and optimiser states of a finished training; its result is ranks and numbers."""
    for pattern in CHECKPOINTS:
        for path in folder.rglob(pattern):
            path.unlink()
