from __future__ import annotations

import pytest

from reclib.schema import InputError
from reclib.text.prompts import DOMAINS, history_piece, last_piece, prompt, prompt_head, response

TOYS = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n"
    "\n"
    "### Instruction:\n"
    "Given a list of toys the user has played before, please recommend a new toy that the user likes to the "
    "user.\n"
    "\n"
    "### Input:\n"
    'The user has played the following toys before: "LeapFrog Discovery Ball", "Blokus Game"\n'
    "\n"
    "### Response:\n"
)


def test_the_prompt_of_the_paper_to_the_letter() -> None:
    assert prompt(["LeapFrog Discovery Ball", "Blokus Game"], "toys") == TOYS


def test_a_prompt_is_its_pieces() -> None:
    pieces = [prompt_head("books"), history_piece("A"), history_piece('B "b"'), last_piece("C")]
    assert prompt(["A", 'B "b"', "C"], "books") == "".join(pieces)


def test_quotes_in_a_title_are_kept() -> None:
    assert '"The "Real" Thing"\n' in prompt(['The "Real" Thing'], "movies")
    assert response('The "Real" Thing') == '"The "Real" Thing"'


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_domain_reads_as_a_sentence(domain: str) -> None:
    words, text = DOMAINS[domain], prompt(["A"], domain)
    assert f"a list of {words.noun} the user has {words.verb} before, please" in text
    assert f"a new {words.singular} that" in text
    assert f'has {words.verb} the following {words.noun} before: "A"' in text
    assert "{" not in text
    assert "  " not in text


def test_an_unknown_domain_names_the_known_ones() -> None:
    with pytest.raises(InputError, match="'shoes'.*movies, books, toys"):
        prompt_head("shoes")


def test_an_empty_history_has_no_prompt() -> None:
    with pytest.raises(InputError, match="at least one title"):
        prompt([], "books")
