"""All figures by name: `figures.some_figure(table, ax)` draws a tidy table and computes nothing."""

from __future__ import annotations

from reclib.plotting.figures_bound import bounds_by_frequency, gap_by_frequency, step_cost
from reclib.plotting.figures_comparison import decoding_cost, method_comparison, paper_against_ours
from reclib.plotting.figures_data import items_by_frequency, popularity_curve, valid_tokens_by_depth
from reclib.plotting.figures_longtail import (
    hit_coefficients,
    matched_contrasts,
    tail_cells,
    two_popularity_curves,
)
from reclib.plotting.figures_msl import (
    component_training,
    gradient_norms,
    small_weight_share_by_position,
    sorted_weights,
    temperature_curve,
)
from reclib.plotting.figures_sequence import (
    accuracy_and_cost,
    accuracy_by_popularity,
    comparison_grid,
    embedding_spaces,
    sensitivity,
)

__all__ = [
    "accuracy_and_cost",
    "accuracy_by_popularity",
    "bounds_by_frequency",
    "comparison_grid",
    "component_training",
    "decoding_cost",
    "embedding_spaces",
    "gap_by_frequency",
    "gradient_norms",
    "hit_coefficients",
    "items_by_frequency",
    "matched_contrasts",
    "method_comparison",
    "paper_against_ours",
    "popularity_curve",
    "sensitivity",
    "small_weight_share_by_position",
    "sorted_weights",
    "step_cost",
    "tail_cells",
    "temperature_curve",
    "two_popularity_curves",
    "valid_tokens_by_depth",
]
