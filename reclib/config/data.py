"""Settings of a data set: its source, its preprocessing, and what a made one is like."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from reclib.schema import settle


@dataclass(frozen=True, kw_only=True)
class SyntheticConfig:
    """A made catalogue and its users.

    n_users, n_items: sizes before the k-core; mean_length: interactions a user, on average
    learnability: 0 draws every item by popularity, 1 makes the next item a function of the last
    zipf_exponent: popularity of the r-th item is proportional to r to the minus this
    shared_prefix: share of items whose title begins like another's
    informative_titles: share of the titles that stand at their place of the transitions: the parts of a
        series then follow each other; 0 scatters all titles, so that they say nothing of what comes next
    """

    n_users: int = 200
    n_items: int = 100
    mean_length: int = 12
    learnability: float = 0.8
    zipf_exponent: float = 1.0
    shared_prefix: float = 0.5
    informative_titles: float = 0.0

    def __post_init__(self) -> None:
        sizes = ("n_users", "n_items", "mean_length")
        shares = ("learnability", "shared_prefix", "informative_titles")
        settle(self, "synthetic", positive=sizes, not_negative=("zipf_exponent",), share=shares)


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """A data set and its preprocessing.

    source: "synthetic", an asset, a folder's name below RECLIB_DATA, or a path
    history_length: S, items before the target that are kept
    min_interactions: k of the k-core, and the least length of a user's sequence
    min_rating: interactions rated lower are dropped; None keeps all
    split: "windows" slides over each user and splits 8:1:1 by the target's time; "leave_one_out" holds out
        each user's last two items
    empty_title: "drop" or "keep" items without a title; ready windows keep them
    max_title_characters: longer titles are cut at a word; None keeps them
    synthetic: what source "synthetic" makes
    """

    source: str = "ml-100k"
    history_length: int = 10
    min_interactions: int = 5
    min_rating: float | None = None
    split: Literal["windows", "leave_one_out"] = "windows"
    empty_title: Literal["drop", "keep"] = "drop"
    max_title_characters: int | None = 300
    synthetic: SyntheticConfig = field(default_factory=SyntheticConfig)

    def __post_init__(self) -> None:
        settle(self, "data", positive=("history_length", "min_interactions", "max_title_characters"))
