"""Tables of a grid of sequence recommenders: accuracy by group of targets, differences, coverage, cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from reclib.analysis.sequence_cells import BASE, FAEREC, Trained
from reclib.artifacts import Artifact
from reclib.data.dataset import Dataset
from reclib.data.popularity import popularity_groups
from reclib.evaluation.baselines import POPULARITY, baseline_rows
from reclib.evaluation.metrics import ALL, METHOD, coverage, head_or_tail, per_window, summarise
from reclib.evaluation.statistics import half_width, paired_bootstrap
from reclib.schema import GROUP, METRIC, RANK, VALUE, InputError, K
from reclib.seeding import numpy_generator

if TYPE_CHECKING:
    from reclib.analysis.sequence import SequenceBench

PLACE = ["dataset", "backbone"]
GROUP_EDGES = (1, 5, 10, 20, 50)  # [FAERec] §5.5 names 1–4, 5–9 and 50+; those between are ours
GROUP_LABELS = ("1–4", "5–9", "10–19", "20–49", "≥50")
UNSEEN = "0"  # targets that no training interaction shows
MAIN_K = 10
N_HALVES = 200  # random halves of the users that coverage is counted on


def by_place(trained: Trained) -> Iterator[tuple[tuple[Any, str], dict[str, list[Artifact]]]]:
    """For each data set and backbone of a grid, the artifacts of each method, one a seed, seeds in order."""
    places: dict[tuple[Any, str], dict[str, list[tuple[int, Artifact]]]] = {}
    for cell, artifact in trained.items():
        place = places.setdefault((cell.data, cell.backbone), {})
        place.setdefault(cell.label, []).append((cell.seed, artifact))
    for key, methods in places.items():
        yield key, {label: [one for _, one in sorted(runs, key=_seed)] for label, runs in methods.items()}


def comparison_table(
    trained: Trained, bench: SequenceBench, *, groups: str = "head and tail"
) -> pd.DataFrame:
    """Means with intervals on all targets and by group, popularity beside.

    Intervals are over users, and over seeds where there are several. groups: "head and tail", or
    "popularity" for the five of `GROUP_LABELS`.
    Returns dataset, backbone, method, metric, k, group, value, low, high, n.
    """
    settings = bench.profile.sequence.evaluation
    parts = []
    for (data, backbone), methods in by_place(trained):
        dataset = bench.dataset(data)
        tables = [
            per_window(run["windows"][RANK], settings.cutoffs, n_items=dataset.n_items).assign(
                method=label, seed=seed
            )
            for label, runs in methods.items()
            for seed, run in enumerate(runs)
        ]
        popular = baseline_rows(dataset.counts, dataset.test.target_idx, settings.cutoffs, seen="kept")
        tables.append(popular[(popular[METHOD] == POPULARITY) & popular[K].notna()])
        table = summarise(
            pd.concat(tables, ignore_index=True),
            target_groups(dataset, groups),
            generator=numpy_generator(0, "comparison"),
            cluster=dataset.test.user_id,
            n_resamples=settings.bootstrap,
        )
        table.insert(0, "backbone", backbone)
        table.insert(0, "dataset", dataset.name)
        parts.append(table)
    return pd.concat(parts, ignore_index=True)


def target_groups(dataset: Dataset, groups: str) -> Any:
    """Group of each test target, by its training interactions; (W,)."""
    target = dataset.test.target_idx
    if groups == "head and tail":
        return head_or_tail(target, dataset.counts)
    if groups == "popularity":
        place = popularity_groups(dataset.counts, GROUP_EDGES)[target]
        return pd.Categorical.from_codes((place + 1).tolist(), pd.Index([UNSEEN, *GROUP_LABELS]))
    raise InputError(f'groups={groups!r}: choose "head and tail" or "popularity"')


def differences_table(
    trained: Trained,
    bench: SequenceBench,
    *,
    reference: str = BASE,
    methods: Sequence[str] | None = None,
    groups: str = "head and tail",
    k: int = MAIN_K,
) -> pd.DataFrame:
    """Paired differences of HR@k and NDCG@k to a reference on the same windows and seeds.

    Intervals are over users, and over seeds where there are several.
    Returns dataset, backbone, method, reference, metric, k, group, difference, low, high, change (difference
    over the reference's mean, NaN where that is 0), n.
    """
    rows = []
    for (data, backbone), runs in by_place(trained):
        dataset = bench.dataset(data)
        if reference not in runs:
            raise InputError(
                f"{dataset.name}, {backbone}: no run of the reference {reference!r}: train it too"
            )
        compared = [label for label in methods or runs if label != reference and label in runs]
        for metric in ("HR", "NDCG"):
            theirs = window_values(runs[reference], metric, k)
            for label in compared:
                ours = window_values(runs[label], metric, k)
                for group, chosen in _members(target_groups(dataset, groups)):
                    found = paired_bootstrap(
                        ours[:, chosen],
                        theirs[:, chosen],
                        generator=numpy_generator(0, "paired"),
                        cluster=dataset.test.user_id[chosen],
                        n_resamples=bench.profile.sequence.evaluation.bootstrap,
                    )
                    mean = theirs[:, chosen].mean()
                    change = found.mean / mean if mean else np.nan
                    place = (dataset.name, backbone, label, reference, metric, k, group)
                    rows.append((*place, found.mean, found.low, found.high, change, found.n))
    columns = [*PLACE, METHOD, "reference", METRIC, K, GROUP, "difference", "low", "high", "change", "n"]
    return pd.DataFrame(rows, columns=columns)


def best_baselines(comparison: pd.DataFrame, *, metric: str = "NDCG", k: int = MAIN_K) -> pd.DataFrame:
    """The strongest method but FAERec and its backbone, by data set, backbone and group.

    Chosen on the test windows, as the paper does: to FAERec's disadvantage.
    Returns dataset, backbone, group, method, value.
    """
    rows = comparison[(comparison[METRIC] == metric) & (comparison[K] == k)]
    rows = rows[~rows[METHOD].isin([FAEREC, BASE, POPULARITY])]
    best = rows.loc[rows.groupby([*PLACE, GROUP], sort=False)[VALUE].idxmax()]
    return best[[*PLACE, GROUP, METHOD, VALUE]].reset_index(drop=True)


def against_best(trained: Trained, bench: SequenceBench, comparison: pd.DataFrame) -> pd.DataFrame:
    """FAERec minus the strongest baseline of each place and group: rows like `differences_table`."""
    parts = []
    for place in best_baselines(comparison).to_dict("records"):
        chosen = {
            cell: artifact
            for cell, artifact in trained.items()
            if (bench.dataset(cell.data).name, cell.backbone) == (place["dataset"], place["backbone"])
        }
        table = differences_table(chosen, bench, reference=place[METHOD], methods=[FAEREC])
        parts.append(table[table[GROUP] == place[GROUP]])
    return pd.concat(parts, ignore_index=True)


def coverage_table(trained: Trained, bench: SequenceBench, *, k: int = MAIN_K) -> pd.DataFrame:
    """Share of the catalogue, of its head and of its tail, that stands in some user's top k.

    Mean over the seeds; low and high are the lowest and highest seed, missing where there is one.
    Returns dataset, backbone, method, metric, k, group, value, low, high, n (lists).
    """
    rows = []
    for (data, backbone), methods in by_place(trained):
        dataset = bench.dataset(data)
        for label, runs in methods.items():
            for group, values in _coverage_by_seed(runs, dataset, k).items():
                ends = (values.min(), values.max()) if len(values) > 1 else (np.nan, np.nan)
                place = (dataset.name, backbone, label, "coverage", k, group)
                rows.append((*place, values.mean(), *ends, len(dataset.test)))
    return pd.DataFrame(rows, columns=[*PLACE, METHOD, METRIC, K, GROUP, VALUE, "low", "high", "n"])


def coverage_differences(
    trained: Trained, bench: SequenceBench, *, reference: str = BASE, k: int = MAIN_K
) -> pd.DataFrame:
    """Differences in coverage to a reference, with intervals.

    Over users, and over seeds where there are several. The standard error over users is the standard
    deviation over random halves of them, as it is for a mean; a bootstrap would repeat users and so
    understate coverage. `statistics.half_width` adds the seeds.
    Returns dataset, backbone, method, reference, metric, k, group, difference, low, high.
    """
    rows = []
    for (data, backbone), methods in by_place(trained):
        dataset = bench.dataset(data)
        halves = _halves(len(dataset.test))
        theirs = _coverage_by_seed(methods[reference], dataset, k)
        their_halves = _half_coverage(methods[reference], dataset, halves, k)
        for label, runs in methods.items():
            if label == reference:
                continue
            by_seed = _coverage_by_seed(runs, dataset, k) - theirs
            spread = _half_coverage(runs, dataset, halves, k) - their_halves  # (halves, groups)
            half = half_width(by_seed.to_numpy(), spread.std(axis=0))
            for place, (group, value) in enumerate(by_seed.mean().items()):
                names = (dataset.name, backbone, label, reference, "coverage", k, group)
                rows.append((*names, value, value - half[place], value + half[place]))
    columns = [*PLACE, METHOD, "reference", METRIC, K, GROUP, "difference", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def cost_table(trained: Trained, bench: SequenceBench) -> pd.DataFrame:
    """What each cell cost: parameters, epochs to the best, and seconds of training and of ranking.

    Means over the seeds. Returns dataset, backbone, method, parameters, backbone_parameters, best_epoch,
    train_seconds, train_cpu_seconds, rank_seconds, valid_ndcg.
    """
    rows = []
    for (data, backbone), methods in by_place(trained):
        for label, runs in methods.items():
            names = {"dataset": bench.dataset(data).name, "backbone": backbone, METHOD: label}
            means = pd.DataFrame([run["summary"] for run in runs]).mean().to_dict()
            rows.append(names | means)
    whole = dict.fromkeys(("parameters", "backbone_parameters", "train_windows"), int)
    return pd.DataFrame(rows).astype(whole)


def wide(table: pd.DataFrame, *, value: str = VALUE, rows: Sequence[str] = (*PLACE, METHOD)) -> pd.DataFrame:
    """A comparison as papers print it: places and methods down, groups and metrics across."""
    label = table[METRIC] + "@" + table[K].astype(str)
    return (
        table.assign(label=label)
        .pivot_table(index=list(rows), columns=[GROUP, "label"], values=value, sort=False)
        .round(4)
    )


def window_values(runs: Sequence[Artifact], metric: str, k: int) -> np.ndarray:
    """HR@k or NDCG@k of every window in every run, (R, W)."""
    ranks = [run["windows"][RANK] for run in runs]
    n_items = k  # a cut-off is never above the catalogue it was ranked in
    tables = [per_window(rank, (k,), n_items=n_items) for rank in ranks]
    return np.stack([table.loc[table[METRIC] == metric, VALUE].to_numpy() for table in tables])


def _members(groups: np.ndarray | pd.Categorical) -> Iterator[tuple[str, np.ndarray]]:
    """All windows, then each group that has any; (W,) bool."""
    labels = pd.Categorical(groups)
    yield ALL, np.ones(len(labels), dtype=bool)
    for code, label in enumerate(labels.categories):
        if (labels.codes == code).any():
            yield str(label), labels.codes == code


def _coverage(items: np.ndarray, dataset: Dataset, k: int) -> pd.DataFrame:
    return coverage(items, (k,), n_items=dataset.n_items, counts=dataset.counts)


def _coverage_by_seed(runs: Sequence[Artifact], dataset: Dataset, k: int) -> pd.DataFrame:
    """Seeds × groups."""
    by_run = [_coverage(run["lists"]["items"], dataset, k).set_index(GROUP)[VALUE] for run in runs]
    return pd.DataFrame(by_run).reset_index(drop=True)


def _halves(n_windows: int) -> list[np.ndarray]:
    generator = numpy_generator(0, "halves of the users")
    return [generator.permutation(n_windows)[: max(1, n_windows // 2)] for _ in range(N_HALVES)]


def _half_coverage(
    runs: Sequence[Artifact], dataset: Dataset, halves: Sequence[np.ndarray], k: int
) -> np.ndarray:
    """Coverage on each half of the users, mean over runs: (halves, groups)."""
    lists = [run["lists"]["items"] for run in runs]
    found = [[_coverage(items[half], dataset, k)[VALUE].to_numpy() for half in halves] for items in lists]
    return np.mean(found, axis=0)


def _seed(run: tuple[int, Artifact]) -> int:
    return run[0]
