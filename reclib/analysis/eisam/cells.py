"""The grids of the EISAM study: methods and the settings each is tried at, and one setting varied at a time.

Every method gets the same number of settings, `EisamConfig.n_settings`, and of these the one with the best
overall NDCG@10 on validation is reported; the test windows, and the tail, choose nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from reclib.analysis.sequence_cells import Cell, Trained, datasets
from reclib.config import SHARPNESS_FAMILY, Profile, SequenceConfig
from reclib.training.methods.sharpness import SharpnessOptions

ERM, SAM, EISAM, REWEIGHT, UNWEIGHTED = "erm", "sam", "eisam", "reweight", "without_weights"
EXACT = "eisam_exact"
METHODS = (
    ERM, REWEIGHT, "logit_adjustment", SAM, "imbsam", "focal_sam", "cc_sam", UNWEIGHTED, "eisam2", EISAM,
)  # fmt: skip
ON_SMALL = (ERM, REWEIGHT, SAM, "eisam2", EISAM, EXACT)  # where the exact step is affordable
RADIUS, PENALTY, GAMMA = "radius", "penalty", "gamma"

_DROPOUTS = (None, 0.1, 0.4, 0.0)  # of what has no setting of its own, as with the backbone's grid
_ADJUSTMENTS = (1.0, 0.5, 0.25, 0.75)  # τ of logit adjustment
_RADII = (0.05, 0.2, 0.1, 0.02)  # ρ; first that of Focal-SAM's tuning of CLIP
_FAMILY = {UNWEIGHTED: replace(SHARPNESS_FAMILY[EISAM], gamma=0.0), EXACT: SHARPNESS_FAMILY["exact"]}


def study(profile: Profile, *, small: bool = False) -> Profile:
    """The profile with the data, backbone and training of this study, or of its small part, in `sequence`."""
    eisam = profile.eisam
    sequence = SequenceConfig(
        data=eisam.small if small else eisam.data,
        backbone=eisam.backbone,
        train=eisam.small_train if small else eisam.train,
        evaluation=eisam.evaluation,
        others=() if small else eisam.others,
        backbones=(eisam.backbone.name,),
    )
    return replace(profile, sequence=sequence)


def options(method: str, *, n_buckets: int = 8) -> tuple[SharpnessOptions, ...]:
    """The settings that a method is tried at, best guess first; n_buckets: of the CC-SAM-style step."""
    if method == "logit_adjustment":
        plain = SHARPNESS_FAMILY[ERM]
        return tuple(SharpnessOptions(sharpness=plain, adjustment=each) for each in _ADJUSTMENTS)
    step = _FAMILY[method] if method in _FAMILY else SHARPNESS_FAMILY[method]
    if step.step == "buckets":
        step = replace(step, n_buckets=n_buckets)
    if method in (ERM, REWEIGHT):
        return tuple(SharpnessOptions(sharpness=step, dropout=each) for each in _DROPOUTS)
    return tuple(SharpnessOptions(sharpness=replace(step, radius=radius)) for radius in _RADII)


def main_cells(profile: Profile) -> list[Cell]:
    """Every method at every setting it is tried at, on every data set and from every seed."""
    whole, eisam = study(profile), profile.eisam
    return [
        _cell(whole, data, method, each, seed)
        for data in datasets(whole)
        for method in METHODS
        for each in options(method, n_buckets=eisam.n_buckets)[: eisam.n_settings]
        for seed in profile.seeds
    ]


def small_cells(profile: Profile) -> list[Cell]:
    """The methods beside the exact item-wise step, at their first setting, on the small data."""
    small = study(profile, small=True)
    return [
        _cell(small, small.sequence.data, method, options(method)[0], seed)
        for method in ON_SMALL
        for seed in profile.seeds
    ]


def sensitivity_cells(profile: Profile) -> list[Cell]:
    """ERM, and EISAM with ρ, λ or γ varied, the other two at their defaults, on the first data set.

    Labels: "radius_0.1", "penalty_0.4", "gamma_0.5".
    """
    eisam, whole = profile.eisam, study(profile)
    swept = {RADIUS: eisam.radii, PENALTY: eisam.penalties, GAMMA: eisam.gammas}
    cells = [_cell(whole, eisam.data, ERM, options(ERM)[0], seed) for seed in profile.seeds]
    for name, values in swept.items():
        for value in values:
            change: dict[str, Any] = {name: value}
            varied = SharpnessOptions(sharpness=replace(SHARPNESS_FAMILY[EISAM], **change))
            label = f"{name}_{value:g}"
            cells += [_cell(whole, eisam.data, label, varied, seed) for seed in profile.seeds]
    return cells


def _cell(profile: Profile, data: Any, label: str, each: SharpnessOptions, seed: int) -> Cell:
    changes = {"sharpness": each.sharpness, "adjustment": each.adjustment, "dropout": each.dropout}
    return Cell(
        data=data,
        backbone=profile.sequence.backbone.name,
        method="sharpness",
        label=label,
        seed=seed,
        changes=tuple(changes.items()),
    )


def tried_table(trained: Trained) -> pd.DataFrame:
    """What was tried: source, method, setting, valid_ndcg (mean over seeds), epochs, seconds, is_chosen.

    seconds: of training, process time; is_chosen: the best on validation of its method and data set.
    """
    groups: dict[tuple[str, str, tuple[Any, ...]], list[Mapping[str, Any]]] = {}
    for cell, run in trained.items():
        groups.setdefault((cell.data.source, cell.label, cell.changes), []).append(run["summary"])
    table = pd.DataFrame(
        [
            (source, label, _words(changes), *_means(found), changes)
            for (source, label, changes), found in groups.items()
        ],
        columns=["source", "method", "setting", "valid_ndcg", "epochs", "seconds", "changes"],
    )
    best = table.groupby(["source", "method"], sort=False)["valid_ndcg"].transform("idxmax")
    return table.assign(is_chosen=table.index == best)


def _means(found: Iterable[Mapping[str, Any]]) -> tuple[float, float, float]:
    table = pd.DataFrame(list(found))
    return (
        float(table["valid_ndcg"].mean()),
        float(table["best_epoch"].mean() + 1),
        float(table["train_cpu_seconds"].mean()),
    )


def chosen(trained: Trained) -> Trained:
    """The runs of each method's best setting on validation, by data set; the mean of the seeds decides."""
    table = tried_table(trained)
    kept = {(row["source"], row["method"], row["changes"]) for row in _chosen_rows(table)}
    return {
        cell: run for cell, run in trained.items() if (cell.data.source, cell.label, cell.changes) in kept
    }


def _chosen_rows(table: pd.DataFrame) -> list[dict[Any, Any]]:
    return table[table["is_chosen"]].to_dict("records")


def _words(changes: tuple[tuple[str, Any], ...]) -> str:
    """What of the options differs between the settings of a method."""
    found = dict(changes)
    if found["adjustment"]:
        return f"τ = {found['adjustment']:g}"
    step = found["sharpness"]
    if step.step in (ERM, REWEIGHT):
        return "dropout as set" if found["dropout"] is None else f"dropout {found['dropout']:g}"
    return f"ρ = {step.radius:g}"
