"""The shape of rows of logits against scipy, row by row."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from reclib.kernels.normality import row_shape
from tests.reference import ragged


def test_moments_and_distance_are_those_of_scipy() -> None:
    generator = np.random.default_rng(0)
    rows = [generator.normal(3, 2, 50), generator.exponential(1, 7), generator.normal(0, 1, 2)]
    valid = ragged([range(len(row)) for row in rows], [4, 0, 1])
    found = row_shape(torch.from_numpy(np.concatenate(rows)), valid)
    for place, (row, target) in enumerate(zip(rows, (4, 0, 1), strict=True)):
        assert float(found.target_gap[place]) == pytest.approx(row[target] - row.mean())
        assert float(found.deviation[place]) == pytest.approx(row.std())
        assert float(found.skewness[place]) == pytest.approx(stats.skew(row), abs=1e-9)
        assert float(found.kurtosis[place]) == pytest.approx(stats.kurtosis(row), abs=1e-9)
        distance = stats.kstest(row, "norm", args=(row.mean(), row.std())).statistic
        assert float(found.distance[place]) == pytest.approx(distance)


def test_equal_logits_have_no_shape() -> None:
    found = row_shape(torch.ones(3), ragged([range(3)], [1]))
    assert float(found.deviation) == 0
    assert found.distance.isnan().all()
