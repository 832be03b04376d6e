from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pandas as pd
import pytest

from reclib.config import DataConfig, SyntheticConfig
from reclib.data.dataset import Dataset
from reclib.data.load import load
from reclib.data.synthetic import generate

# Enough users that an accuracy has a standard error below 0.01.
CONFIG = SyntheticConfig(n_users=1_000, n_items=100, mean_length=12)


def made(learnability: float, *, seed: int = 0) -> Dataset:
    synthetic = SyntheticConfig(n_users=1_000, n_items=100, mean_length=12, learnability=learnability)
    return load(DataConfig(source="synthetic", history_length=4, synthetic=synthetic), seed=seed)


def accuracies(dataset: Dataset) -> tuple[float, float]:
    """Share of test targets that are the last item's most frequent successor, and the most popular item."""
    train, test = dataset.train, dataset.test
    successors: dict[int, Counter[int]] = defaultdict(Counter)
    for last, target in zip(train.history[:, -1].tolist(), train.target_idx.tolist(), strict=True):
        successors[last][target] += 1
    best = {last: counts.most_common(1)[0][0] for last, counts in successors.items()}
    guess = np.array([best.get(last, 0) for last in test.history[:, -1].tolist()])
    popular = Counter(train.target_idx.tolist()).most_common(1)[0][0]
    return float((guess == test.target_idx).mean()), float((test.target_idx == popular).mean())


def test_at_one_the_last_item_decides() -> None:
    by_last_item, by_popularity = accuracies(made(1.0))
    assert by_last_item > 0.99  # an item may be missing from the training windows
    assert by_popularity < 0.2


def test_at_zero_the_last_item_says_nothing() -> None:
    by_last_item, by_popularity = accuracies(made(0.0))
    assert by_last_item <= by_popularity + 0.03  # three standard errors of 450 test windows


def test_between_the_ends_the_knob_is_the_accuracy() -> None:
    by_last_item, _ = accuracies(made(0.6))
    assert by_last_item == pytest.approx(0.6, abs=0.06)


@pytest.mark.parametrize("learnability", [0.0, 0.8, 1.0])
def test_popularity_keeps_a_long_tail(learnability: float) -> None:
    """The top fifth of 100 Zipf items has 0.69 of the draws; cycles of 24 items blur that a little."""
    config = SyntheticConfig(n_users=1_000, n_items=100, mean_length=12, learnability=learnability)
    interactions, _ = generate(config, seed=1)
    counts = interactions["item_id"].value_counts().to_numpy()
    assert 0.5 < counts[:20].sum() / counts.sum() < 0.75


def test_without_exponent_all_items_are_equally_popular() -> None:
    config = SyntheticConfig(n_users=1_000, n_items=20, learnability=0.0, zipf_exponent=0.0)
    counts = generate(config, seed=0)[0]["item_id"].value_counts().to_numpy()
    assert counts.max() / counts.min() < 1.3


def test_popularity_does_not_show_in_the_catalogues_order() -> None:
    interactions, items = generate(CONFIG, seed=0)
    counts = interactions["item_id"].value_counts().reindex(items["item_id"]).fillna(0).to_numpy()
    assert abs(np.corrcoef(np.arange(100), counts)[0, 1]) < 0.35


def test_times_of_a_user_increase_and_lengths_are_as_asked() -> None:
    interactions, _ = generate(CONFIG, seed=0)
    by_user = interactions.groupby("user_id", observed=True)["timestamp"]
    assert by_user.apply(lambda times: (times.diff().dropna() > 0).all()).all()
    assert by_user.size().mean() == pytest.approx(12, abs=0.4)  # Poisson: 3.5 / √1000, times three


def test_few_users_meet_an_item_again() -> None:
    interactions, _ = generate(SyntheticConfig(n_users=500, learnability=1.0), seed=0)
    assert interactions.duplicated(["user_id", "item_id"]).mean() < 0.01


@pytest.mark.parametrize("n_items", [1, 3, 100, 5_000])
def test_titles_are_distinct(n_items: int) -> None:
    _, items = generate(SyntheticConfig(n_users=5, n_items=n_items), seed=0)
    assert len(items) == n_items
    assert items["title"].is_unique
    assert (items["title"].str.strip() == items["title"]).all()


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_share_of_the_titles_begins_like_another(share: float) -> None:
    _, items = generate(SyntheticConfig(n_users=5, n_items=400, shared_prefix=share), seed=0)
    series = items["title"].str.extract(r"^(.+) \d+: ")[0]
    assert series.notna().mean() == pytest.approx(share, abs=0.01)
    assert (series.dropna().value_counts() >= 4).all()


def test_a_seed_gives_one_data_set() -> None:
    first, second = (generate(CONFIG, seed=0) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        pd.testing.assert_frame_equal(one, other)
    assert made(0.5, seed=0).fingerprint != made(0.5, seed=1).fingerprint


def test_informative_titles_put_the_parts_of_a_series_behind_each_other() -> None:
    def share_in_series(informative: float) -> float:
        """Share of the steps from an item to its most frequent successor that stay in a series."""
        made = SyntheticConfig(
            n_users=2_000, learnability=1.0, shared_prefix=1.0, informative_titles=informative
        )
        interactions, items = generate(made, seed=0)
        names = items.set_index("item_id")["title"].str.replace(r" \d+: .*", "", regex=True)
        series = interactions["item_id"].map(names)
        same_user = interactions["user_id"].eq(interactions["user_id"].shift())
        return float(series.eq(series.shift())[same_user].mean())

    assert share_in_series(0.0) < 0.1
    assert share_in_series(1.0) > 0.65  # three of the four steps from a part of four, but for cycles' ends
    assert share_in_series(0.0) < share_in_series(0.7) < share_in_series(1.0)


def test_titles_are_the_same_set_however_informative() -> None:
    scattered, arranged = (
        generate(SyntheticConfig(informative_titles=share), seed=0) for share in (0.0, 0.8)
    )
    assert sorted(scattered[1]["title"]) == sorted(arranged[1]["title"])
    pd.testing.assert_frame_equal(scattered[0], arranged[0])
