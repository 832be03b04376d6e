"""Short prompts without a history: what a language model thinks of a catalogue before it has seen any user.

Each context ends with a line break, so that the title's opening quotation mark begins a token of its own and
the tokens of context and item are those of the whole string. The wording is ours [derived by us: the
specification asks for five or more neutral templates such as "A movie: "].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from reclib.schema import InputError
from reclib.text.encoding import begin_tokens, encode
from reclib.text.prompts import DOMAINS
from reclib.text.ragged import flatten
from reclib.text.tokenization import PromptTokens

# {a} is the domain's singular with its article ("an artist"), {some} its plural.
TEMPLATES: dict[str, str] = {
    "bare": "{a}:\n",
    "named": "The name of {a}:\n",
    "listed": "A list of {some}:\n",
    "sentence": "Here is {a} that I would like to mention:\n",
    "asked": "Question: Can you name {a}?\nAnswer:\n",
}
NEUTRAL = "Text:\n"  # says nothing of the domain: the reference of s_pmi


def prior_contexts(domain: str, templates: Sequence[str] = tuple(TEMPLATES)) -> list[str]:
    """The texts of some templates for a domain, in the order asked for.

    Raises InputError for an unknown domain, an unknown template, and no template at all.
    """
    if domain not in DOMAINS:
        raise InputError(f"no prompt for domain {domain!r}: use one of {', '.join(DOMAINS)}")
    unknown = [name for name in templates if name not in TEMPLATES]
    if unknown or not templates:
        raise InputError(f"templates {unknown or 'none'}: choose one or more of {', '.join(TEMPLATES)}")
    words = DOMAINS[domain]
    article = "an" if words.singular[0] in "aeiou" else "a"
    texts = [TEMPLATES[name].format(a=f"{article} {words.singular}", some=words.noun) for name in templates]
    return [text[0].upper() + text[1:] for text in texts]


def tokenize_contexts(texts: Sequence[str], tokenizer: Any) -> PromptTokens:
    """The tokens of some contexts, one prompt each; the tokenizer's begin token first where it adds one.

    Raises InputError for a context that has no token.
    """
    begin = begin_tokens(tokenizer)
    rows = [begin + row for row in encode(texts, tokenizer)]
    empty = [text for text, row in zip(texts, rows, strict=True) if len(row) == len(begin)]
    if empty or not rows:
        raise InputError(f"contexts {empty or 'none'}: a context needs at least one token")
    tokens, start = flatten(rows)
    return PromptTokens(head=np.empty(0, np.int32), tokens=tokens, start=start)
