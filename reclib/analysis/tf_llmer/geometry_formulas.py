"""The bounds and formulas of conditioning against made tables whose norms, cone and clusters are known.

All of it is derived by us (§3 of the specification of TF-LLMER); that norm disparity and misaligned angular
clustering are the causes is confirmed by the abstract.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from reclib.analysis.tf_llmer.geometry import uniform_condition
from reclib.kernels.curvature import (
    cluster_condition,
    cluster_condition_refined,
    condition_bounds,
    cone_condition,
    cone_ratio,
    largest_bound,
    spectra,
)
from reclib.seeding import numpy_generator

if TYPE_CHECKING:
    from reclib.analysis.tf_llmer.geometry import GeometryBench
    from reclib.artifacts import Artifact

COSINES = (0.2, 0.5, 0.8)  # a of the cone
DISPARITIES = (0.0, 0.1, 0.2, 0.4, 0.8)  # norm cv
CLUSTERS = (4, 8, 16, 32)  # K of formula (5), those below half the width
TIGHTNESS = (0.5, 0.8, 0.9)  # a_w
STATE_NORM, N_STATES = 8.0, 64  # of the contexts that norms are seen through
TABLE_DRAWS = 100  # states of each made table that the bounds are tried on
ACCURATE = 1e-9  # a smallest eigenvalue below this share of the largest is rounding
SLACK = 1e-6  # of a bound that is met exactly


@dataclass(frozen=True, kw_only=True)
class FormulaConfig:
    """Sizes of the made tables, and how many draws the bounds are tried on."""

    n_items: int
    width: int
    n_draws: int


def formulas_of(bench: GeometryBench) -> Artifact:
    """The step of a profile; notebooks 41 and 42 read one."""
    settings = bench.settings
    config = FormulaConfig(n_items=settings.cone_items, width=settings.cone_width, n_draws=settings.n_draws)
    return bench.artifact("geometry_formulas", formula_step, config, seed=0, schema_version=2)


def formula_step(config: FormulaConfig, *, seed: int, workdir: Path) -> dict[str, Any]:
    """Tables "cone" and "clusters" (setting, measured, predicted, ratio), "softmax" and "bounds"."""
    return {
        "cone": cone_table(config, seed),
        "clusters": cluster_table(config, seed),
        "softmax": softmax_table(config, seed),
        "bounds": bound_table(config.n_draws, seed),
    }


def cone_table(config: FormulaConfig, seed: int) -> pd.DataFrame:
    """Formula (4): mean_cosine, norm_cv, measured κ under a uniform p, predicted, and their ratio."""
    generator, rows = numpy_generator(seed, "cone"), []
    for cosine in COSINES:
        units = _cone(config, cosine, generator)
        for disparity in DISPARITIES:
            norms = lognormal_norms(config.n_items, disparity, generator)
            q = cone_ratio(
                width=config.width,
                mean_cosine=cosine,
                mean_norm=float(norms.mean()),
                norm_std=float(norms.std()),
            )
            predicted = cone_condition(q, width=config.width, n_items=config.n_items)
            measured = uniform_condition(_padded(norms[:, None] * units))
            rows.append((cosine, disparity, measured, predicted, measured / predicted))
    return pd.DataFrame(rows, columns=["mean_cosine", "norm_cv", "measured", "predicted", "ratio"])


def cluster_table(config: FormulaConfig, seed: int) -> pd.DataFrame:
    """Formula (5): n_clusters, within_cosine, measured κ of unit rows, predicted, and their ratio.

    "refined" is what is predicted with the terms that (5) leaves out.
    """
    generator, rows = numpy_generator(seed, "clusters"), []
    for n_clusters in (each for each in CLUSTERS if 2 * each <= config.width):
        centres = np.linalg.qr(generator.normal(size=(config.width, n_clusters)))[0].T
        for within in TIGHTNESS:
            beside = _directions(config.n_items, config.width, generator)
            units = math.sqrt(within) * centres[np.arange(config.n_items) % n_clusters]
            units += math.sqrt(1 - within) * beside
            measured = uniform_condition(_padded(units / np.linalg.norm(units, axis=1, keepdims=True)))
            sizes = {"width": config.width, "n_clusters": n_clusters}
            predicted = cluster_condition(**sizes, within_cosine=within)
            refined = cluster_condition_refined(**sizes, within_cosine=within, n_items=config.n_items)
            rows.append((n_clusters, within, measured, predicted, measured / predicted, refined))
    columns = ["n_clusters", "within_cosine", "measured", "predicted", "ratio", "refined"]
    return pd.DataFrame(rows, columns=columns)


def softmax_table(config: FormulaConfig, seed: int) -> pd.DataFrame:
    """§3.4: norms of isotropic items through the softmax of states of norm 8.

    Columns: norm_cv, n_effective, kappa (medians over contexts), lambda_max_cv (over contexts).
    """
    generator, rows = numpy_generator(seed, "norms through the softmax"), []
    units = _directions(config.n_items, config.width, generator)
    states = torch.from_numpy(STATE_NORM * _directions(N_STATES, config.width, generator))
    for disparity in DISPARITIES:
        norms = lognormal_norms(config.n_items, disparity, generator)
        found = spectra(states, torch.from_numpy(_padded(norms[:, None] * units)))
        largest, kappa = found.largest, found.largest / found.smallest
        variation = float(largest.std(correction=0) / largest.mean())
        rows.append((disparity, float(found.n_effective.median()), float(kappa.median()), variation))
    return pd.DataFrame(rows, columns=["norm_cv", "n_effective", "kappa", "lambda_max_cv"])


def bound_table(n_draws: int, seed: int) -> pd.DataFrame:
    """Bounds (2) and (3) on random tables, lengths, angles and states.

    Columns: bound, n_draws, n_tried (draws whose smallest eigenvalue is not rounding), n_violated, tightest
    (measured over bound, the largest of all).
    """
    generator = numpy_generator(seed, "bounds")
    names = ("largest", "probability", "diameter", "norm")
    shares: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for number in range(max(1, n_draws // TABLE_DRAWS)):
        n_items, width = int(generator.integers(3, 40)), int(generator.integers(2, 7))
        items = generator.normal(size=(n_items, width)) + generator.normal(size=width)
        items *= lognormal_norms(n_items, 0.5, generator)[:, None] * generator.choice([0.1, 1.0, 3.0])
        if number % 3 == 0:  # of one length
            items /= np.linalg.norm(items, axis=1, keepdims=True)
        states = generator.normal(size=(TABLE_DRAWS, width)) * generator.lognormal(0, 1, (TABLE_DRAWS, 1))
        for name, share in _shares_of_bounds(torch.from_numpy(states), torch.from_numpy(_padded(items))):
            shares[name].append(share)
    rows = []
    for name, parts in shares.items():
        share = np.concatenate(parts)
        tried = share[~np.isnan(share)]
        rows.append((name, len(share), len(tried), int((tried > 1 + SLACK).sum()), float(tried.max())))
    return pd.DataFrame(rows, columns=["bound", "n_draws", "n_tried", "n_violated", "tightest"])


def _shares_of_bounds(states: torch.Tensor, items: torch.Tensor) -> list[tuple[str, np.ndarray]]:
    """Measured over bound, of each state; NaN where rounding decides what the smallest eigenvalue is."""
    found, bounds = spectra(states, items), condition_bounds(states, items)
    kappa = found.largest / found.smallest
    kappa[found.smallest <= ACCURATE * found.largest] = math.nan
    shares = [("largest", (found.largest / largest_bound(items)).numpy())]
    return shares + [(name, (kappa / bound).numpy()) for name, bound in bounds._asdict().items()]


def lognormal_norms(n_items: int, disparity: float, generator: np.random.Generator) -> np.ndarray:
    """Norms (N,) around one, lognormal with a coefficient of variation."""
    return generator.lognormal(0.0, math.sqrt(math.log(1 + disparity**2)), n_items)


def _cone(config: FormulaConfig, cosine: float, generator: np.random.Generator) -> np.ndarray:
    """Unit rows of a mean cosine: √a m + √(1−a) v, v isotropic beside the axis m."""
    beside = _directions(config.n_items, config.width - 1, generator)
    axis = np.full((config.n_items, 1), math.sqrt(cosine))
    return np.concatenate([axis, math.sqrt(1 - cosine) * beside], axis=1)


def _directions(n_rows: int, width: int, generator: np.random.Generator) -> np.ndarray:
    rows = generator.normal(size=(n_rows, width))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def _padded(rows: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros_like(rows[:1]), rows])
