"""What a language model is asked to reason about."""

from __future__ import annotations

import pytest

from reclib.schema import InputError
from reclib.text.reasoning_prompts import reasoning_prompt


def test_the_prompt_names_history_item_and_outcome() -> None:
    text = reasoning_prompt(["Alien (1979)", "Heat (1995)"], "Fargo (1996)", "movies", is_chosen=True)
    assert 'has watched the following movies before: "Alien (1979)", "Heat (1995)"\n' in text
    assert 'The new movie: "Fargo (1996)"\nThe user has chosen it.\n' in text
    assert text.endswith("### Response:\nLet's think step by step.")
    other = reasoning_prompt(["Alien (1979)", "Heat (1995)"], "Fargo (1996)", "movies", is_chosen=False)
    assert other == text.replace("has chosen", "has not chosen")


def test_an_empty_history_and_an_unknown_domain_are_refused() -> None:
    with pytest.raises(InputError, match="at least one title"):
        reasoning_prompt([], "Fargo", "movies", is_chosen=True)
    with pytest.raises(InputError, match="no prompt for domain 'cars'"):
        reasoning_prompt(["Heat"], "Fargo", "cars", is_chosen=True)
