"""What the FAERec study found about the checkable statements of its specification, as rows for the registry.

Every function takes tables of `sequence_tables` and judges each data set in them. A statement holds where the
interval says so; where one is about several cells, `value` and its interval are those of the weakest cell.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from reclib.analysis.findings import Finding, row_finding
from reclib.analysis.sequence_cells import BASE, FAEREC, Trained
from reclib.analysis.sequence_tables import (
    GROUP_LABELS,
    MAIN_K,
    by_place,
    target_groups,
    window_values,
)
from reclib.evaluation.metrics import ALL, METHOD, TAIL
from reclib.evaluation.statistics import resampled_means, seeds_interval
from reclib.schema import GROUP, METRIC
from reclib.seeding import numpy_generator

if TYPE_CHECKING:
    from reclib.analysis.sequence import SequenceBench

WELL_ABOVE = 0.1  # of the backbone's coverage: ours, the paper's gains are 22 % and more


def accuracy_statements(differences: pd.DataFrame) -> list[Finding]:
    """Statements 1a (all targets) and 1b (tail): FAERec minus its backbone, on every backbone of the table.

    Hold if the intervals of HR@10 and NDCG@10 are above 0 on all of them.
    """
    rows = differences[(differences[METHOD] == FAEREC) & (differences["reference"] == BASE)]
    found = []
    for number, group in (("1a", ALL), ("1b", TAIL)):
        for dataset, cells in _datasets(rows[rows[GROUP] == group]):
            note = f"FAERec minus backbone, {_won(cells)}; shown: NDCG@10 on {_weakest(cells)['backbone']}"
            found.append(
                row_finding("faerec", number, dataset, bool((cells["low"] > 0).all()), note, _weakest(cells))
            )
    return found


def proportion_statement(trained: Trained, bench: SequenceBench) -> list[Finding]:
    """Statement 1c: the gain in proportion is larger on the tail; holds if the interval is above 0.

    Measured as the change of (NDCG@10 on the tail) / (NDCG@10 on all targets), which is above 0 exactly when
    the tail gains more in proportion, and is defined where the backbone never hits a tail item.
    """
    rows = []
    for (data, backbone), runs in by_place(trained):
        if FAEREC in runs:
            dataset = bench.dataset(data)
            is_tail = np.asarray(target_groups(dataset, "head and tail")) == TAIL
            ours, theirs = (window_values(runs[name], "NDCG", MAIN_K) for name in (FAEREC, BASE))
            found = _change_of_share(ours, theirs, is_tail, dataset.test.user_id, bench)
            rows.append((dataset.name, backbone, *found))
    table = pd.DataFrame(rows, columns=["dataset", "backbone", "difference", "low", "high"])
    note = "tail over all NDCG@10, FAERec minus backbone; weakest backbone: "
    return [
        row_finding(
            "faerec",
            "1c",
            dataset,
            bool((cells["low"] > 0).all()),
            note + _lowest(cells)["backbone"],
            _lowest(cells),
        )
        for dataset, cells in _datasets(table)
    ]


def best_baseline_statement(against: pd.DataFrame) -> list[Finding]:
    """Statement 2: FAERec minus the best baseline on the tail, NDCG@10.

    Holds if no interval is wholly below 0 and the difference is at least 0 on most of the backbones.
    """
    rows = against[(against[GROUP] == TAIL) & (against[METRIC] == "NDCG")]
    found = []
    for dataset, cells in _datasets(rows):
        weakest = _lowest(cells)
        ahead = int((cells["difference"] >= 0).sum())
        holds = 2 * ahead > len(cells) and bool((cells["high"] >= 0).all())
        note = (
            f"NDCG@10 on the tail, FAERec minus the best baseline: at or above on {ahead} of {len(cells)} "
            f"backbones; shown: {weakest['reference']} on {weakest['backbone']}"
        )
        found.append(row_finding("faerec", "2", dataset, holds, note, weakest))
    return found


def ablation_statements(from_faerec: pd.DataFrame, from_feature: pd.DataFrame) -> list[Finding]:
    """Statements 3a, 3b and 3c, on NDCG@10 of tail targets.

    from_faerec: variants minus FAERec; 3a holds if every interval is below 0.
    from_feature: variants minus FAERec without feature alignment; 3b holds if the interval of the one
    without item alignment is below 0 on every backbone, 3c likewise without the curriculum.
    """
    note = "NDCG@10 on the tail: "
    found = []
    for dataset, cells in _datasets(_tail_ndcg(from_faerec, prefix="without_")):
        weakest = _highest(cells)
        lowered = int((cells["high"] < 0).sum())
        text = f"{note}{lowered} of {len(cells)} ablations below FAERec; shown: {_words(weakest[METHOD])}"
        found.append(row_finding("faerec", "3a", dataset, lowered == len(cells), text, weakest))
    for number, variant in (("3b", "without_item_alignment"), ("3c", "without_curriculum")):
        for dataset, cells in _datasets(_tail_ndcg(from_feature, prefix=variant)):
            weakest = _highest(cells)
            text = f"{note}{_words(variant)} minus without feature alignment, on {weakest['backbone']}"
            found.append(
                row_finding("faerec", number, dataset, bool((cells["high"] < 0).all()), text, weakest)
            )
    return found


def group_statements(from_base: pd.DataFrame, from_rival: pd.DataFrame) -> list[Finding]:
    """Statements 4a and 4b, on NDCG@10 by popularity group.

    from_base: FAERec minus its backbone; 4a holds if the interval is above 0 in all five groups.
    from_rival: FAERec minus RLMRec-Con; 4b holds if the interval is below 0 among items of 50 and more.
    """
    found = []
    rows = from_base[
        (from_base[METHOD] == FAEREC) & from_base[GROUP].isin(GROUP_LABELS) & (from_base[METRIC] == "NDCG")
    ]
    for dataset, cells in _datasets(rows):
        weakest = _lowest(cells)
        text = f"NDCG@10, FAERec minus backbone, {_won(cells)}; shown: group {weakest[GROUP]} "
        note = text + f"({weakest['n']} targets)"
        found.append(row_finding("faerec", "4a", dataset, bool((cells["low"] > 0).all()), note, weakest))
    rows = from_rival[
        (from_rival[METHOD] == FAEREC)
        & (from_rival[GROUP] == GROUP_LABELS[-1])
        & (from_rival[METRIC] == "NDCG")
    ]
    for dataset, cells in _datasets(rows):
        weakest = _highest(cells)
        note = f"NDCG@10 of targets of 50 and more, FAERec minus RLMRec-Con, on {weakest['backbone']}"
        found.append(row_finding("faerec", "4b", dataset, bool((cells["high"] < 0).all()), note, weakest))
    return found


def coverage_statement(coverage: pd.DataFrame, differences: pd.DataFrame) -> list[Finding]:
    """Statement 5: Coverage@10 and Tail_Coverage@10 rise by more than a tenth of the backbone's, ours.

    Holds if both do on every backbone, and the interval is above 0.
    """
    keys = ["dataset", "backbone", GROUP]
    rows = differences[(differences[METHOD] == FAEREC) & differences[GROUP].isin([ALL, TAIL])]
    base = coverage[coverage[METHOD] == BASE][[*keys, "value"]]
    rows = rows.merge(base, on=keys, validate="one_to_one")
    found = []
    for dataset, cells in _datasets(rows):
        is_well_above = (cells["difference"] > WELL_ABOVE * cells["value"]) & (cells["low"] > 0)
        weakest = _lowest(cells)
        note = (
            f"FAERec minus backbone, interval by halves of the users and seeds; "
            f"{int(is_well_above.sum())} of {len(cells)} (all and tail, "
            f"by backbone) above by more than a tenth; shown: {weakest[GROUP]}"
        )
        found.append(row_finding("faerec", "5", dataset, bool(is_well_above.all()), note, weakest))
    return found


def spaces_statement(numbers: pd.DataFrame, steps: pd.DataFrame) -> list[Finding]:
    """Statement 6: overlap, CKA and cosine rise from LLMInit and LLM-ESR to RLMRec-Con to FAERec.

    numbers: dataset, method, metric, value. steps: the two steps of the order with their intervals: dataset,
    metric, step, difference, low, high. Holds if every step of every number is above 0 with its interval.
    """
    found = []
    for dataset, cells in _datasets(steps):
        weakest = _lowest(cells)
        held = int((cells["low"] > 0).sum())
        values = numbers[(numbers["dataset"] == dataset) & (numbers[METRIC] == weakest[METRIC])]
        shown = ", ".join(f"{row[METHOD]} {row['value']:.2f}" for row in values.to_dict("records"))
        note = f"{held} of {len(cells)} steps rise; shown: {weakest[METRIC]}, {weakest['step']} ({shown})"
        found.append(row_finding("faerec", "6", dataset, held == len(cells), note, weakest))
    return found


def statement_table(findings: list[Finding], titles: pd.DataFrame) -> pd.DataFrame:
    """Findings as people read them: number, statement, dataset, holds, value, low, high, note.

    titles: as `registry.statements` gives them; a statement without a finding is "untested".
    """
    own = titles[titles["spec"] == "faerec"][["number", "statement"]]
    table = pd.DataFrame(findings, columns=["number", "dataset", "holds", "value", "low", "high", "note"])
    table["holds"] = [{True: "yes", False: "no"}.get(held, held) for held in table["holds"]]
    joined = own.merge(table, on="number", how="left")
    return joined.assign(holds=joined["holds"].fillna("untested"))


def _change_of_share(
    ours: np.ndarray, theirs: np.ndarray, is_tail: np.ndarray, users: np.ndarray, bench: SequenceBench
) -> tuple[float, float, float]:
    """Mean on the tail over mean on all windows, ours minus theirs, with its interval.

    ours, theirs: (R, W) of R seeds; the mean over seeds of what each seed's windows say
    """
    tail = np.broadcast_to(is_tail, ours.shape)
    values = np.stack([ours, theirs, ours * tail, theirs * tail, tail], axis=-1).swapaxes(0, 1)  # (W, R, 5)
    draws = resampled_means(
        values,
        generator=numpy_generator(0, "change of share"),
        cluster=users,
        n_resamples=bench.profile.sequence.evaluation.bootstrap,
    )
    by_seed = _share_difference(values.mean(axis=0))
    low, high = seeds_interval(by_seed, _share_difference(draws))
    return float(by_seed.mean()), float(low), float(high)


def _share_difference(means: np.ndarray) -> np.ndarray:
    """(…, 5) → (…)."""
    ours, theirs, ours_tail, theirs_tail, tail = np.moveaxis(means, -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((ours_tail / ours - theirs_tail / theirs) / tail)


def _datasets(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for name, rows in table.groupby("dataset", sort=False):
        yield str(name), rows


def _tail_ndcg(table: pd.DataFrame, *, prefix: str) -> pd.DataFrame:
    is_tail = (table[GROUP] == TAIL) & (table[METRIC] == "NDCG")
    return table[is_tail & table[METHOD].str.startswith(prefix)]


def _lowest(cells: pd.DataFrame) -> pd.Series:
    return cells.sort_values("low", kind="stable", na_position="first").iloc[0]


def _highest(cells: pd.DataFrame) -> pd.Series:
    return cells.sort_values("high", kind="stable").iloc[-1]


def _weakest(cells: pd.DataFrame) -> pd.Series:
    return _lowest(cells[cells[METRIC] == "NDCG"])


def _won(cells: pd.DataFrame) -> str:
    return f"interval above 0 in {int((cells['low'] > 0).sum())} of {len(cells)} comparisons"


def _words(label: str) -> str:
    return label.replace("_", " ")
