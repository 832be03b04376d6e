"""What a language model is asked to reason about: a history, an item, and whether the user chose it.

The points are those of the prompt in LLM-CF's public code, what the user likes, what the item is like and
how far both agree; frame and wording are ours, those of the one recommendation prompt.
"""

from __future__ import annotations

from collections.abc import Sequence

from reclib.schema import InputError
from reclib.text.prompts import DOMAINS, PROMPT_TAIL, history_piece, title_piece

_FRAME = """\
Below is an instruction that describes a task, paired with an input that provides further context. \
Write a response that appropriately completes the request.

### Instruction:
Given a list of {noun} the user has {verb} before and a new {singular}, explain in a chain of thought what \
the user likes, what the new {singular} is like, and how far both agree.

### Input:
The user has {verb} the following {noun} before:{history}
The new {singular}:{title}
The user has {outcome}chosen it."""
_OPENING = "Let's think step by step."


def reasoning_prompt(history_titles: Sequence[str], title: str, domain: str, *, is_chosen: bool) -> str:
    """The prompt of one example, oldest title first; what is written goes on behind its last sentence.

    Raises InputError for an empty history or an unknown domain. Source: [LLM-CF], wording ours.
    """
    if not history_titles:
        raise InputError("a reasoning needs at least one title in the history")
    if domain not in DOMAINS:
        raise InputError(f"no prompt for domain {domain!r}: use one of {', '.join(DOMAINS)}")
    words = DOMAINS[domain]
    older = "".join(history_piece(each) for each in history_titles[:-1])
    text = _FRAME.format(
        noun=words.noun,
        singular=words.singular,
        verb=words.verb,
        history=older + title_piece(history_titles[-1]),
        title=title_piece(title),
        outcome="" if is_chosen else "not ",
    )
    return text + PROMPT_TAIL + _OPENING
