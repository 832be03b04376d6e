"""The one prompt used by training and by inference: [MSL] Table 1 in the Alpaca frame.

Titles stand in double quotes and are kept verbatim: a double quote inside a title is neither escaped nor
dropped, as in the released MSL data. `tests/text/test_prompts.py` fixes the exact text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reclib.schema import InputError


@dataclass(frozen=True, kw_only=True)
class Domain:
    """How the prompt speaks of the items of a data set: "a list of {noun} the user has {verb} before"."""

    noun: str
    singular: str
    verb: str


DOMAINS: dict[str, Domain] = {
    "movies": Domain(noun="movies", singular="movie", verb="watched"),
    "books": Domain(noun="books", singular="book", verb="read"),
    "toys": Domain(noun="toys", singular="toy", verb="played"),
    "clothing": Domain(noun="clothes", singular="piece of clothing", verb="worn"),
    "office": Domain(noun="office products", singular="office product", verb="used"),
    "games": Domain(noun="video games", singular="video game", verb="played"),
    "music": Domain(noun="artists", singular="artist", verb="listened to"),
    "items": Domain(noun="items", singular="item", verb="used"),
}

_FRAME = """\
Below is an instruction that describes a task, paired with an input that provides further context. \
Write a response that appropriately completes the request.

### Instruction:
Given a list of {noun} the user has {verb} before, please recommend a new {singular} that the user likes \
to the user.

### Input:
The user has {verb} the following {noun} before:"""

PROMPT_TAIL = "\n\n### Response:\n"
NEWER_FOLLOWS = ","  # behind a history title that is not the newest
USER_IS = " is a user representation. "  # behind a user's vector, before the last line of the head


def prompt_head(domain: str) -> str:
    """The part shared by all prompts of a domain: everything before the blank in front of the first title."""
    if domain not in DOMAINS:
        raise InputError(f"no prompt for domain {domain!r}: use one of {', '.join(DOMAINS)}")
    words = DOMAINS[domain]
    return _FRAME.format(noun=words.noun, singular=words.singular, verb=words.verb)


def title_piece(title: str) -> str:
    """A history title alone: ' "title"'."""
    return f' "{title}"'


def history_piece(title: str) -> str:
    """A history title followed by a newer one: ' "title",'."""
    return title_piece(title) + NEWER_FOLLOWS


def last_piece(title: str) -> str:
    """The newest title of a history and the rest of the prompt."""
    return title_piece(title) + PROMPT_TAIL


def prompt(history_titles: Sequence[str], domain: str) -> str:
    """The whole prompt of a history, oldest title first; it ends with "### Response:" and a line break.

    = prompt_head(domain) + history_piece(title 1) + … + last_piece(title S)

    Raises InputError for an empty history or an unknown domain. Source: [MSL] Table 1.
    """
    if not history_titles:
        raise InputError("a prompt needs at least one title in the history")
    older = "".join(history_piece(title) for title in history_titles[:-1])
    return prompt_head(domain) + older + last_piece(history_titles[-1])


def response(title: str) -> str:
    """The answer the model is trained to give: the title in double quotes ([MSL] Table 1)."""
    return f'"{title}"'
