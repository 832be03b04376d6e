"""All figures by name: `figures.some_figure(table, ax)` draws a tidy table and computes nothing."""

from __future__ import annotations

from reclib.plotting.figures_bound import bound_by_sample, logit_distance, temperature_roots
from reclib.plotting.figures_comparison import decoding_cost, method_comparison, paper_against_ours
from reclib.plotting.figures_data import items_by_frequency, popularity_curve, valid_tokens_by_depth
from reclib.plotting.figures_eisam import (
    eisam_sensitivity,
    rise_along_lines,
    sharpness_by_decile,
    tail_against_overall,
)
from reclib.plotting.figures_gap import bounds_by_frequency, gap_by_frequency, step_cost
from reclib.plotting.figures_geometry import (
    curvature_against_loss,
    feasible_dimensions,
    formula_curves,
    norms_through_softmax,
    overlap_by_table,
    projection_sweep,
    table_distributions,
    training_losses,
)
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
    temperature_by_dataset,
    temperature_curve,
)
from reclib.plotting.figures_msl_tables import accuracy_over_cost, accuracy_over_windows, seed_spread
from reclib.plotting.figures_sequence import (
    accuracy_and_cost,
    accuracy_by_popularity,
    comparison_grid,
    embedding_spaces,
    sensitivity,
)
from reclib.plotting.figures_tf_llmer import loss_curves

__all__ = [
    "accuracy_and_cost",
    "accuracy_by_popularity",
    "accuracy_over_cost",
    "accuracy_over_windows",
    "bound_by_sample",
    "bounds_by_frequency",
    "comparison_grid",
    "component_training",
    "curvature_against_loss",
    "decoding_cost",
    "eisam_sensitivity",
    "embedding_spaces",
    "feasible_dimensions",
    "formula_curves",
    "gap_by_frequency",
    "gradient_norms",
    "hit_coefficients",
    "items_by_frequency",
    "loss_curves",
    "logit_distance",
    "matched_contrasts",
    "method_comparison",
    "norms_through_softmax",
    "overlap_by_table",
    "paper_against_ours",
    "popularity_curve",
    "projection_sweep",
    "rise_along_lines",
    "seed_spread",
    "sensitivity",
    "sharpness_by_decile",
    "small_weight_share_by_position",
    "sorted_weights",
    "table_distributions",
    "tail_against_overall",
    "step_cost",
    "tail_cells",
    "temperature_by_dataset",
    "temperature_curve",
    "training_losses",
    "temperature_roots",
    "two_popularity_curves",
    "valid_tokens_by_depth",
]
