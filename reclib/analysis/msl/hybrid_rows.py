"""Rows of [MSL] Table 5 by language models that read vectors, and by BIGRec's free answers.

Names are those of `config.msl_tables.HYBRID_ROWS`: a method of `hybrids` and the loss it was tuned with, or
BIGRec tuned with LML whose answers are grounded, as they are or re-weighted by what else is known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

import pandas as pd

from reclib.analysis.msl import hybrids
from reclib.analysis.msl.grounded import Knowledge, ground
from reclib.analysis.msl.hybrids import HybridBench
from reclib.analysis.msl.main_table import Row, rows
from reclib.analysis.msl.runs import PREFERENCE, REFERENCE, Cell, GetOrCompute, tuned
from reclib.analysis.msl.stability import stability_profile
from reclib.analysis.workbench import Workbench
from reclib.artifacts import Artifact
from reclib.config import Profile, override
from reclib.config.msl_tables import HYBRID_ROWS, TABLE_METHODS
from reclib.decoding.grounding import PROTOCOL
from reclib.evaluation.baselines import POPULARITY
from reclib.evaluation.metrics import ALL
from reclib.schema import RANK

GROUNDED: dict[str, Knowledge] = {
    "grounded": "none",
    "grounded_popularity": "popularity",
    "grounded_collaborative": "collaborative",
}
BIGREC = "bigrec"
_RECOMMENDERS = {"llara": "LLaRA", "a_llmrec": "A-LLM"}  # names in [MSL] Table 5, before their loss
_LOSSES = {REFERENCE: "LML", PREFERENCE: "S-DPO", "msl_ats": "MSL"}


def hybrid_rows(
    profile: Profile, bench: Workbench, artifact: GetOrCompute, *, names: Sequence[str] | None = None
) -> list[Row]:
    """The rows that a profile has of HYBRID_ROWS, or those of `names`.

    LLaRA and A-LLMRec are compared with themselves under LML, grounding with BIGRec's constrained lists;
    [MSL] §5.1.3 reports the better of these two, which is not chosen here, as it would be on test.
    """
    wanted = profile.msl_tables.hybrids if names is None else names
    known: dict[str, HybridBench] = {}

    def of(method: hybrids.Method) -> HybridBench:
        if method not in known:
            known[method] = hybrids.make_bench(
                profile, method, artifact, dataset=bench.dataset, device=bench.device
            )
        return known[method]

    made = [row for method in hybrids.METHODS for row in _of_method(profile, method, wanted, of, artifact)]
    grounded = [_grounded(profile, bench, name, of, artifact) for name in GROUNDED if name in wanted]
    by_name = {row.method: row for row in [*made, *grounded]}
    return [by_name[name] for name in wanted]


def _of_method(
    profile: Profile,
    method: hybrids.Method,
    wanted: Sequence[str],
    of: Callable[[hybrids.Method], HybridBench],
    artifact: GetOrCompute,
) -> list[Row]:
    """LLaRA or A-LLMRec under the losses that are wanted; LML is always run, as the others refer to it."""
    losses = [loss for loss in _LOSSES if f"{method}_{loss}" in wanted]
    if not losses:
        return []
    reference = f"{method}_{REFERENCE}"
    runs = hybrids.run_method(
        profile,
        of(method),
        artifact,
        objectives=(REFERENCE, *(loss for loss in losses if loss not in (REFERENCE, PREFERENCE))),
        with_preference=PREFERENCE in losses,
        preference_windows=profile.msl_tables.preference_windows,
    )
    found = []
    for loss in dict.fromkeys((REFERENCE, *losses)):
        name = f"{method}_{loss}"
        ranks = tuple(runs.ranked[name, seed]["windows"][RANK] for seed in profile.seeds)
        compared = None if loss == REFERENCE else reference
        printed = tuple(f"{_RECOMMENDERS[method]}+{_LOSSES[each]}" for each in (loss, REFERENCE))
        found.append(Row(name, ranks, profile.decoding.protocol, compared, cast(tuple[str, str], printed)))
    return found


def _grounded(
    profile: Profile,
    bench: Workbench,
    name: str,
    of: Callable[[hybrids.Method], HybridBench],
    artifact: GetOrCompute,
) -> Row:
    """BIGRec tuned with LML, its free answers ranked by how near titles are."""
    kind = GROUNDED[name]
    vectors = of("llara").artifacts[0] if kind == "collaborative" else None
    ranks = []
    for seed in profile.seeds:
        adapter = tuned(Cell(profile=profile, method=REFERENCE, seed=seed), artifact, bench=bench)
        found: Artifact = ground(
            profile, bench, adapter, artifact, kind=kind, vectors=vectors, seed=profile.seeds[0]
        )
        ranks.append(found["windows"][RANK])
    return Row(name, tuple(ranks), PROTOCOL, REFERENCE)


def made_profile(profile: Profile) -> Profile:
    """The profile with the made catalogue, the model and the sizes of the table that has every row."""
    settings = profile.msl_tables.made
    made = override(stability_profile(profile, settings), **{"msl_tables.methods": TABLE_METHODS})
    return replace(made, seeds=settings.seeds)


def made_rows(profile: Profile, bench: Workbench, artifact: GetOrCompute) -> list[Row]:
    """Every row of the table, on a made catalogue: profile and bench are of `made_profile`."""
    return [*rows(profile, bench, artifact), *hybrid_rows(profile, bench, artifact, names=HYBRID_ROWS)]


def by_recommender(comparison: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """Rows for `figures.comparison_grid`, a panel each of BIGRec, LLaRA and A-LLMRec, popularity in all.

    NDCG at the largest cut-off on all targets, a row for each loss; grounding is not shown.
    """
    shown = comparison[
        (comparison["metric"] == "NDCG")
        & (comparison["k"] == comparison["k"].max())
        & (comparison["group"] == ALL)
    ]
    parts = []
    for recommender, prefix in ((BIGREC, ""), *((name, f"{name}_") for name in _RECOMMENDERS)):
        names = {f"{prefix}{loss}": loss for loss in _LOSSES} | {POPULARITY: POPULARITY}
        own = shown[shown["method"].isin(list(names))]
        parts.append(own.assign(backbone=recommender, method=own["method"].map(names)))
    return pd.concat(parts, ignore_index=True).assign(dataset=dataset)
