from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from reclib.analysis.eisam.prior_controls import (
    agreement_table,
    correlation_table,
    shuffled_prior,
    stability_table,
)
from reclib.schema import InputError


def generator() -> np.random.Generator:
    return np.random.default_rng(0)


def made(n_items: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Counts and a prior that go together, (N+1,)."""
    draws = generator()
    counts = np.append(0, draws.zipf(1.5, size=n_items).clip(max=500))
    return np.append(0, np.exp(np.log(counts[1:]) + draws.normal(size=n_items))), counts


def test_the_correlation_with_the_data_is_told_with_and_without_ambiguous_titles() -> None:
    prior, counts = made()
    is_ambiguous = np.arange(200) < 50
    items = pd.DataFrame({"prior_popularity": prior[1:], "count": counts[1:], "is_ambiguous": is_ambiguous})
    table = correlation_table(items, generator=generator(), n_resamples=50)
    assert table["items"].tolist() == ["all", "unambiguous"]
    assert table["n"].tolist() == [200, 150]
    for row, chosen in zip(table.to_dict("records"), (slice(1, None), slice(51, None)), strict=True):
        expected = scipy.stats.spearmanr(prior[chosen], counts[chosen]).statistic
        assert row["value"] == pytest.approx(expected)
        assert row["low"] < row["value"] < row["high"]
    only = correlation_table(items.assign(is_ambiguous=True), generator=generator(), n_resamples=5)
    assert only["items"].tolist() == ["all"]


def test_stable_templates_are_told_from_unstable_ones() -> None:
    base = generator().normal(size=101)
    log_prior = np.stack([base, base + 0.01 * generator().normal(size=101), generator().permutation(base)])
    table = stability_table(log_prior, ["a", "b", "c"], generator=generator(), n_resamples=20)
    pairs = table.set_index(["template", "other"])["is_stable"].to_dict()
    assert pairs == {("a", "b"): True, ("a", "c"): False, ("b", "c"): False}
    assert stability_table(log_prior[:1], ["a"], generator=generator()).empty


def test_measures_are_compared_where_both_have_a_number() -> None:
    own = np.arange(30.0)
    other = -own
    other[:5] = np.nan
    table = agreement_table(
        {"primary": own, "other": other, "same": own**3}, "primary", generator=generator(), n_resamples=10
    )
    assert table["measure"].tolist() == ["other", "same"]
    assert table["value"].tolist() == pytest.approx([-1, 1])
    assert table["n"].tolist() == [25, 30]
    few = np.where(own < 2, own, np.nan)
    table = agreement_table({"primary": own, "few": few}, "primary", generator=generator())
    assert table["n"].tolist() == [2]
    assert table[["value", "low", "high"]].isna().all(axis=None)
    with pytest.raises(InputError, match="no measure 'mine'"):
        agreement_table({"primary": own}, "mine", generator=generator())


def test_the_placebo_moves_values_among_items_of_one_count_only() -> None:
    prior, counts = made()
    shuffled = shuffled_prior(prior, counts, generator=generator())
    assert not np.array_equal(shuffled, prior)
    for count in np.unique(counts[1:]):
        members = counts == count
        members[0] = False
        np.testing.assert_array_equal(np.sort(shuffled[members]), np.sort(prior[members]))
    assert shuffled[0] == prior[0]
    distinct = np.arange(201)
    np.testing.assert_array_equal(shuffled_prior(prior, distinct, generator=generator()), prior)


@pytest.mark.parametrize("smallest", [2, 7, 1000])
def test_a_smallest_group_moves_items_of_near_counts_too(smallest: int) -> None:
    prior, counts = made()
    counts = np.append(0, generator().permutation(200) * 3)  # all distinct
    shuffled = shuffled_prior(prior, counts, generator=generator(), smallest_group=smallest)
    np.testing.assert_array_equal(np.sort(shuffled), np.sort(prior))
    order = np.argsort(counts[1:]) + 1
    place = {value: at for at, value in enumerate(prior[order])}
    moved = np.array([abs(place[value] - at) for at, value in enumerate(shuffled[order])])
    assert moved.max() < 2 * smallest
    assert (moved > 0).mean() > 0.3


def test_bad_input_is_refused() -> None:
    prior, counts = made()
    with pytest.raises(InputError, match="one value an item"):
        shuffled_prior(prior, counts[1:], generator=generator())
    with pytest.raises(InputError, match="groups of 1 or more"):
        shuffled_prior(prior, counts, generator=generator(), smallest_group=0)
