"""How far the ID and the LLM embeddings of the same items agree, by method ([FAERec] Fig. 5 in numbers)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from reclib.analysis.sequence_cells import FAEREC, IN_SPACES, Cell, Trained, main_cells, of_methods
from reclib.analysis.spaces import cosine, knn_overlap, linear_cka, tsne
from reclib.analysis.workbench import DATA_SEED
from reclib.artifacts import Artifact
from reclib.evaluation.metrics import ALL, METHOD
from reclib.evaluation.statistics import half_width
from reclib.schema import GROUP, METRIC, VALUE, K
from reclib.seeding import numpy_generator

if TYPE_CHECKING:
    from reclib.analysis.sequence import SequenceBench

METRICS = ("overlap", "cka", "cosine")
STEPS = (("rlmrec_con", "llminit"), ("rlmrec_con", "llm_esr"), (FAEREC, "rlmrec_con"))  # higher, lower
BARS = "95 % intervals over items and seeds"


@dataclass(frozen=True, kw_only=True)
class SpacesConfig:
    """How spaces are compared.

    n_neighbours: of an item, by cosine, in each space; n_resamples: of the items, for intervals
    n_points: items in the picture, the same for every method
    """

    n_neighbours: int = 10
    n_resamples: int = 200
    n_points: int = 400


def spaces_of(bench: SequenceBench) -> Artifact:
    """The spaces of the four methods of Fig. 5 on the first main backbone, compared; trained where needed."""
    backbone = bench.profile.sequence.backbones[0]
    trained = bench.train(of_methods(main_cells(bench.profile), IN_SPACES, backbone=backbone))
    return bench.artifact(
        "compare_spaces",
        spaces_step,
        SpacesConfig(),
        upstream=list(trained.values()),
        seed=DATA_SEED,
        trained=trained,
        bench=bench,
    )


def spaces_step(
    config: SpacesConfig, *, seed: int, workdir: Path, trained: Trained, bench: SequenceBench
) -> dict[str, Any]:
    """Numbers, the steps of the claimed order, and the points of the picture.

    Returns "numbers" (dataset, method, metric, value, low, high; means over the training seeds), "steps"
    (dataset, metric, step, difference, low, high; the same resampled items for both methods) and "points"
    (dataset, method, space, item_idx, x, y; of the first training seed).
    """
    numbers, steps, points = [], [], []
    for dataset, runs in _by_dataset(trained, bench):
        drawn = _resamples(config, len(next(iter(runs.values()))[0][0]), seed)
        found = {
            method: np.stack([_agreement(*pair, drawn, config) for pair in pairs])
            for method, pairs in runs.items()
        }  # (seeds, 1 + resamples, metrics): the first row is of all items
        for method, agreement in found.items():
            numbers += [(dataset, method, *row) for row in _rows(agreement)]
        for higher, lower in STEPS:
            name = f"{higher} over {lower}"
            for metric, *values in _rows(found[higher] - found[lower]):
                steps.append((dataset, metric, name, *values))
        points += [_points(dataset, method, pairs[0], config, seed) for method, pairs in runs.items()]
    return {
        "numbers": pd.DataFrame(numbers, columns=["dataset", METHOD, METRIC, VALUE, "low", "high"]),
        "steps": pd.DataFrame(steps, columns=["dataset", METRIC, "step", "difference", "low", "high"]),
        "points": pd.concat(points, ignore_index=True),
    }


def number_panels(numbers: pd.DataFrame) -> pd.DataFrame:
    """Rows for `figures.comparison_grid`, one panel a data set and number."""
    place = numbers[METRIC].map({metric: at for at, metric in enumerate(METRICS)})
    datasets = numbers.groupby("dataset", sort=False).ngroup()
    rows = numbers.assign(place=place, at=datasets).sort_values(["at", "place"], kind="stable")
    rows = rows.assign(backbone="sasrec", k=pd.array([pd.NA] * len(rows), dtype="Int64"), group=ALL)
    shown = ["dataset", "backbone", METHOD, METRIC, K, GROUP, VALUE, "low", "high"]
    return rows[shown].reset_index(drop=True)


def picture(points: pd.DataFrame) -> pd.DataFrame:
    """Points for `figures.embedding_spaces`: those of the first data set."""
    rows = points[points["dataset"] == points["dataset"].iloc[0]]
    return rows[[METHOD, "space", "x", "y"]].reset_index(drop=True)


Pair = tuple[np.ndarray, np.ndarray]


def _by_dataset(trained: Trained, bench: SequenceBench) -> Iterator[tuple[str, dict[str, list[Pair]]]]:
    """For each data set the (ID, LLM) embeddings of each method, one pair a seed, without padding."""
    datasets: dict[Any, dict[str, list[tuple[Cell, Artifact]]]] = {}
    for cell, run in trained.items():
        datasets.setdefault(cell.data, {}).setdefault(cell.label, []).append((cell, run))
    for data, methods in datasets.items():
        runs = {
            method: [
                (
                    run["spaces"]["id_embedding"][1:].astype(np.float32),
                    run["spaces"]["llm_embedding"][1:].astype(np.float32),
                )
                for _, run in sorted(cells, key=lambda one: one[0].seed)
            ]
            for method, cells in ((method, methods[method]) for method in IN_SPACES)
        }
        yield bench.dataset(data).name, runs


def _resamples(config: SpacesConfig, n_items: int, seed: int) -> list[np.ndarray]:
    """All items, then items drawn with replacement."""
    generator = numpy_generator(seed, "resampled items")
    drawn = [generator.integers(n_items, size=n_items) for _ in range(config.n_resamples)]
    return [np.arange(n_items), *drawn]


def _agreement(
    id_rows: np.ndarray, llm_rows: np.ndarray, drawn: list[np.ndarray], config: SpacesConfig
) -> np.ndarray:
    """Overlap, CKA and cosine of each resample, (1 + resamples, 3); neighbours are those among all items."""
    overlap = knn_overlap(id_rows, llm_rows, k=config.n_neighbours)  # (N,)
    similarity = cosine(id_rows, llm_rows)  # (N,)
    return np.array(
        [
            (overlap[one].mean(), linear_cka(id_rows[one], llm_rows[one]), similarity[one].mean())
            for one in drawn
        ]
    )


def _rows(values: np.ndarray) -> list[tuple[str, float, float, float]]:
    """Value and ends of each metric, (seeds, 1 + resamples, metrics).

    By the standard error, as resamples of CKA lie above the value.
    """
    by_seed = values[:, 0]
    half = half_width(by_seed, values[:, 1:].mean(axis=0).std(axis=0))
    rows = zip(METRICS, by_seed.mean(axis=0).tolist(), half.tolist(), strict=True)
    return [(metric, value, value - width, value + width) for metric, value, width in rows]


def _points(dataset: str, method: str, pair: Pair, config: SpacesConfig, seed: int) -> pd.DataFrame:
    """t-SNE of both embeddings of the sampled items together."""
    n_items = len(pair[0])
    generator = numpy_generator(seed, "items in the picture")
    chosen = np.sort(generator.choice(n_items, min(config.n_points, n_items), replace=False))
    unit = [
        rows[chosen] / np.maximum(np.linalg.norm(rows[chosen], axis=1, keepdims=True), 1e-12) for rows in pair
    ]
    flat = tsne(np.concatenate(unit), seed=seed)
    return pd.DataFrame(
        {
            "dataset": dataset,
            METHOD: method,
            "space": np.repeat(["id", "llm"], len(chosen)),
            "item_idx": np.tile(chosen + 1, 2),
            "x": flat[:, 0],
            "y": flat[:, 1],
        }
    )
