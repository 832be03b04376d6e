from __future__ import annotations

import numpy as np
import pytest

from reclib.evaluation.power_law import power_law
from reclib.schema import InputError

N = np.repeat(np.array([1.0, 2.0, 5.0, 12.0, 40.0]), 60)


def test_the_exponent_of_a_law_without_noise_is_exact() -> None:
    assert power_law(N, 3 * N**-0.7) == pytest.approx(-0.7, abs=1e-7)


def test_negative_values_do_not_bend_it_as_they_bend_a_line_through_logarithms() -> None:
    generator, found, lines = np.random.default_rng(0), [], []
    for _ in range(40):
        values = 2 * N**-0.6 + generator.normal(size=len(N))
        found.append(float(power_law(N, values)))
        kept = values > 0
        lines.append(np.polyfit(np.log(N[kept]), np.log(values[kept]), 1)[0])
    error = np.std(found) / np.sqrt(40)
    assert abs(np.mean(found) + 0.6) < 3 * error
    assert abs(np.mean(lines) + 0.6) > 0.15


def test_weights_are_how_often_an_item_was_drawn() -> None:
    generator = np.random.default_rng(1)
    values = 2 * N**-0.6 + 0.3 * generator.normal(size=len(N))
    drawn = generator.integers(len(N), size=len(N))
    weights = np.bincount(drawn, minlength=len(N)).astype(float)
    found = power_law(N, values, np.stack([weights, np.ones(len(N))]))
    assert found[0] == pytest.approx(float(power_law(N[drawn], values[drawn])), abs=1e-6)
    assert found[1] == pytest.approx(float(power_law(N, values)), abs=1e-9)


def test_values_without_a_positive_law_have_no_exponent() -> None:
    assert np.isnan(power_law(N, -(N**-0.5)))


@pytest.mark.parametrize(
    ("n", "values", "message"),
    [
        (np.ones(4), np.ones(4), "no slope"),
        (np.arange(4), np.ones(4), "above 0"),
        (np.arange(1, 4), np.ones(4), "one of each"),
    ],
)
def test_what_has_no_slope_is_refused(n: np.ndarray, values: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        power_law(n, values)
