"""Tables of the long tail, against counts that can be checked by eye."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from reclib import config as settings
from reclib import registry
from reclib.analysis import long_tail

COUNTS = np.array([0, 5, 1, 0, 20, 4])  # entry 0 is padding; five items


def test_the_curve_is_sorted_and_ends_at_one() -> None:
    curve = long_tail.popularity_curve(COUNTS)
    assert curve["count"].tolist() == [20, 5, 4, 1, 0]
    assert curve["cumulative_share"].tolist() == pytest.approx([20 / 30, 25 / 30, 29 / 30, 1, 1])
    assert curve["is_head"].tolist() == [True, False, False, False, False], "a fifth of five items"


def test_bins_hold_every_item_and_interaction() -> None:
    bins = long_tail.items_by_frequency(COUNTS, edges=(0, 1, 5, 10))
    assert bins["label"].tolist() == ["0", "1–4", "5–9", "≥10"]
    assert bins["items"].tolist() == [1, 2, 1, 1]
    assert bins["interaction_share"].tolist() == pytest.approx([0, 5 / 30, 5 / 30, 20 / 30])


def test_gini_is_zero_for_equal_items_and_near_one_for_one_item() -> None:
    equal = np.array([0, *[7] * 50])
    single = np.array([0, *[0] * 49, 100])
    assert long_tail.concentration(equal)["gini"] == pytest.approx(0)
    assert long_tail.concentration(single)["gini"] == pytest.approx(1 - 1 / 50)
    assert long_tail.concentration(COUNTS)["unseen"] == pytest.approx(1 / 5)
    assert long_tail.concentration(COUNTS)["below_five"] == pytest.approx(3 / 5)
    assert long_tail.concentration(COUNTS)["head_share"] == pytest.approx(20 / 30)


def test_smoke_reads_no_data_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("RECLIB_DATA", str(tmp_path))
    assert long_tail.config(settings.SMOKE).others == ()
    assert long_tail.config(settings.DEFAULT).others == (), "an empty folder holds none"


def test_table_4_rows_are_the_papers(shared_data: object, tmp_path: object) -> None:
    tables = long_tail.long_tail_step(long_tail.config(settings.PAPER), seed=0, workdir=tmp_path)
    rows = long_tail.printed_rows(tables["summary"])
    registry.record(rows, "01_long_tail_data", profile="paper", folder=tmp_path)
    found = registry.reproduction(tmp_path)
    status = found[found["ours"].notna()].set_index(["dataset", "metric"])["status"]
    counts = [(name, metric) for name in ("Office", "Toy") for metric in ("users", "items", "interactions")]
    assert set(status[counts]) == {"reproduced"}


def two_popularities() -> pd.DataFrame:
    """Four items; the second has no training interaction."""
    return pd.DataFrame(
        {
            "data_popularity": [0.6, 0.0, 0.3, 0.1],
            "prior_popularity": [0.2, 0.5, 0.2, 0.1],
            "data_head": [True, False, False, False],
            "prior_head": [False, True, False, False],
        }
    )


def test_each_of_two_curves_is_sorted_by_its_own_popularity() -> None:
    curves = long_tail.two_curves(two_popularities())
    data, prior = (curves[curves["kind"] == kind] for kind in ("data", "prior"))
    assert data["share"].tolist() == [0.6, 0.3, 0.1, 0.0]
    assert prior["share"].tolist() == [0.5, 0.2, 0.2, 0.1]
    assert data["is_head"].tolist() == prior["is_head"].tolist() == [True, False, False, False]
    assert data["rank"].tolist() == [1, 2, 3, 4]


def test_two_tails_are_as_heavy_as_their_shares() -> None:
    found = long_tail.two_tails(two_popularities()).set_index("kind")
    assert found.loc["data", "head_share"] == pytest.approx(0.6)
    assert found.loc["prior", "head_share"] == pytest.approx(0.5)
    expected = long_tail.concentration(np.array([0, 60, 0, 30, 10]))["gini"]
    assert found.loc["data", "gini"] == pytest.approx(expected)
