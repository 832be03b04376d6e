from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from reclib.config import SharpnessConfig
from reclib.schema import InputError
from reclib.training.item_weights import bucket_radii, item_weights, popularity_buckets

COUNTS = np.array([0, 50, 30, 15, 5, 0])
CONFIG = SharpnessConfig(cap=1e6)


@pytest.mark.parametrize("weight", ["power", "focal", "focal_max", "effective", "rank", "indicator", "prior"])
def test_training_examples_weigh_one_on_average(weight: str) -> None:
    config = replace(CONFIG, weight=weight)  # type: ignore[arg-type]
    prior = np.array([0, 0.5, 0.1, 0.2, 0.1, 0.1])
    weights = item_weights(config, COUNTS, prior=prior).numpy()
    assert weights @ COUNTS / COUNTS.sum() == pytest.approx(1)
    assert weights[0] == 0
    assert np.isfinite(weights).all()
    raw = item_weights(replace(config, is_normalised=False), COUNTS, prior=prior).numpy()
    np.testing.assert_allclose(weights, raw / (raw @ COUNTS / COUNTS.sum()))


def test_an_item_without_examples_weighs_as_one_with_a_single_one() -> None:
    weights = item_weights(CONFIG, np.array([0, 50, 1, 0]))
    assert weights[3] == weights[2] > weights[1]


def test_no_item_weighs_more_than_the_cap() -> None:
    config = replace(CONFIG, gamma=2.0, cap=3.0)
    assert float(item_weights(config, COUNTS).max()) == 3
    assert float(item_weights(replace(config, is_normalised=False, cap=0.5), COUNTS).max()) == 0.5


def test_a_prior_is_needed_for_every_item_and_above_zero() -> None:
    config = replace(CONFIG, weight="prior")
    with pytest.raises(InputError, match="needs the prior popularity of all 5 items"):
        item_weights(config, COUNTS)
    prior = np.array([0, 0.5, 0.1, 0.0, 0.2, 0.2])
    with pytest.raises(InputError, match="item 3: its weight is inf; give it a prior popularity above 0"):
        item_weights(config, COUNTS, prior=prior)
    with pytest.raises(InputError, match="item 2: its weight is nan"):
        item_weights(config, COUNTS, prior=np.array([0, 0.5, np.nan, 0.1, 0.2, 0.2]))


def test_weights_that_reach_no_example_are_refused() -> None:
    config = replace(CONFIG, weight="indicator")
    with pytest.raises(InputError, match="no training example has a weight under 'indicator'"):
        item_weights(config, np.array([0, 10, 0, 0, 0, 0]))


@pytest.mark.parametrize("counts", [[0, 0, 0], [0, -1, 2], [0]])
def test_counts_that_say_nothing_are_refused(counts: list[int]) -> None:
    with pytest.raises(InputError, match="counts of training examples"):
        item_weights(CONFIG, np.array(counts))


def test_buckets_are_of_equal_size_by_popularity() -> None:
    counts = np.array([0, 1, 9, 5, 5, 7, 0, 2])
    # by count: items 2, 5, 3, 4, 7, 1, 6
    assert popularity_buckets(counts, 3)[[2, 5, 3, 4, 7, 1, 6]].tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert popularity_buckets(counts, 3)[0] == -1
    assert sorted(popularity_buckets(counts, 100)[1:].tolist()) == list(range(7))


def test_radii_grow_with_rarity_and_are_the_radius_on_average() -> None:
    config = SharpnessConfig(radius=0.1, radius_exponent=0.25)
    buckets = popularity_buckets(COUNTS, 2)
    radii = np.array(bucket_radii(config, COUNTS, buckets))
    sizes, examples = np.array([95 / 3, 2.5]), np.array([95, 5])
    np.testing.assert_allclose(radii[1] / radii[0], (sizes[1] / sizes[0]) ** -0.25)
    np.testing.assert_allclose(radii @ examples / 100, 0.1)
    assert bucket_radii(replace(config, radius_exponent=0.0), COUNTS, buckets) == [0.1, 0.1]


def test_weights_are_tensors_of_double_precision() -> None:
    assert item_weights(CONFIG, COUNTS).dtype == torch.float64
