"""From raw interactions and items to a clean catalogue: duplicates, k-core, order, titles."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from reclib.config import DataConfig
from reclib.data.dataset import Report
from reclib.schema import ITEM_ID, RATING, TIMESTAMP, TITLE, USER_ID, InputError

# Articles as MovieLens moves them behind the title: "Matrix, The (1999)", "Misérables, Les (1995)".
_ARTICLES = (
    "The|A|An|Les|Le|La|L'|Il|Lo|Gli|I|Das|Der|Die|Den|Det|De|Het|El|Los|Las|O|Os|As|Un|Une|Una|Ein|Eine|En"
)
_MOVED_ARTICLE = re.compile(rf"^(?P<title>.+), (?P<article>{_ARTICLES})(?P<rest>(?: \(.*)?)$")


def undo_article(title: str) -> str:
    """Put an article back in front: "Matrix, The (1999)" → "The Matrix (1999)"."""
    match = _MOVED_ARTICLE.match(title)
    if match is None:
        return title
    blank = "" if match["article"].endswith("'") else " "
    return f"{match['article']}{blank}{match['title']}{match['rest']}"


def clean(
    interactions: pd.DataFrame, items: pd.DataFrame, config: DataConfig, report: Report
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Apply every policy, in order, and count what each drops.

    Unrated and low-rated rows, items without a title, interactions with items that are not in the catalogue,
    exact duplicates, the k-core, then the order of each user by time (stable).
    Returns interactions grouped by user, with item_idx and a whole-number user code, and items indexed by
    item_idx 1…N in the order of the source. Raises InputError where nothing is left.
    """
    interactions = _rated(interactions, config, report)
    items = _titled(items, config, report)
    known = interactions[ITEM_ID].isin(items[ITEM_ID])
    report.add("items", "interactions with an item that has no entry or no title, dropped", (~known).sum())
    interactions = interactions[known]
    repeated = interactions.duplicated([USER_ID, ITEM_ID, TIMESTAMP])
    repeated &= interactions[TIMESTAMP].notna()
    report.add("duplicates", "same user, item and time, dropped", repeated.sum())
    interactions = k_core(interactions[~repeated], config.min_interactions, report)
    if interactions.empty:
        raise InputError(
            f"{config.source}: no interaction is left by min_interactions={config.min_interactions}; "
            f"lower it, or give more data"
        )
    return _encoded(interactions, items, report)


def k_core(interactions: pd.DataFrame, k: int, report: Report) -> pd.DataFrame:
    """The largest part in which every user and every item has at least k interactions.

    Rows of rarer users and items are dropped together, again and again until none is left to drop.
    """
    users, _ = pd.factorize(interactions[USER_ID])
    items, _ = pd.factorize(interactions[ITEM_ID])
    rows = np.arange(len(interactions))
    rounds = 0
    while len(rows):
        keep = np.bincount(users[rows])[users[rows]] >= k
        keep &= np.bincount(items[rows])[items[rows]] >= k
        if keep.all():
            break
        rows, rounds = rows[keep], rounds + 1
    dropped = len(interactions) - len(rows)
    report.add(f"{k}-core", "interactions of rarer users or items, dropped", dropped, f"{rounds} rounds")
    n_single = int((np.bincount(users) == 1).sum()) if len(users) else 0
    report.add(f"{k}-core", "users with one interaction, among the dropped", n_single if k > 1 else 0)
    return interactions.iloc[rows]


def _rated(interactions: pd.DataFrame, config: DataConfig, report: Report) -> pd.DataFrame:
    if config.min_rating is None:
        return interactions
    if RATING not in interactions.columns:
        raise InputError(f"{config.source}: min_rating is set and there is no column rating; leave it None")
    low = interactions[RATING] < config.min_rating
    report.add("rating", f"interactions rated below {config.min_rating:g}, dropped", low.sum())
    return interactions[~low]


def _titled(items: pd.DataFrame, config: DataConfig, report: Report) -> pd.DataFrame:
    """Titles with single blanks; empty, long and shared ones by policy."""
    title = items[TITLE].fillna("").astype(str).str.replace(r"\s+", " ", regex=True).str.strip()
    items = items.assign(**{TITLE: title})
    empty = title == ""
    if config.empty_title == "drop":
        items = items[~empty]
    report.add("titles", f"empty, {'dropped' if config.empty_title == 'drop' else 'kept'}", empty.sum())
    if config.max_title_characters is not None:
        long = items[TITLE].str.len() > config.max_title_characters
        items = items.assign(
            **{
                TITLE: items[TITLE].where(
                    ~long, items[TITLE].map(lambda t: _cut(t, config.max_title_characters))
                )
            }
        )
        report.add("titles", f"cut to {config.max_title_characters} characters at a word", long.sum())
    shared = items[TITLE].duplicated(keep=False)
    report.add("titles", "items that share their title with another, kept", shared.sum(), "one trie leaf")
    return items


def _cut(title: str, length: int | None) -> str:
    if length is None or len(title) <= length:
        return title
    head = title[: length + 1].rsplit(" ", 1)[0]
    return head[:length]


def _encoded(
    interactions: pd.DataFrame, items: pd.DataFrame, report: Report
) -> tuple[pd.DataFrame, pd.DataFrame]:
    items = items[items[ITEM_ID].isin(interactions[ITEM_ID])].reset_index(drop=True)
    items.index = pd.RangeIndex(1, len(items) + 1, name="item_idx")
    place = pd.Series(items.index, index=items[ITEM_ID])
    interactions = interactions.assign(item_idx=interactions[ITEM_ID].map(place).astype(np.int32))
    unknown = interactions[TIMESTAMP].isna()
    report.add("order", "interactions without a time, kept in the order of the file", unknown.sum())
    # A user with an unknown time is not sorted at all: the file is the only witness of the order.
    untimed = set(interactions.loc[unknown, USER_ID].unique())
    user, _ = pd.factorize(interactions[USER_ID])
    time = interactions[TIMESTAMP].where(~interactions[USER_ID].isin(untimed), 0.0).to_numpy(float)
    order = np.lexsort((np.arange(len(user)), time, user))
    return interactions.assign(user=user).iloc[order].reset_index(drop=True), items
