"""A small made table for every figure, with the axes it needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from reclib.plotting import figures
from tests.plotting import (
    made_bound,
    made_eisam,
    made_gap,
    made_geometry,
    made_longtail,
    made_sequence,
    made_tf_llmer,
)


@dataclass(frozen=True)
class Example:
    """One figure: its function, a table, and how its axes are made."""

    draw: Callable[..., None]
    table: pd.DataFrame
    subplots: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)


def popularity(n_items: int = 400) -> pd.DataFrame:
    count = np.floor(600 * np.arange(1, n_items + 1) ** -0.9 - 2.5).clip(0).astype(int)
    return pd.DataFrame(
        {
            "rank": np.arange(1, n_items + 1),
            "count": count,
            "cumulative_share": count.cumsum() / count.sum(),
            "is_head": np.arange(n_items) < n_items // 5,
        }
    )


def frequency() -> pd.DataFrame:
    items = np.array([120, 1480, 760, 420, 210, 90, 31, 12, 3])
    interactions = items * np.array([0, 2.5, 7, 14, 32, 70, 140, 300, 700])
    return pd.DataFrame(
        {
            "low": [0, 1, 5, 10, 20, 50, 100, 200, 500],
            "label": ["0", "1–4", "5–9", "10–19", "20–49", "50–99", "100–199", "200–499", "≥500"],
            "items": items,
            "item_share": items / items.sum(),
            "interaction_share": interactions / interactions.sum(),
        }
    )


def valid_tokens() -> pd.DataFrame:
    parts = []
    for dataset, start in (("ml-100k", 900.0), ("msl_book", 788.0), ("msl_office", 60.0)):
        position = np.arange(1, 13)
        mean = 1 + start * np.exp(-1.6 * (position - 1))
        parts.append(
            pd.DataFrame(
                {
                    "dataset": dataset,
                    "position": position,
                    "mean_valid_tokens": mean,
                    "forced_share": 1 - np.minimum(1, np.log(mean) / 5),
                    "targets": 1000 - 60 * position,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def norms() -> pd.DataFrame:
    step = np.arange(0, 48, 4)
    parts = {"lml_valid": 9 * np.exp(-step / 12) + 0.4, "lml_item": 1.1 * np.exp(-step / 60)}
    return pd.concat(
        [pd.DataFrame({"step": step, "part": part, "value": value}) for part, value in parts.items()],
        ignore_index=True,
    )


def training() -> pd.DataFrame:
    step = np.arange(48)
    parts = []
    for method, rate in (("lml", 0.01), ("lml_item", 0.02)):
        smoothed = 9 * np.exp(-rate * step)
        noise = 0.4 * np.sin(1.7 * step + len(method))
        parts.append(
            pd.DataFrame({"step": step, "method": method, "value": smoothed + noise, "smoothed": smoothed})
        )
    return pd.concat(parts, ignore_index=True)


def weights() -> pd.DataFrame:
    rank = np.arange(1, 121)
    powers = {"lml": 1.0, "msl": 5.0, "msl_2": 3.0, "msl_5": 2.0}
    return pd.concat(
        [
            pd.DataFrame({"method": m, "rank": rank, "weight": (1 - rank / 121) ** p})
            for m, p in powers.items()
        ],
        ignore_index=True,
    )


def small_weights() -> pd.DataFrame:
    position = np.arange(1, 9)
    parts = []
    for method, rate in (("lml", 0.2), ("msl", 0.7)):
        small = np.round(400 * np.exp(-rate * position)).astype(int)
        columns = {"position": position, "small": small, "positions": 500 - 40 * position}
        parts.append(pd.DataFrame({"method": method, **columns, "share": small / small.sum()}))
    return pd.concat(parts, ignore_index=True)


def temperatures() -> pd.DataFrame:
    tau = np.array([0.5, 1.0, 1.5, 2.0, 3.0, 4.5])
    value = 0.028 - 0.004 * np.log2(tau / 2) ** 2
    fixed = pd.DataFrame({"method": "msl_temperature", "temperature": tau, "value": value})
    adaptive = {"method": "msl_ats", "temperature": 1.9, "value": 0.0275}
    ends = {"temperature_low": 1.5, "temperature_high": 2.6}
    table = pd.concat([fixed, pd.DataFrame([adaptive | ends])], ignore_index=True)
    return table.assign(
        metric="NDCG",
        k=pd.array([10] * 7, dtype="Int64"),
        low=table["value"] - 0.003,
        high=table["value"] + 0.0025,
    )


METHODS = ("lml", "msl", "msl_2", "msl_ats", "popularity", "uniform")


def comparison() -> pd.DataFrame:
    rows = []
    for m, metric, k, scale in ((0, "HR", 10, 0.08), (1, "NDCG", 10, 0.04), (2, "catalogue_nll", None, 8.0)):
        for i, method in enumerate(METHODS):
            value = scale * (1 + 0.15 * np.sin(i + m))
            rows.append((method, metric, k, "all", value, value * 0.93, value * 1.07, 256))
    columns = ["method", "metric", "k", "group", "value", "low", "high", "n"]
    return pd.DataFrame(rows, columns=columns).astype({"k": "Int64"})


def groups() -> pd.DataFrame:
    table = comparison().query("metric == 'HR'")
    head, tail = table.assign(group="head"), table.assign(group="tail")
    tail[["value", "low", "high"]] *= 0.4
    return pd.concat([table, head, tail], ignore_index=True)


def decoding() -> pd.DataFrame:
    rows = [
        ("exact", "overlap", 10.0, None, None),
        ("beam_valid", "overlap", 9.4, 9.1, 9.6),
        ("beam_full", "overlap", 1.8, 1.3, 2.3),
        ("exact", "cpu_seconds", 0.31, 0.28, 0.34),
        ("beam_valid", "cpu_seconds", 1.1, 1.0, 1.2),
        ("beam_full", "cpu_seconds", 1.2, 1.1, 1.3),
    ]
    return pd.DataFrame(rows, columns=["method", "metric", "value", "low", "high"])


def changes() -> pd.DataFrame:
    rows = [
        ("Office, NDCG@10\nMSL (w/ ATS) – LML", 0.99, 0.41, 0.12, 0.73, "direction"),
        ("Office, NDCG@10\nMSL (w/o tau) – LML", -0.39, 0.08, -0.15, 0.29, "differs"),
        ("Toy, NDCG@10\nMSL + tuning tau – LML", 0.54, 0.5, 0.4, 0.61, "reproduced"),
    ]
    return pd.DataFrame(rows, columns=["label", "paper", "ours", "ours_low", "ours_high", "status"])


EXAMPLES = {
    "popularity_curve": Example(figures.popularity_curve, popularity()),
    "items_by_frequency": Example(figures.items_by_frequency, frequency()),
    "valid_tokens_by_depth": Example(
        figures.valid_tokens_by_depth, valid_tokens(), {"columns": 2, "width": "text", "ratio": 0.55}
    ),
    "gradient_norms": Example(figures.gradient_norms, norms()),
    "component_training": Example(figures.component_training, training()),
    "sorted_weights": Example(figures.sorted_weights, weights()),
    "small_weight_share_by_position": Example(figures.small_weight_share_by_position, small_weights()),
    "temperature_curve": Example(figures.temperature_curve, temperatures()),
    "temperature_by_dataset": Example(
        figures.temperature_by_dataset,
        pd.concat([temperatures().assign(dataset=name) for name in ("synthetic, 100 items", "msl_toy")]),
        {"columns": 2, "width": "text"},
    ),
    "method_comparison": Example(
        figures.method_comparison, comparison(), {"columns": 3, "width": "text", "ratio": 0.8}
    ),
    "method_comparison_by_group": Example(
        figures.method_comparison, groups(), {"columns": 3, "width": "text", "ratio": 0.8}, {"facet": "group"}
    ),
    "decoding_cost": Example(figures.decoding_cost, decoding(), {"columns": 2, "ratio": 0.9}),
    "paper_against_ours": Example(figures.paper_against_ours, changes()),
    "bound_by_sample": Example(
        figures.bound_by_sample, made_bound.bound(), {"columns": 2, "width": "text", "ratio": 0.7}
    ),
    "logit_distance": Example(figures.logit_distance, made_bound.distances()),
    "temperature_roots": Example(figures.temperature_roots, made_bound.roots(), {"ratio": 1.0}),
    "seed_spread": Example(figures.seed_spread, made_bound.seeds()),
    "accuracy_over_windows": Example(figures.accuracy_over_windows, made_bound.learning_curve()),
    "accuracy_over_cost": Example(
        figures.accuracy_over_cost, made_bound.cost(), {"columns": 2, "width": "text", "ratio": 0.6}
    ),
    "two_popularity_curves": Example(figures.two_popularity_curves, made_longtail.curves()),
    "tail_cells": Example(
        figures.tail_cells, made_longtail.cells(), {"columns": 3, "width": "text", "ratio": 0.8}
    ),
    "matched_contrasts": Example(
        figures.matched_contrasts, made_longtail.matched(), {"width": "text", "ratio": 0.4}
    ),
    "hit_coefficients": Example(
        figures.hit_coefficients, made_longtail.coefficients(), {"columns": 3, "width": "text", "ratio": 0.55}
    ),
    "tail_against_overall": Example(
        figures.tail_against_overall, made_eisam.trade_off(), {"columns": 2, "width": "text", "ratio": 0.8}
    ),
    "sharpness_by_decile": Example(figures.sharpness_by_decile, made_eisam.deciles()),
    "rise_along_lines": Example(
        figures.rise_along_lines,
        made_eisam.lines(),
        {"rows": 2, "columns": 2, "width": "text", "ratio": 0.6},
    ),
    "eisam_sensitivity": Example(
        figures.eisam_sensitivity,
        made_eisam.sensitivity(),
        {"rows": 2, "columns": 3, "width": "text", "ratio": 0.75},
    ),
    "graded_coefficients": Example(
        figures.hit_coefficients,
        made_longtail.coefficients(),
        {"columns": 3, "width": "text", "ratio": 0.55},
        {"unit": "nats per SD"},
    ),
    "gap_by_frequency": Example(figures.gap_by_frequency, made_gap.gaps()),
    "bounds_by_frequency": Example(
        figures.bounds_by_frequency, made_gap.bounds(), {"columns": 2, "width": "text", "ratio": 0.6}
    ),
    "step_cost": Example(figures.step_cost, made_gap.costs(), {"columns": 3, "width": "text", "ratio": 0.8}),
    "comparison_grid": Example(
        figures.comparison_grid,
        made_sequence.grid(),
        {"rows": 2, "columns": 2, "width": "text", "ratio": 0.6},
    ),
    "comparison_grid_without_intervals": Example(
        figures.comparison_grid, made_sequence.ablation(), {"columns": 2, "width": "text", "ratio": 0.5}
    ),
    "accuracy_by_popularity": Example(
        figures.accuracy_by_popularity, made_sequence.by_popularity(), {"columns": 2, "width": "text"}
    ),
    "sensitivity": Example(figures.sensitivity, made_sequence.sweep(), {"columns": 2, "width": "text"}),
    "embedding_spaces": Example(
        figures.embedding_spaces, made_sequence.spaces(), {"columns": 4, "width": "text", "ratio": 1.2}
    ),
    "accuracy_and_cost": Example(figures.accuracy_and_cost, made_sequence.cost()),
    "loss_curves": Example(figures.loss_curves, made_tf_llmer.curves(), {"columns": 2, "width": "text"}),
    "table_distributions": Example(
        figures.table_distributions,
        made_geometry.distributions(),
        {"columns": 3, "width": "text", "ratio": 0.75},
        {"quantity": "length"},
    ),
    "formula_curves": Example(
        figures.formula_curves, made_geometry.formulas(), {"columns": 2, "width": "text", "ratio": 0.7}
    ),
    "norms_through_softmax": Example(
        figures.norms_through_softmax, made_geometry.softmax(), {"columns": 3, "width": "text", "ratio": 0.7}
    ),
    "overlap_by_table": Example(figures.overlap_by_table, made_geometry.overlap()),
    "training_losses": Example(figures.training_losses, made_geometry.losses()),
    "curvature_against_loss": Example(
        figures.curvature_against_loss,
        made_geometry.curvature(),
        {"rows": 2, "columns": 2, "width": "text", "ratio": 0.55},
    ),
    "projection_sweep": Example(
        figures.projection_sweep,
        made_geometry.sweep(),
        {"columns": 3, "width": "text", "ratio": 0.8},
        {"x_label": "weight λ"},
    ),
    "feasible_dimensions": Example(figures.feasible_dimensions, made_geometry.dimensions()),
}
