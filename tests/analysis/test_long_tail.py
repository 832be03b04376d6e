"""Tables of the long tail, against counts that can be checked by eye."""

from __future__ import annotations

import numpy as np
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
