"""From raw interactions and items to a clean catalogue: titles, duplicates, k-core, order."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from reclib.config import DataConfig
from reclib.data.dataset import Report
from reclib.data.splits import Sequences
from reclib.schema import ITEM_ID, ITEM_IDX, RATING, TIMESTAMP, TITLE, USER_ID, InputError

# Articles that film titles carry behind them: "Matrix, The (1999)", "Enfer, L' (1994)".
_ARTICLES = (
    "The|A|An|Les|Le|La|L'|Il|Lo|Gli|I|Das|Der|Die|Den|Det|De|Het|El|Los|Las|O|Os|As|Un|Une|Una|Ein|Eine|En"
)
_UNTITLED = "interactions with an item that has no entry or no title"
# A title stands at the beginning or, in another language, in parentheses, and ends before them.
_MOVED_ARTICLE = re.compile(rf"(^|\()([^()]+), ({_ARTICLES})(?=\)| \(|$)")


def undo_article(title: str) -> str:
    """Put articles back in front, that of another language's title in parentheses too.

    "Matrix, The (1999)" → "The Matrix (1999)"; "Promise, The (Versprechen, Das)" → "The Promise (Das
    Versprechen)"; "Enfer, L'" → "L'Enfer".
    """
    return _MOVED_ARTICLE.sub(_article_first, title)


def _article_first(match: re.Match[str]) -> str:
    before, name, article = match.groups()
    return f"{before}{article}{'' if article.endswith(chr(39)) else ' '}{name}"


def clean(
    interactions: pd.DataFrame, items: pd.DataFrame, config: DataConfig, report: Report
) -> tuple[Sequences, pd.DataFrame]:
    """Apply every policy, in this order, and count in `report` what each drops or changes.

    1. interactions rated below `min_rating` go
    2. titles get single blanks; empty ones go or stay (`empty_title`), long ones are cut at a word
       (`max_title_characters`), shared ones stay: their items share a leaf of the trie
    3. interactions with items that are not in the catalogue (any more) go
    4. of interactions with the same user, item and time the first stays; an unknown time equals no other
    5. the k-core with k = `min_interactions`, to its fixed point
    6. each user is ordered by time (stable); a user with an unknown time stays in the order of the file

    interactions: user_id, item_id, timestamp, maybe rating; items: item_id, title, …
    Returns the interactions in order, and the items that still occur, indexed by item_idx 1…N in the order
    of the source. Raises InputError where nothing is left, or there is no rating to filter by.
    """
    interactions = _rated(interactions, config, report)
    items = _titled(items, config, report)
    table = _coded(interactions, items)
    table = _counted(table, table["item"] >= 0, report, "titles", _UNTITLED)
    repeated = table.duplicated(["user", "item", TIMESTAMP]) & table[TIMESTAMP].notna()
    table = _counted(table, ~repeated, report, "duplicates", "interactions of the same user, item and time")
    table = _dense(table, config.min_interactions, report)
    if table.empty:
        raise InputError(
            f"{config.source}: no interaction is left by titles and min_interactions="
            f'{config.min_interactions}; lower it, set empty_title="keep", or give more data'
        )
    table = _ordered(table, report)
    used, item = np.unique(table["item"].to_numpy(), return_inverse=True)
    items = items.iloc[used].set_axis(pd.RangeIndex(1, len(used) + 1, name=ITEM_IDX))
    add_shared_titles(items, report)
    users = interactions[USER_ID].cat.categories.to_numpy(object)
    sequences = Sequences(
        users[table["user"].to_numpy()], (item + 1).astype(np.int32), table[TIMESTAMP].to_numpy()
    )
    return sequences, items


def k_core(user: np.ndarray, item: np.ndarray, k: int) -> tuple[np.ndarray, int]:
    """Rows of the largest part in which every user and every item has at least k rows; and the rounds.

    user, item: (n,) codes from 0. A round drops the rows of all rarer users and items at once; rounds follow
    until one drops nothing, the fixed point, which does not depend on the order of dropping.
    """
    rows, rounds = np.arange(len(user)), 0
    while len(rows):
        users, items = user[rows], item[rows]
        keep = (np.bincount(users) >= k)[users] & (np.bincount(items) >= k)[items]
        if keep.all():
            break
        rows, rounds = rows[keep], rounds + 1
    return rows, rounds


def _rated(interactions: pd.DataFrame, config: DataConfig, report: Report) -> pd.DataFrame:
    if config.min_rating is None:
        return interactions
    if RATING not in interactions.columns:
        raise InputError(f"{config.source}: min_rating is set and there is no column rating; leave it None")
    what = f"interactions rated below {config.min_rating:g}"
    return _counted(interactions, interactions[RATING] >= config.min_rating, report, "rating", what)


def _titled(items: pd.DataFrame, config: DataConfig, report: Report) -> pd.DataFrame:
    title = items[TITLE].str.replace(r"\s+", " ", regex=True).str.strip()
    limit = config.max_title_characters
    if limit is not None:
        long = title.str.len() > limit
        title = title.mask(long, title[long].map(lambda text: cut_title(text, limit)))
        report.add("titles", f"cut to {limit} characters at a word", long.sum())
    empty = title == ""
    done = "kept" if config.empty_title == "keep" else "dropped"
    report.add("titles", f"items without a title, {done}", empty.sum())
    items = items.assign(**{TITLE: title})
    return items if config.empty_title == "keep" else items[~empty]


def cut_title(title: str, limit: int) -> str:
    """The title, or as many of its words as fit into `limit` characters (of one long word its start)."""
    if len(title) <= limit:
        return title
    return title[: limit + 1].rsplit(" ", 1)[0][:limit].rstrip()


def add_shared_titles(items: pd.DataFrame, report: Report) -> None:
    """Count the items whose title is another item's too."""
    shared = items[TITLE].duplicated(keep=False)
    report.add("catalogue", "items that share their title with another, kept", shared.sum(), "one trie leaf")


def _coded(interactions: pd.DataFrame, items: pd.DataFrame) -> pd.DataFrame:
    """user: code of the category; item: row of the items table, −1 where there is none; timestamp."""
    ids = interactions[ITEM_ID].cat
    row = pd.Index(items[ITEM_ID]).get_indexer(ids.categories)
    codes = {"user": interactions[USER_ID].cat.codes, "item": row[ids.codes]}
    return pd.DataFrame(codes | {TIMESTAMP: interactions[TIMESTAMP]})


def _dense(table: pd.DataFrame, k: int, report: Report) -> pd.DataFrame:
    user, item = table["user"].to_numpy(), table["item"].to_numpy()
    rows, rounds = k_core(user, item, k)
    step = f"{k}-core"
    n_single = (np.bincount(user) == 1).sum() if k > 1 and len(user) else 0
    report.add(step, "users with one interaction, dropped", n_single)
    for what, codes in (("users", user), ("items", item)):
        n_dropped = len(pd.unique(codes)) - len(pd.unique(codes[rows]))
        report.add(step, f"{what} with fewer than {k} interactions, dropped", n_dropped)
    report.add(step, "interactions of these, dropped", len(table) - len(rows), f"{rounds} rounds")
    return table.iloc[rows]


def _ordered(table: pd.DataFrame, report: Report) -> pd.DataFrame:
    """Users in the order of their first rows, each by time."""
    user, _ = pd.factorize(table["user"])
    time = table[TIMESTAMP].to_numpy()
    is_unknown = np.isnan(time)
    report.add(
        "order", "interactions of unknown time", is_unknown.sum(), "their users stay in the file's order"
    )
    # The file is then the only witness of a user's order, and none of it is sorted.
    is_partly_unknown = (np.bincount(user, weights=is_unknown) > 0)[user]
    return table.iloc[np.lexsort((np.where(is_partly_unknown, 0.0, time), user))]


def _counted(table: pd.DataFrame, keep: pd.Series, report: Report, step: str, what: str) -> pd.DataFrame:
    n_dropped = int((~keep).sum())
    report.add(step, f"{what}, dropped", n_dropped)
    return table[keep] if n_dropped else table
