"""Other ways to write the same title: what a prior should depend on little, or only where it must.

The rules are those of the specification's §6.3 [derived by us]; the lists of platforms, editions and stop
words are ours.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from typing import Any

from reclib.data.preprocess import undo_article
from reclib.schema import InputError
from reclib.text.encoding import encode

_YEAR = re.compile(r"\s*\((?:19|20)\d\d\)\s*$")
_FRONT_ARTICLE = re.compile(r"^(The|An|A)\s+(.+)$")
_SUBTITLE = re.compile(r"(?:\s*:\s+|\s+[-–—]\s+).*$", re.DOTALL)
_PRODUCT_TAIL = re.compile(r"(?:,|\s+-\s).*$", re.DOTALL)
_PLATFORM = (
    r"(?:(?:Sony|Microsoft|Nintendo|Sega)\s+)?(?:PlayStation(?:\s?(?:[1-5]|Vita|Portable))?|PS\s?(?:[1-5]|Vita)|"
    r"PSP|Xbox(?:\s(?:360|One|Live))?|Wii(?:\sU)?|GameCube|Game\s?Boy(?:\s(?:Advance|Color))?|3DS|DS|Switch|64|"
    r"N64|Super NES|SNES|NES|Dreamcast|Genesis|Saturn|Vita|PC|Windows|Mac|Linux)"
)
_PLATFORMS = rf"{_PLATFORM}(?:\s*(?:/|&|,|and)\s*{_PLATFORM})*"
_EDITION = (
    r"(?:(?:Standard|Deluxe|Collector'?s|Limited|Gold|Platinum|Special|Ultimate|Complete|Premium|Legendary|"
    r"Launch|Day One|Game of the Year|GOTY|Steelbook)\s+Edition)"
)
_GAME_TAIL = re.compile(
    rf"\s*(?:\s[-–—]\s+{_PLATFORMS}|[\[(]\s*{_PLATFORMS}\s*[\])]|(?:[:,]\s+|\s[-–—]\s+|\s){_EDITION}|"
    rf"[\[(]\s*{_EDITION}\s*[\])])\s*$",
    re.IGNORECASE,
)
_WORD = re.compile(r"\w+", re.UNICODE)
_STOP_WORDS = (
    "a an and are as at be but by de der die do down el for from go he her his how i if in is it its la las "
    "le les me my no not of on or our out she so that the their them they this to up us was we were what "
    "when where who why will with you your"
)
STOP_WORDS = frozenset(_STOP_WORDS.split())


def given(title: str, domain: str) -> str:
    """The title as the data set has it."""
    return title


def cleaned(title: str, domain: str) -> str:
    """The title as people say it: what the measure of the prior uses by default.

    movies: without the year, articles in front; games: without platform and edition; music: as it is; all
    others: up to the first " - " or ",", unless that would leave one content word or none of several. HTML
    entities are undone. A title of which nothing would be left stays as it is.
    """
    title = html.unescape(title)
    if domain == "movies":
        short = undo_article(_YEAR.sub("", title))
    elif domain == "games":
        short = _until_stable(title)
    elif domain == "music":
        short = title
    else:
        short = _PRODUCT_TAIL.sub("", title)
        short = title if is_ambiguous(short) else short
    return short.strip() if _WORD.search(short) else title


def article_behind(title: str, domain: str) -> str:
    """The cleaned title with an English article behind it: "Matrix, The"."""
    return _FRONT_ARTICLE.sub(r"\2, \1", cleaned(title, domain))


def without_subtitle(title: str, domain: str) -> str:
    """The cleaned title up to its first ": " or " - "; as it is where nothing would be left."""
    whole = cleaned(title, domain)
    short = _SUBTITLE.sub("", whole).strip()
    return short if _WORD.search(short) else whole


VARIANTS: dict[str, Callable[[str, str], str]] = {
    "cleaned": cleaned,
    "given": given,
    "article_behind": article_behind,
    "without_subtitle": without_subtitle,
}


def title_variant(titles: Sequence[str], domain: str, variant: str) -> list[str]:
    """Each title in one of the `VARIANTS`. Raises InputError for an unknown one."""
    if variant not in VARIANTS:
        raise InputError(f"titles {variant!r}: choose one of {', '.join(VARIANTS)}")
    return [VARIANTS[variant](title, domain) for title in titles]


def cut_to_tokens(titles: Sequence[str], tokenizer: Any, *, max_tokens: int) -> list[str]:
    """Titles of at most `max_tokens` tokens: longer ones end with the last whole character of that token.

    Raises InputError for fewer than one token.
    """
    if max_tokens < 1:
        raise InputError(f"max_tokens is {max_tokens}: a title needs at least one token")
    return [
        title if len(row) <= max_tokens else tokenizer.decode(row[:max_tokens]).rstrip("\ufffd").rstrip()
        for title, row in zip(titles, encode(titles, tokenizer), strict=True)
    ]


def is_ambiguous(title: str) -> bool:
    """Whether a title has at most one content word, so that its string says little of the item ("It", "Up").

    A content word is a word or number that is no stop word: "Apollo 13" has two, "The Rock" has one.
    """
    return sum(word.lower() not in STOP_WORDS for word in _WORD.findall(title)) <= 1


def has_subtitle(title: str) -> bool:
    """Whether something stands behind a ": " or a " - "."""
    return _SUBTITLE.search(title) is not None


def _until_stable(title: str) -> str:
    """Without platforms and editions, one tail after the other; the shortest title with a word in it."""
    while True:
        short = _GAME_TAIL.sub("", title)
        if short == title or not _WORD.search(short):
            return title
        title = short
