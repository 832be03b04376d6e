"""Where the best temperature lies: chosen again in each resample, and compared between data sets."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from reclib.analysis.msl import temperature
from reclib.config import ObjectiveConfig, override, profile
from reclib.schema import InputError

GRID = (1.0, 2.0, 4.0)


def values(peak: float, *, noise: float, n_windows: int = 200, n_seeds: int = 3) -> pd.DataFrame:
    """NDCG that falls by 0.1 with each step of the grid away from a peak."""
    generator = np.random.default_rng(round(peak))
    rows = []
    for tau in GRID:
        mean = 0.5 - 0.1 * abs(GRID.index(tau) - GRID.index(peak))
        for seed in range(n_seeds):
            drawn = mean + noise * generator.standard_normal(n_windows)
            about = {"temperature": tau, "seed": seed, "window": range(n_windows), "user": range(n_windows)}
            rows.append(pd.DataFrame({**about, "value": drawn}))
    return pd.concat(rows, ignore_index=True)


def test_the_best_temperature_is_chosen_again_in_each_resample() -> None:
    clear = temperature.best_temperatures(values(2.0, noise=0.01), n_resamples=300)
    assert set(clear) == {2.0}
    noisy = temperature.best_temperatures(values(2.0, noise=3.0), n_resamples=300)
    assert set(noisy) == set(GRID)


def test_resamples_are_those_of_windows_and_seeds_drawn_together() -> None:
    table = values(2.0, noise=0.2, n_windows=6, n_seeds=2)
    chosen = temperature.best_temperatures(table, n_resamples=4000)
    cube = table.pivot(index=["seed", "window"], columns="temperature", values="value").to_numpy()
    cube, generator = cube.reshape(2, 6, 3), np.random.default_rng(1)
    slow = []
    for _ in range(4000):
        windows, seeds = generator.integers(6, size=6), generator.integers(2, size=2)
        slow.append(GRID[int(cube[seeds][:, windows].mean(axis=(0, 1)).argmax())])
    shares = [[np.mean(np.asarray(which) == tau) for tau in GRID] for which in (chosen, slow)]
    np.testing.assert_allclose(*shares, atol=0.035)  # 3 standard errors of a difference of shares


def test_windows_of_a_user_are_drawn_together() -> None:
    table = values(2.0, noise=1.0, n_windows=60, n_seeds=1)
    assert len(set(temperature.best_temperatures(table, n_resamples=300))) > 1
    assert len(set(temperature.best_temperatures(table.assign(user=0), n_resamples=300))) == 1


def test_the_statement_needs_best_temperatures_that_differ_for_sure() -> None:
    sure = {"toy": values(4.0, noise=0.01), "book": values(1.0, noise=0.01)}
    inside, _, found = temperature.findings(sure, n_resamples=200)
    assert (inside["number"], inside["dataset"], inside["holds"]) == ("3a", "toy", False)  # at the end
    assert found["holds"]
    assert (found["number"], found["dataset"]) == ("3b", "toy; book")
    assert (found["value"], found["low"], found["high"]) == (4.0, 4.0, 4.0)
    also_inside, _, same = temperature.findings(
        {"toy": values(2.0, noise=0.01), "book": values(2.0, noise=0.02)}, n_resamples=200
    )
    assert also_inside["holds"]
    assert (also_inside["value"], also_inside["low"], also_inside["high"]) == (2.0, 2.0, 2.0)
    assert not same["holds"]
    assert same["value"] == 1
    noisy = {"toy": values(4.0, noise=6.0), "book": values(1.0, noise=6.0)}
    *_, unsure = temperature.findings(noisy, n_resamples=200)
    assert not unsure["holds"]
    assert unsure["low"] < 1 < unsure["high"]


def test_without_a_hit_there_is_no_best_temperature() -> None:
    missed = values(2.0, noise=0.0).assign(value=0.0)
    found = temperature.findings({"toy": values(2.0, noise=0.01), "book": missed}, n_resamples=50)
    assert [(each["number"], each["dataset"], each["holds"]) for each in found] == [
        ("3a", "toy", True),
        ("3a", "book", False),
        ("3b", "toy; book", False),
    ]
    assert "value" not in found[1]
    table = temperature.best_table({"toy": values(2.0, noise=0.01), "book": missed}, n_resamples=50)
    assert table["best"].isna().tolist() == [False, True]
    assert table["high"].isna().tolist() == [False, True]
    assert found[1]["note"] == "no hit at any temperature"
    assert found[2]["note"] == "no hit at any temperature on one of them"


def test_a_curve_has_a_row_a_temperature_with_its_interval() -> None:
    curve = temperature.curve_table({"toy": values(2.0, noise=0.1)}, n_resamples=200)
    assert curve["temperature"].tolist() == list(GRID)
    assert set(curve["dataset"]) == {"toy"}
    assert curve["value"].idxmax() == 1
    assert ((curve["low"] < curve["value"]) & (curve["value"] < curve["high"])).all()


def test_runs_cover_the_grid_on_two_data_sets() -> None:
    smoke = profile("smoke")
    found = temperature.catalogues(smoke)
    assert list(found) == ["synthetic, 100 items", "synthetic, 60 items"]
    for changed in found.values():
        cells = temperature.cells(changed)
        assert list(cells) == [(1.0, 0), (1.0, 1), (2.0, 0), (2.0, 1)]
        assert cells[2.0, 1].method == ObjectiveConfig(name="msl", temperature=2.0)
    assert [changed.data.synthetic.n_items for changed in found.values()] == [100, 60]
    with pytest.raises(InputError, match="both synthetic, 100 items: name two data sets"):
        temperature.catalogues(override(smoke, **{"msl_tables.temperature_elsewhere.n_items": 100}))


def test_a_statement_is_found_once_for_each_data_set() -> None:
    of_grid = [{"number": "3a", "dataset": "msl_book", "value": 1}, {"number": "3c", "dataset": "msl_book"}]
    found = [{"number": "3a", "dataset": "msl_book", "value": 2}, {"number": "3a", "dataset": "msl_toy"}]
    assert temperature.joined_findings(of_grid, found) == [of_grid[1], *found]
