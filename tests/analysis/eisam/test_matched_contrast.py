from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from reclib.analysis.eisam.matched_contrast import POOLED, matched_contrast, popularity_deciles
from reclib.analysis.eisam.prior_controls import shuffled_prior
from reclib.analysis.eisam.tail_cells import head_flags
from reclib.schema import InputError
from tests.analysis.eisam.made_tails import Tails, hits, tails


def generator() -> np.random.Generator:
    return np.random.default_rng(0)


def contrast(made: Tails, hit: np.ndarray, prior: np.ndarray, **options: object) -> pd.DataFrame:
    return matched_contrast(
        made.table(lml=hit),
        made.target,
        made.user,
        prior_head=head_flags(prior),
        counts=made.counts,
        generator=generator(),
        n_resamples=200,
        **options,
    )


def test_deciles_hold_a_tenth_each_and_keep_equal_counts_together() -> None:
    counts = np.append(0, generator().permutation(100))
    deciles = popularity_deciles(counts)
    assert deciles[0] == 0
    assert np.bincount(deciles).tolist() == [1, *[10] * 10]
    assert counts[1:][deciles[1:] == 1].max() < counts[1:][deciles[1:] == 2].min()
    tied = popularity_deciles(np.array([0, 1, 1, 1, 1, 1, 1, 1, 1, 5, 9]))
    assert len(set(tied[1:9])) == 1
    assert tied[10] == 10
    assert set(popularity_deciles(np.array([0, 3, 3]), n_groups=1)) == {0, 1}


def test_by_hand() -> None:
    counts = np.array([0, 1, 1, 9, 9])
    made = Tails(counts, np.array([0, 4, 1, 3, 1.0]), np.array([1, 1, 2, 2, 3, 3, 3, 4]), np.arange(8))
    hit = np.array([1, 1, 1, 0, 1, 0, 0, 0], dtype=bool)
    table = matched_contrast(
        made.table(lml=hit),
        made.target,
        made.user,
        prior_head=head_flags(made.prior, share=0.5),
        counts=counts,
        generator=generator(),
        n_groups=2,
        n_resamples=50,
    ).set_index("group")
    assert table.loc["1", "value"] == pytest.approx(1 - 0.5)
    assert table.loc["2", "value"] == pytest.approx(1 / 3 - 0)
    weights = np.array([2 * 2 / 4, 3 * 1 / 4])
    assert table.loc[POOLED, "value"] == pytest.approx(np.average([0.5, 1 / 3], weights=weights))
    assert table[["n_head", "n_tail"]].to_numpy().tolist() == [[2, 2], [3, 1], [5, 3]]
    assert table[["count_low", "count_high"]].to_numpy().tolist() == [[1, 1], [9, 9], [1, 9]]


@pytest.fixture(scope="module")
def made() -> Tails:
    return tails(n_users=4000, together=0.6)


def test_an_effect_of_the_prior_is_found_within_deciles(made: Tails) -> None:
    head = head_flags(made.prior)[made.target]
    effect = 0.1
    chance = 0.1 + 0.03 * popularity_deciles(made.counts)[made.target] + effect * head
    hit = hits(np.log(chance / (1 - chance)), made.user, seed=1)
    pooled = contrast(made, hit, made.prior).set_index("group").loc[POOLED]
    assert pooled["low"] < effect < pooled["high"]
    assert pooled["low"] > 0


def test_an_effect_of_the_data_alone_is_none_although_the_tails_correlate(made: Tails) -> None:
    chance = 0.1 + 0.06 * popularity_deciles(made.counts)[made.target]
    hit = hits(np.log(chance / (1 - chance)), made.user, seed=2)
    head = head_flags(made.prior)[made.target]
    assert hit[head].mean() - hit[~head].mean() > 0.1, "the plain difference is confounded"
    pooled = contrast(made, hit, made.prior).set_index("group").loc[POOLED]
    assert pooled["low"] < 0 < pooled["high"]


def test_a_placebo_shows_none(made: Tails) -> None:
    head = head_flags(made.prior)[made.target]
    hit = hits(-1.5 + 0.1 * popularity_deciles(made.counts)[made.target] + head, made.user, seed=3)
    real = contrast(made, hit, made.prior).set_index("group").loc[POOLED]
    placebo = shuffled_prior(made.prior, made.counts, generator=generator(), smallest_group=20)
    shown = contrast(made, hit, placebo).set_index("group").loc[POOLED]
    assert real["low"] > 0.1
    assert shown["low"] < 0.02
    assert abs(shown["value"]) < 0.2 * real["value"]


def test_deciles_without_one_kind_are_left_out_of_the_pool() -> None:
    counts = np.array([0, 1, 1, 9, 9])
    made = Tails(counts, np.array([0, 4, 1, 3, 3.0]), np.array([1, 2, 3, 4]), np.arange(4))
    flags = np.array([False, True, False, True, True])
    table = matched_contrast(
        made.table(lml=np.array([True, False, True, True])),
        made.target,
        made.user,
        prior_head=flags,
        counts=counts,
        generator=generator(),
        n_groups=2,
        n_resamples=20,
    ).set_index("group")
    assert table.loc["2", ["value", "low", "high"]].isna().all()
    assert table.loc[POOLED, "value"] == 1
    assert table.loc[POOLED, ["n_head", "n_tail"]].tolist() == [1, 1]


def test_bad_input_is_refused() -> None:
    made = tails(n_users=5)
    with pytest.raises(InputError, match="n_groups is 0"):
        popularity_deciles(made.counts, n_groups=0)
    nowhere = np.zeros(len(made.counts), dtype=bool)
    options = {"counts": made.counts, "generator": generator(), "n_resamples": 5}
    table = made.table(lml=made.target > 3)
    with pytest.raises(InputError, match="no decile has test examples"):
        matched_contrast(table, made.target, made.user, prior_head=nowhere, **options)
    with pytest.raises(InputError, match="pass one of each an item"):
        matched_contrast(table, made.target, made.user, prior_head=nowhere[1:], **options)
