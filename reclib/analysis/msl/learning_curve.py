"""How accuracy grows with the number of training windows under each loss, over several seeds."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from reclib.analysis.msl.runs import REFERENCE, Cell
from reclib.analysis.msl.stability import stability_profile, window_ndcg
from reclib.analysis.msl.tables import held_out_users
from reclib.analysis.workbench import Workbench
from reclib.artifacts import Artifact
from reclib.config import Profile, override
from reclib.evaluation.statistics import estimate, paired_bootstrap
from reclib.seeding import numpy_generator

CURVES = (REFERENCE, "msl", "msl_ats")
Ranked = Mapping[tuple[str, int, int], Artifact]


def cells(profile: Profile) -> dict[tuple[str, int, int], Cell]:
    """The runs by method, number of training windows and seed; the largest number is that of Table 3's runs.

    Every run has as many passes over its windows, so fewer windows are fewer steps.
    """
    settings, changed = profile.msl_tables.stability, stability_profile(profile)
    numbers = sorted({*settings.fewer_windows, settings.n_windows})
    return {
        (method, n, seed): Cell(profile=override(changed, **{"tune.n_windows": n}), method=method, seed=seed)
        for method in CURVES
        for n in numbers
        for seed in settings.seeds
    }


def curve_table(ranked: Ranked, bench: Workbench, profile: Profile, *, k: int = 10) -> pd.DataFrame:
    """NDCG@K by training windows: method, windows, metric, k, value, low, high.

    Intervals are over users and seeds.
    """
    rows, users = [], held_out_users(next(iter(ranked.values())), bench)
    for method, n in dict.fromkeys(key[:2] for key in ranked):
        found = estimate(
            _ndcg(ranked, bench, profile, method, n, k),
            generator=numpy_generator(0, f"learning curve {method} {n}"),
            cluster=users,
            n_resamples=profile.evaluation.bootstrap,
        )
        rows.append((method, n, "NDCG", k, found.mean, found.low, found.high))
    columns = ["method", "windows", "metric", "k", "value", "low", "high"]
    return pd.DataFrame(rows, columns=columns).astype({"k": "Int64"})


def gain_table(ranked: Ranked, bench: Workbench, profile: Profile, *, k: int = 10) -> pd.DataFrame:
    """NDCG@K minus that of LML at as many training windows: method, windows, difference, low, high.

    Paired by test window and seed; intervals are over users and seeds.
    """
    rows, users = [], held_out_users(next(iter(ranked.values())), bench)
    for method, n in dict.fromkeys(key[:2] for key in ranked if key[0] != REFERENCE):
        found = paired_bootstrap(
            _ndcg(ranked, bench, profile, method, n, k),
            _ndcg(ranked, bench, profile, REFERENCE, n, k),
            generator=numpy_generator(0, f"learning curve gain {method} {n}"),
            cluster=users,
            n_resamples=profile.evaluation.bootstrap,
        )
        rows.append((method, n, found.mean, found.low, found.high))
    return pd.DataFrame(rows, columns=["method", "windows", "difference", "low", "high"])


def _ndcg(ranked: Ranked, bench: Workbench, profile: Profile, method: str, n: int, k: int) -> np.ndarray:
    """NDCG@K of each seed and test window, (S, W)."""
    runs = [artifact for key, artifact in ranked.items() if key[:2] == (method, n)]
    return np.stack([window_ndcg(artifact, bench, profile, k) for artifact in runs])
