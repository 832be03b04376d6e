"""A made catalogue whose structure is known: titles that share prefixes, Zipf popularity, Markov users."""

from __future__ import annotations

import numpy as np
import pandas as pd

from reclib.config import SyntheticConfig
from reclib.schema import ITEM_ID, TIMESTAMP, TITLE, USER_ID
from reclib.seeding import numpy_generator

_ADJECTIVES = (
    "Silver",
    "Hidden",
    "Broken",
    "Golden",
    "Silent",
    "Crimson",
    "Lost",
    "Winter",
    "Iron",
    "Paper",
    "Distant",
    "Hollow",
    "Burning",
    "Quiet",
    "Last",
    "Little",
)
_NOUNS = (
    "River",
    "Garden",
    "Harbor",
    "Mountain",
    "Letter",
    "Crown",
    "Station",
    "Forest",
    "Mirror",
    "Road",
    "Island",
    "Tower",
    "Lantern",
    "Bridge",
    "Orchard",
    "Sea",
)
_PARTS = (
    "Return",
    "Secret",
    "Shadow",
    "Promise",
    "Voyage",
    "Night",
    "Song",
    "Trial",
    "Heir",
    "Storm",
    "Escape",
    "Daughter",
    "Map",
    "Winter",
    "Oath",
    "Stranger",
)
_SERIES = 4  # items of a series
_START = 1_500_000_000  # unix seconds of the first interaction
_DAY = 86_400


def generate(config: SyntheticConfig, *, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Interactions (user_id, item_id, timestamp) and items (item_id, title) of a made data set.

    The item of popularity rank r is drawn with a probability proportional to r^(−zipf_exponent). A user's
    next item is, with probability `learnability`, a fixed function of the last one, and otherwise drawn so:
    at 0 nothing can be learned but popularity, at 1 the last item decides. The function leads around cycles
    of items of neighbouring popularity, twice as long as a mean user, so that popularity stays long-tailed
    and few users meet an item again. Times increase. An `informative_titles` share of the titles stands in
    the order of that function, series by series.
    """
    item_id = pd.RangeIndex(1, config.n_items + 1).astype(str)
    rank, time, is_there, following = _sequences(config, numpy_generator(seed, "synthetic interactions"))
    # Popularity must not show in the order of the catalogue, by which ties are broken.
    item_at = numpy_generator(seed, "synthetic popularity").permutation(config.n_items)
    item = item_at[rank]
    titles = _arranged(_titles(config, seed), item_at[_walk(following)], config, seed)
    items = pd.DataFrame({ITEM_ID: item_id, TITLE: titles})
    user = np.broadcast_to(np.arange(config.n_users)[:, None], rank.shape)
    users = pd.RangeIndex(1, config.n_users + 1).astype(str)
    interactions = pd.DataFrame(
        {
            USER_ID: pd.Categorical.from_codes(user[is_there], users),
            ITEM_ID: pd.Categorical.from_codes(item[is_there], item_id),
            TIMESTAMP: time[is_there],
        }
    )
    return interactions, items


def _titles(config: SyntheticConfig, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Distinct titles, (N,): "Silver Lost River 2: Night" in a series of four or more, "Paper Road: Voyage".

    A `shared_prefix` share of them belongs to series, and these come first, series by series.
    Returns them and the order that scatters them over the catalogue.
    """
    generator = numpy_generator(seed, "synthetic titles")
    n_items, n_in_series = config.n_items, round(config.n_items * config.shared_prefix)
    n_series = n_in_series // _SERIES
    n_in_series = n_in_series if n_series else 0
    place = np.arange(n_items)
    series = np.minimum(place // _SERIES, n_series - 1)
    name = np.where(place < n_in_series, series, n_series + place - n_in_series)
    names = _names(name[-1] + 1, generator)[name]
    part = np.array(_PARTS, dtype=object)[generator.integers(len(_PARTS), size=n_items)]
    number = np.array([f" {n}" for n in place - _SERIES * series + 1], dtype=object)
    titles = names + np.where(place < n_in_series, number, "") + ": " + part
    return titles, generator.permutation(n_items)


def _arranged(
    made: tuple[np.ndarray, np.ndarray], walk: np.ndarray, config: SyntheticConfig, seed: int
) -> list[str]:
    """Titles by item: scattered, but for an `informative_titles` share that lies along a walk."""
    titles, scattered = made
    which = scattered.copy()  # (N,) title of each item
    if config.informative_titles:
        generator = numpy_generator(seed, "synthetic informative titles")
        which[walk] = np.arange(config.n_items)
        moved = np.flatnonzero(generator.random(config.n_items) >= config.informative_titles)
        which[moved] = which[generator.permutation(moved)]
    return titles[which].tolist()


def _walk(following: np.ndarray) -> np.ndarray:
    """Every place once, (N,), each after the one whose successor it is, cycle by cycle."""
    walk, seen = np.empty_like(following), np.zeros(len(following), dtype=bool)
    place = 0
    for start in range(len(following)):
        while not seen[start]:
            seen[start], walk[place] = True, start
            start, place = following[start], place + 1
    return walk


def _names(count: int, generator: np.random.Generator) -> np.ndarray:
    """Distinct names, (count,) objects: a noun after as many adjectives as it takes."""
    n_words, base = 2, len(_NOUNS)
    while base**n_words < 4 * count:
        n_words += 1
    code = generator.choice(base**n_words, count, replace=False)
    names = np.array(_NOUNS, dtype=object)[code % base]
    for _ in range(n_words - 1):
        code //= base
        names = np.array(_ADJECTIVES, dtype=object)[code % base] + " " + names
    return names


def _sequences(
    config: SyntheticConfig, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Popularity ranks from 0, times, and which of them belong to a user: (U, longest length) each.

    And the function that leads from a rank to the next, (N,).
    """
    length = np.maximum(2, generator.poisson(config.mean_length, config.n_users))
    shape = (config.n_users, int(length.max()))
    weight = np.arange(1, config.n_items + 1, dtype=np.float64) ** -config.zipf_exponent
    rank = generator.choice(config.n_items, shape, p=weight / weight.sum())
    following = _cycles(config, generator)
    is_determined = generator.random(shape) < config.learnability
    for step in range(1, shape[1]):
        rank[:, step] = np.where(is_determined[:, step], following[rank[:, step - 1]], rank[:, step])
    begin = _START + generator.uniform(0, 365 * _DAY, config.n_users)
    gap = 1 + generator.exponential(10 * _DAY, shape)
    time = np.floor(begin[:, None] + gap.cumsum(axis=1))
    return rank, time, np.arange(shape[1]) < length[:, None], following


def _cycles(config: SyntheticConfig, generator: np.random.Generator) -> np.ndarray:
    """Successor of each popularity rank, (N,): random cycles within blocks of neighbouring ranks."""
    following = np.empty(config.n_items, dtype=np.int64)
    n_blocks = max(1, config.n_items // (2 * config.mean_length))
    for block in np.array_split(np.arange(config.n_items), n_blocks):
        cycle = generator.permutation(block)
        following[cycle] = np.roll(cycle, -1)
    return following
