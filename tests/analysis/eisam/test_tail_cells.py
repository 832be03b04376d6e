"""Cells of the two tails: by hand on a few items, and planted effects that must be found."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from reclib.analysis.eisam.prior_controls import shuffled_prior
from reclib.analysis.eisam.tail_cells import (
    CELLS,
    LOG_ODDS,
    cell_table,
    contrast_table,
    difference_in_differences,
    exposure_table,
    head_flags,
    item_cells,
)
from reclib.data.popularity import is_head
from reclib.evaluation.group_means import GroupMeans, group_means
from reclib.schema import InputError
from tests.analysis.eisam.made_tails import Tails, hits, tails

PRIOR = np.array([0, 9, 1, 8, 1, 1.0])  # five items, heads of two at a share of 0.4
DATA = np.array([0, 7, 9, 1, 1, 1])


def generator() -> np.random.Generator:
    return np.random.default_rng(0)


def means_of(made: Tails, cells: np.ndarray, **methods: np.ndarray) -> GroupMeans:
    return group_means(
        made.table(**methods),
        cells[made.target],
        made.user,
        groups=CELLS,
        generator=generator(),
        n_resamples=300,
    )


def test_an_item_stands_in_the_cell_of_its_two_popularities() -> None:
    assert item_cells(PRIOR, DATA, share=0.4).tolist() == ["", "HH", "TH", "HT", "TT", "TT"]
    np.testing.assert_array_equal(head_flags(DATA, share=0.4), is_head(DATA, 0.4))


def test_a_head_by_mass_is_the_fewest_items_that_hold_it() -> None:
    counts = np.array([0, 1, 5, 3, 1])
    assert head_flags(counts, share=0.5, by="mass").tolist() == [False, False, True, False, False]
    assert head_flags(counts, share=0.6, by="mass").tolist() == [False, False, True, True, False]
    assert head_flags(counts, share=1.0, by="mass").sum() == 4
    assert head_flags(counts / counts.sum(), share=0.8, by="mass").sum() == 2


def test_cells_and_contrasts_by_hand() -> None:
    cells = item_cells(PRIOR, DATA, share=0.4)
    # Targets HH HH, HT HT, TH TH, TT TT with hits 2, 1, 1, 1 of 2.
    target, hit = np.array([1, 1, 3, 3, 2, 2, 4, 5]), np.array([1, 1, 1, 0, 1, 0, 0, 1], dtype=bool)
    made = Tails(DATA, PRIOR, target, np.arange(8))
    means = means_of(made, cells, lml=hit)
    table = cell_table(means, cells)
    assert table["group"].tolist() == list(CELLS)
    assert table["value"].tolist() == [1, 0.5, 0.5, 0.5]
    assert table["n"].tolist() == [2, 2, 2, 2]
    assert table["n_items"].tolist() == [1, 1, 1, 2]
    found = contrast_table(means).set_index("contrast")["value"]
    assert found["prior"] == pytest.approx(0.25)
    assert found["data"] == pytest.approx(0.25)
    assert found["data minus prior"] == pytest.approx(0)
    assert found["prior in the data head"] == pytest.approx(0.5)
    assert found["prior in the data tail"] == pytest.approx(0)
    assert found["interaction"] == pytest.approx(0.5)
    assert found[LOG_ODDS] == pytest.approx(np.log(2.5 / 0.5))


def test_an_empty_cell_takes_only_its_own_contrasts_with_it() -> None:
    cells = item_cells(PRIOR, DATA, share=0.4)
    made = Tails(DATA, PRIOR, np.array([1, 3, 4, 4]), np.arange(4))
    means = means_of(made, cells, lml=np.array([True, True, False, False]))
    table = cell_table(means, cells).set_index("group")
    assert table.loc["TH", ["value", "low", "high"]].isna().all()
    assert table.loc["TH", "n"] == 0
    found = contrast_table(means).set_index("contrast")
    assert found.loc["prior in the data tail", "value"] == 1
    assert found.loc[["interaction", "prior in the data head"], "value"].isna().all()


def test_log_odds_are_of_hit_rates_only() -> None:
    made = tails(n_users=50)
    table = made.table(lml=np.arange(len(made.target)) % 3 == 0).assign(metric="NDCG")
    cells = item_cells(made.prior, made.counts)
    means = group_means(
        table, cells[made.target], made.user, groups=CELLS, generator=generator(), n_resamples=9
    )
    assert LOG_ODDS not in set(contrast_table(means)["contrast"])


@pytest.fixture(scope="module")
def planted() -> tuple[Tails, np.ndarray, dict[str, np.ndarray]]:
    """An LM whose hits depend on both popularities, and an ID model's on the data's alone."""
    made = tails(n_users=4000)
    cells = item_cells(made.prior, made.counts)
    is_prior_head, is_data_head = (
        np.isin(cells[made.target], names) for names in (["HH", "HT"], ["HH", "TH"])
    )
    logit = -2 + 1.5 * is_data_head + 0.5 * is_prior_head
    both = logit + 0.8 * (is_prior_head & is_data_head)
    methods = {
        "lml": hits(both, made.user, seed=1),
        "msl": hits(logit, made.user, seed=2),
        "sasrec": hits(-2 + 1.5 * is_data_head, made.user, seed=3),
    }
    return made, cells, methods


def test_planted_effects_are_found_with_their_sign_and_scale(
    planted: tuple[Tails, np.ndarray, dict[str, np.ndarray]],
) -> None:
    made, cells, methods = planted
    found = contrast_table(means_of(made, cells, **methods)).set_index(["method", "contrast"])
    odds = found.xs(LOG_ODDS, level="contrast")
    assert odds.loc["lml", "low"] < 0.8 < odds.loc["lml", "high"]
    assert odds.loc["lml", "low"] > 0
    assert odds.loc["msl", "low"] < 0 < odds.loc["msl", "high"], "no interaction on this scale was planted"
    additive = found.xs("interaction", level="contrast")
    assert additive.loc["msl", "value"] > 0, "on the additive scale there is one: the two can disagree"
    prior = found.xs("prior in the data tail", level="contrast")
    assert prior.loc["lml", "low"] > 0
    assert prior.loc["sasrec", "low"] < 0 < prior.loc["sasrec", "high"]
    assert (found.xs("data minus prior", level="contrast")["low"] > 0).all()


def test_the_difference_to_an_id_model_leaves_the_prior_effect_and_drops_the_datas(
    planted: tuple[Tails, np.ndarray, dict[str, np.ndarray]],
) -> None:
    made, cells, methods = planted
    means = means_of(made, cells, **methods)
    found = difference_in_differences(means, reference="sasrec").set_index(["method", "contrast"])
    assert found.loc[("lml", "prior in the data tail"), "low"] > 0
    assert found.loc[("msl", "prior"), "low"] > 0
    own = contrast_table(means).set_index(["method", "contrast"])["value"]
    for contrast in ("prior", "interaction"):
        expected = own[("lml", contrast)] - own[("sasrec", contrast)]
        assert found.loc[("lml", contrast), "value"] == pytest.approx(expected)
    same = means_of(made, cells, lml=methods["sasrec"], sasrec=methods["sasrec"])
    nothing = difference_in_differences(same, reference="sasrec")
    assert not nothing["value"].any()
    assert nothing[["low", "high"]].isna().all(axis=None)
    with pytest.raises(InputError, match="no method 'gru4rec'"):
        difference_in_differences(means, reference="gru4rec")
    with pytest.raises(InputError, match="needs another method"):
        difference_in_differences(means.of("sasrec"), reference="sasrec")


def test_a_placebo_shows_no_effect_of_the_prior(
    planted: tuple[Tails, np.ndarray, dict[str, np.ndarray]],
) -> None:
    made, _, methods = planted
    placebo = shuffled_prior(made.prior, made.counts, generator=generator(), smallest_group=20)
    cells = item_cells(placebo, made.counts)
    means = means_of(made, cells, **methods)
    found = difference_in_differences(means, reference="sasrec").set_index(["method", "contrast"])
    for contrast in ("prior in the data head", "prior in the data tail"):
        row = found.loc[("msl", contrast)]
        assert row["low"] < 0 < row["high"]


def test_exposure_by_hand() -> None:
    cells = item_cells(PRIOR, DATA, share=0.4)
    target = np.array([1, 2, 3, 4])  # one of each cell
    lists = {"lml": np.array([[1, 2], [1, 0], [1, 4], [5, 0]])}
    table = exposure_table(lists, target, np.arange(4), cells, (1, 2), generator=generator(), n_resamples=50)
    first, second = (table[table["k"] == k].set_index("group")["value"] for k in (1, 2))
    assert first.to_dict() == pytest.approx({"HH": 3, "HT": 0, "TH": 0, "TT": 1})
    assert second.to_dict() == pytest.approx({"HH": 2, "HT": 0, "TH": 4 / 6, "TT": 8 / 6})
    assert table["metric"].unique().tolist() == ["exposure_ratio"]
    assert table["n"].tolist() == [1] * 8


def test_lists_in_proportion_to_the_targets_have_a_ratio_of_one() -> None:
    made = tails()
    cells = item_cells(made.prior, made.counts)
    table = exposure_table(
        {"lml": made.target[:, None]},
        made.target,
        made.user,
        cells,
        (1,),
        generator=generator(),
        n_resamples=20,
    )
    np.testing.assert_allclose(table["value"], 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"share": 0.0}, "head of share 0.0"),
        ({"by": "users"}, "by 'users'"),
        ({"popularity": np.array([0, 1, np.nan])}, "negative, NaN or zero"),
        ({"popularity": np.array([0, 1, -1])}, "negative, NaN or zero"),
        ({"popularity": np.zeros(4)}, "negative, NaN or zero"),
    ],
)
def test_bad_popularities_are_refused(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        head_flags(**({"popularity": DATA} | options))


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(InputError, match="two of the same items"):
        item_cells(PRIOR, DATA[1:])
    cells = item_cells(PRIOR, DATA)
    lists = {"lml": np.array([[1, 2]])}
    for items, target in ((lists, np.array([1, 2])), ({"lml": np.array([[6, 1]])}, np.array([1]))):
        with pytest.raises(InputError, match="lists of lml are of other windows or of another catalogue"):
            exposure_table(items, target, np.arange(len(target)), cells, (1,), generator=generator())
    made = tails(n_users=10)
    means = group_means(
        made.table(lml=made.target > 3),
        ["x"] * len(made.target),
        made.user,
        groups=["x"],
        generator=generator(),
    )
    with pytest.raises(InputError, match="contrasts are of the cells"):
        contrast_table(means)
    table = made.table(lml=made.target > 3, sasrec=made.target > 5)
    more = pd.concat([table, table[table["method"] == "lml"].assign(metric="NDCG")])
    cells = item_cells(made.prior, made.counts)
    both = group_means(more, cells[made.target], made.user, groups=CELLS, generator=generator())
    with pytest.raises(InputError, match="same metrics in the same order"):
        difference_in_differences(both, reference="sasrec")
