"""A made catalogue whose structure is known: titles that share prefixes, Zipf popularity, Markov users."""

from __future__ import annotations

import numpy as np
import pandas as pd

from reclib.config import SyntheticConfig
from reclib.schema import InputError
from reclib.seeding import numpy_generator

_FIRST = ("Silver", "Hidden", "Broken", "Golden", "Silent", "Crimson", "Lost", "Winter", "Iron", "Paper")
_SECOND = ("River", "Garden", "Harbor", "Mountain", "Letter", "Crown", "Station", "Forest", "Mirror", "Road")
_PART = ("Return", "Secret", "Shadow", "Promise", "Voyage", "Night", "Song", "Trial", "Heir", "Storm")
_START = 1_500_000_000  # unix seconds of the first interaction
_DAY = 86_400


def generate(config: SyntheticConfig, *, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Interactions (user_id, item_id, timestamp) and items (item_id, title) of a made data set.

    Popularity of item r is proportional to r^(−zipf_exponent). A user's next item is, with probability
    `learnability`, a fixed function of the last one (a random cycle through the catalogue), and otherwise
    drawn by popularity: at 0 nothing can be learned but popularity, at 1 everything. Times increase.

    Raises InputError for sizes below 1 or a knob outside [0, 1].
    """
    if min(config.n_users, config.n_items, config.mean_length) < 1:
        raise InputError(f"synthetic sizes are at least 1: {config}")
    if not (0 <= config.learnability <= 1 and 0 <= config.shared_prefix <= 1):
        raise InputError(f"learnability and shared_prefix lie in [0, 1]: {config}")
    items = pd.DataFrame({"item_id": np.arange(1, config.n_items + 1), "title": _titles(config, seed)})
    return _interactions(config, seed), items


def _titles(config: SyntheticConfig, seed: int) -> list[str]:
    """Distinct titles: series ("Silver River 2: Night") and single ones ("Silver River: Night").

    A `shared_prefix` share of the items belongs to a series; words are drawn, numbers keep titles distinct.
    """
    generator = numpy_generator(seed, "synthetic titles")
    n_series = max(1, round(config.n_items * config.shared_prefix / 4))
    in_series = generator.random(config.n_items) < config.shared_prefix
    pair = np.where(
        in_series, generator.integers(n_series, size=config.n_items), n_series + np.arange(config.n_items)
    )
    seen: dict[str, int] = {}
    titles = []
    for number, part in zip(pair, generator.integers(len(_PART), size=config.n_items), strict=True):
        words = f"{_FIRST[number % 10]} {_SECOND[number // 10 % 10]}"
        name = words if number < 100 else f"{words} {number // 100 + 1}"
        title = f"{name}: {_PART[part]}"
        seen[title] = seen.get(title, 0) + 1
        titles.append(title if seen[title] == 1 else f"{title} {seen[title]}")
    return titles


def _interactions(config: SyntheticConfig, seed: int) -> pd.DataFrame:
    generator = numpy_generator(seed, "synthetic interactions")
    weight = np.arange(1, config.n_items + 1, dtype=float) ** -config.zipf_exponent
    cumulative = np.cumsum(weight / weight.sum())
    cycle = generator.permutation(config.n_items)
    following = np.empty(config.n_items, dtype=np.int64)
    following[cycle] = np.roll(cycle, -1)
    lengths = np.maximum(2, generator.poisson(config.mean_length, config.n_users))
    drawn = np.searchsorted(cumulative, generator.random((config.n_users, lengths.max())), side="right")
    sequence = np.minimum(drawn, config.n_items - 1)
    is_learnable = generator.random(sequence.shape) < config.learnability
    for step in range(1, sequence.shape[1]):
        sequence[:, step] = np.where(
            is_learnable[:, step], following[sequence[:, step - 1]], sequence[:, step]
        )
    is_there = np.arange(sequence.shape[1]) < lengths[:, None]
    gaps = generator.exponential(10 * _DAY, sequence.shape)
    begin = generator.uniform(0, 365 * _DAY, config.n_users)
    time = np.floor(_START + begin[:, None] + np.cumsum(gaps, axis=1))
    user = np.broadcast_to(np.arange(1, config.n_users + 1)[:, None], sequence.shape)
    return pd.DataFrame(
        {"user_id": user[is_there], "item_id": sequence[is_there] + 1, "timestamp": time[is_there]}
    )
