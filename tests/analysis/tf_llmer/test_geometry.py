"""Text tables of one catalogue: their poolings, norms, neighbours, starts, and Rec-PCA over λ and d."""

from __future__ import annotations

import numpy as np
import pytest
from torch import nn

from reclib.analysis.tf_llmer import geometry_clusters, geometry_norms, geometry_rec_pca
from reclib.analysis.tf_llmer.geometry import TABLES, uniform_condition, unit_rows
from reclib.analysis.tf_llmer.geometry_starts import (
    ALIGNED,
    PLAIN,
    SHUFFLED,
    item_module,
    one_spectrum,
    reduced,
    spectrum_difference,
)
from reclib.config import TextConfig
from reclib.models.items import NormalisedItems
from reclib.models.text_encoder import load_encoder
from reclib.schema import InputError
from tests.analysis.tf_llmer.geometry_bench import PROFILE, bench


def test_each_pooling_is_a_table_of_its_own_from_one_pass() -> None:
    tables, texts = bench().tables, bench().texts
    assert list(tables) == list(TABLES)
    config = TextConfig(encoder="random", max_tokens=PROFILE.geometry.max_tokens)
    for name, pooling in (("lm_mean", "mean"), ("lm_last", "last_token")):
        encode = load_encoder(config, texts=texts, device="cpu", poolings=(pooling,))
        np.testing.assert_allclose(tables[name][1:], encode(texts), atol=1e-5)
    assert bench().embedded("lm_mean").key == bench().embedded("lm_last").key
    assert bench().embedded("sentence").key != bench().embedded("lm_mean").key


def test_uniform_condition_is_that_of_the_covariance() -> None:
    rows = np.random.default_rng(0).normal(size=(30, 4)) * [3, 2, 1, 1]
    values = np.linalg.eigvalsh(np.cov(rows.T))
    with_gaps = np.concatenate([np.zeros((1, 4)), rows, np.zeros((2, 4))])
    assert uniform_condition(with_gaps) == pytest.approx(values[-1] / values[0])
    np.testing.assert_allclose(np.linalg.norm(unit_rows(with_gaps), axis=1), [0] + [1] * 30 + [0, 0])


def test_norms_are_told_by_stage_with_intervals_around_them() -> None:
    found = geometry_norms.norms_of(bench())
    summary = found["summary"]
    assert list(zip(summary["table"], summary["stage"], strict=True)) == [
        (table, stage) for table in TABLES for stage in ("text", "pca", "rec_pca")
    ]
    for name in ("norm_cv", "mean_cosine"):
        assert (summary[f"{name}_low"] <= summary[name] + 1e-3).all()
        assert (summary[name] - 1e-3 <= summary[f"{name}_high"]).all()
    for histogram, keys in (("lengths", ["table", "stage"]), ("cosines", ["table", "stage", "pairs"])):
        assert found[histogram].groupby(keys)["share"].sum().to_numpy() == pytest.approx(1)


def test_nearest_texts_are_nearer_than_all_pairs() -> None:
    pairs, units = geometry_norms.item_pairs(bench(), "lm_mean", 3, 0), unit_rows(bench().tables["lm_mean"])
    mean = {name: np.einsum("nd,nd->n", units[a], units[b]).mean() for name, (a, b) in pairs.items()}
    assert mean["nearest"] > mean["all"]
    first, second = pairs["together"]
    assert (bench().graph.toarray()[first, second] > 0).all()
    assert all((np.concatenate(each) > 0).all() for each in pairs.values()), "padding is no item"


def test_three_starts_share_spectrum_and_length_and_differ_in_alignment() -> None:
    tables = one_spectrum(bench(), "lm_mean", weight=0.6)
    for rows in tables.values():
        assert spectrum_difference(rows, tables[PLAIN]) < 1e-3
        np.testing.assert_allclose(np.linalg.norm(rows[1:], axis=1), 1, atol=1e-4)
        assert not rows[0].any()
    assert sorted(map(tuple, tables[SHUFFLED])) == sorted(map(tuple, tables[PLAIN]))
    alignment = geometry_clusters.start_table(bench(), 0.6).set_index("start")["kernel_target_alignment"]
    assert alignment[ALIGNED] > alignment[PLAIN]


def test_overlap_has_its_interval_and_its_chance() -> None:
    overlap = geometry_clusters.clusters_of(bench())["overlap"]
    assert overlap["value"].between(overlap["low"], overlap["high"]).all()
    n_items = bench().dataset.n_items
    assert overlap["chance"].unique() == pytest.approx([10 / (n_items - 1)])


@pytest.mark.parametrize("start", ["random", "adapter", "pca", "rec_pca", "shuffled", "plain", "aligned"])
def test_every_start_scores_all_items_and_is_normalised_where_asked(start: str) -> None:
    for scale in (None, 4.0):
        items: nn.Module = item_module(bench(), start, "lm_mean", weight=0.6, scale=scale)
        assert isinstance(items, NormalisedItems) == (scale is not None)
        matrix = items.matrix().detach().numpy()  # type: ignore[operator]
        assert matrix.shape == (bench().dataset.n_items + 1, PROFILE.geometry.backbone.d_model)
        assert not matrix[0].any()
        if scale is not None:
            np.testing.assert_allclose(np.linalg.norm(matrix[1:], axis=1), scale, rtol=1e-4)
    assert np.linalg.norm(reduced(bench(), "lm_mean", weight=0.0)[1:], axis=1).mean() == pytest.approx(1)


def test_an_unknown_start_is_named() -> None:
    with pytest.raises(InputError, match="start 'mine' is unknown: choose one of random, adapter"):
        item_module(bench(), "mine", "lm_mean", weight=0.6, scale=None)


def test_the_sweep_aligns_by_the_graph_and_not_by_a_shuffled_one() -> None:
    found = geometry_rec_pca.sweep_of(bench())
    assert (found["oracle"]["overlap"] > 0.999).all()
    sweep = found["sweep"]
    d = PROFILE.geometry.backbone.d_model
    for table in TABLES:
        rows = sweep[(sweep["table"] == table) & (sweep["d"] == d)].set_index("weight")
        own, placebo = (rows[rows["graph"] == graph] for graph in ("training graph", "shuffled labels"))
        gained = own["kernel_target_alignment"][0.6] - own["kernel_target_alignment"][0.0]
        moved = placebo["kernel_target_alignment"][0.6] - placebo["kernel_target_alignment"][0.0]
        assert gained > max(0.0, moved)
        assert own["overlap"][0.0] == pytest.approx(1)
        assert own["retained_variance"][0.6] < own["retained_variance"][0.0]


def test_feasible_dimensions_fall_and_below_the_safe_weight_there_are_all() -> None:
    space = bench().space("lm_mean")
    limits = geometry_rec_pca.feasible_dimensions(space)
    assert limits["dimensions"].is_monotonic_decreasing
    rank = int((np.linalg.eigvalsh(space.moments.covariance) > 1e-6).sum())
    is_safe = limits["weight"] < limits["safe_weight"]
    assert (limits.loc[is_safe, "dimensions"] >= rank - 1).all()
    d = int(limits["dimensions"].iloc[-1]) + 1
    plain = geometry_rec_pca.pca_directions(space, d)
    assert np.isnan(geometry_rec_pca.measures(space, space, plain, 1.6)["kappa"]), "not feasible"
