"""The grids of the FAERec study: which method on which backbone and data set, from which seed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from reclib.artifacts import Artifact
from reclib.config import DataConfig, Profile

BASE, FAEREC = "base", "faerec"
BACKBONES = ("gru4rec", "sasrec", "bert4rec", "fmlp", "lrurec", "narm", "lightsans", "gmlp")
LONG_TAIL = ("cities", "loam", "melt")
WITH_TEXT = ("rlmrec_con", "rlmrec_gen", "llminit", "llm_esr")
METHODS = (BASE, *LONG_TAIL, *WITH_TEXT, FAEREC)  # in the order of [FAERec] Table 2
IN_SPACES = ("llminit", "llm_esr", "rlmrec_con", FAEREC)  # [FAERec] Fig. 5
IN_GROUPS = (BASE, "loam", "rlmrec_con", FAEREC)  # [FAERec] Fig. 4
IN_DIVERSITY = (BASE, "loam", "rlmrec_con", "llm_esr", FAEREC)  # [FAERec] Table 5
ABLATIONS = {
    "without_gate": "gate",
    "without_item_alignment": "item_alignment",
    "without_feature_alignment": "feature_alignment",
    "without_curriculum": "curriculum",
    "without_popularity_groups": "popularity_groups",
}
REDUNDANCY, ALIGNMENT = "redundancy", "alignment"
SWEPT = {REDUNDANCY: "redundancy_weight", ALIGNMENT: "alignment_weight"}  # options of FAERec: λ and α


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run of a grid.

    label: the method's name in tables; "faerec" with a change is a variant, such as "without_gate"
    changes: options of the method that differ from the tuned ones
    """

    data: DataConfig
    backbone: str
    method: str
    label: str
    seed: int
    changes: tuple[tuple[str, Any], ...] = ()
    keeps_spaces: bool = False


Trained = Mapping[Cell, Artifact]


def datasets(profile: Profile) -> list[DataConfig]:
    """The data sets that methods are compared on, the profile's own first."""
    settings = profile.sequence
    others = [source for source in settings.others if source != settings.data.source]
    return [settings.data, *(replace(settings.data, source=source) for source in others)]


def main_cells(profile: Profile) -> list[Cell]:
    """Every method on every data set and main backbone ([FAERec] Table 2)."""
    return [
        _cell(profile, data, backbone, method, seed)
        for data in datasets(profile)
        for backbone in profile.sequence.backbones
        for method in METHODS
        for seed in profile.seeds
    ]


def backbone_cells(profile: Profile) -> list[Cell]:
    """The eight backbones without any method, on the profile's own data set ([FAERec] Fig. 1a)."""
    data = datasets(profile)[0]
    return [_cell(profile, data, backbone, BASE, seed) for backbone in BACKBONES for seed in profile.seeds]


def more_backbone_cells(profile: Profile) -> list[Cell]:
    """FAERec and nothing else on every backbone of the profile, on its own data set ([FAERec] Table 4)."""
    data = datasets(profile)[0]
    backbones = dict.fromkeys((*profile.sequence.backbones, *profile.sequence.more_backbones))
    return [
        _cell(profile, data, backbone, method, seed)
        for backbone in backbones
        for method in (BASE, FAEREC)
        for seed in profile.seeds
    ]


def ablation_cells(profile: Profile) -> list[Cell]:
    """The backbone, FAERec, and FAERec without each of its parts ([FAERec] Table 3)."""
    backbones = profile.sequence.ablation_backbones or profile.sequence.backbones
    return [
        cell
        for data in datasets(profile)
        for backbone in backbones
        for seed in profile.seeds
        for cell in (
            _cell(profile, data, backbone, BASE, seed),
            _cell(profile, data, backbone, FAEREC, seed),
            *(
                _variant(profile, data, backbone, seed, label, {part: False})
                for label, part in ABLATIONS.items()
            ),
        )
    ]


def sensitivity_cells(profile: Profile) -> list[Cell]:
    """The backbone, and FAERec at every λ and every α, the other at its tuned value ([FAERec] Fig. 3).

    On the first main backbone. Labels: "redundancy_0.01" for λ, "alignment_0.3" for α.
    """
    settings = profile.sequence
    values = {REDUNDANCY: settings.redundancies, ALIGNMENT: settings.alignments}
    backbone = settings.backbones[0]
    return [
        cell
        for data in datasets(profile)
        for seed in profile.seeds
        for cell in (
            _cell(profile, data, backbone, BASE, seed),
            *(
                _variant(profile, data, backbone, seed, f"{name}_{value:g}", {SWEPT[name]: value})
                for name, swept in values.items()
                for value in swept
            ),
        )
    ]


def of_methods(cells: Iterable[Cell], methods: Collection[str], *, backbone: str | None = None) -> list[Cell]:
    """Those cells of a grid that are of some methods, and of one backbone where it is given."""
    return [cell for cell in cells if cell.label in methods and backbone in (None, cell.backbone)]


def cells(profile: Profile) -> list[Cell]:
    """Every cell of notebooks 03 and 30–36, each once: what a profile has to train.

    Processes that train parts of this list at once fill one cache: `SequenceBench(profile).train(part)`.
    """
    grids = (main_cells, backbone_cells, more_backbone_cells, ablation_cells, sensitivity_cells)
    return list(dict.fromkeys(cell for grid in grids for cell in grid(profile)))


def _cell(profile: Profile, data: DataConfig, backbone: str, method: str, seed: int) -> Cell:
    keeps = method in IN_SPACES and backbone == profile.sequence.backbones[0]
    return Cell(data=data, backbone=backbone, method=method, label=method, seed=seed, keeps_spaces=keeps)


def _variant(
    profile: Profile, data: DataConfig, backbone: str, seed: int, label: str, changes: Mapping[str, Any]
) -> Cell:
    whole = _cell(profile, data, backbone, FAEREC, seed)
    return replace(whole, label=label, changes=tuple(changes.items()), keeps_spaces=False)
