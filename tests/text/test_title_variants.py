from __future__ import annotations

import pytest

from reclib.schema import InputError
from reclib.text.encoding import encode
from reclib.text.title_variants import (
    VARIANTS,
    article_behind,
    cleaned,
    cut_to_tokens,
    has_subtitle,
    is_ambiguous,
    title_variant,
    without_subtitle,
)
from tests.text.toy import TITLES, byte_level_tokenizer


@pytest.mark.parametrize(
    ("domain", "title", "expected"),
    [
        ("movies", "Matrix, The (1999)", "The Matrix"),
        ("movies", "The Matrix (1999)", "The Matrix"),
        ("movies", "1984 (1984)", "1984"),
        ("movies", "(1999)", "(1999)"),
        ("movies", "Postman, The (Postino, Il) (1994)", "The Postman (Il Postino)"),
        ("games", "Empire: Total War - PC", "Empire: Total War"),
        ("games", "Super Mario 64 - Nintendo 64", "Super Mario 64"),
        ("games", "Halo 5: Guardians (Xbox One)", "Halo 5: Guardians"),
        ("games", "Borderlands Game of the Year Edition - Xbox 360", "Borderlands"),
        ("games", "Gears of War: Ultimate Edition - Xbox One", "Gears of War"),
        ("games", "Metro: Last Light, Limited Edition - PC", "Metro: Last Light"),
        ("games", "Ryse - Legendary Edition", "Ryse"),
        ("games", "Doom : Gold Edition", "Doom"),
        ("games", "Portal 2 - PC/Mac", "Portal 2"),
        ("games", "SVC Chaos - SNK vs Capcom", "SVC Chaos - SNK vs Capcom"),
        ("games", "Sonic: Sega Classics", "Sonic: Sega Classics"),
        ("toys", "Melissa &amp; Doug Storage Case -  Painted Wood", "Melissa & Doug Storage Case"),
        ("office", "Duck Sealing Tape, 2 inch, Clear", "Duck Sealing Tape"),
        ("office", "4M, Table Top Robot", "4M, Table Top Robot"),
        ("office", "All-in-One Printer", "All-in-One Printer"),
        ("music", "Tyler, the Creator", "Tyler, the Creator"),
        ("movies", "", ""),
    ],
)
def test_titles_as_people_say_them(domain: str, title: str, expected: str) -> None:
    assert cleaned(title, domain) == expected
    assert cleaned(expected, domain) == expected, "a cleaned title stays as it is"


def test_an_article_goes_behind_and_a_subtitle_goes() -> None:
    assert article_behind("The Matrix (1999)", "movies") == "Matrix, The"
    assert article_behind("Heat (1995)", "movies") == "Heat"
    assert article_behind("An Ideal Husband", "movies") == "Ideal Husband, An"
    assert without_subtitle("Star Wars: A New Hope (1977)", "movies") == "Star Wars"
    assert without_subtitle("2:22", "movies") == "2:22", "a colon inside a word divides nothing"
    assert without_subtitle(": Untitled", "movies") == ": Untitled"
    assert has_subtitle("Alien - Director's Cut")
    assert not has_subtitle("All-in-One")


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("It", True),
        ("Up", True),
        ("Speed", True),
        ("The Rock", True),
        ("!!!", True),
        ("Apollo 13", False),
        ("Toy Story", False),
        ("Männer über Männer", False),
    ],
)
def test_ambiguous_titles_have_one_content_word_or_none(title: str, expected: bool) -> None:
    assert is_ambiguous(title) is expected


def test_variants_keep_the_order_and_the_given_titles() -> None:
    assert title_variant(TITLES, "movies", "given") == TITLES
    for name in VARIANTS:
        assert len(title_variant(TITLES, "toys", name)) == len(TITLES)
    with pytest.raises(InputError, match="titles 'raw': choose one of cleaned"):
        title_variant(TITLES, "movies", "raw")


@pytest.mark.parametrize("max_tokens", [1, 3, 16])
def test_long_titles_end_at_a_token_and_short_ones_stay(max_tokens: int) -> None:
    tokenizer = byte_level_tokenizer()
    cut = cut_to_tokens(TITLES, tokenizer, max_tokens=max_tokens)
    for title, short, tokens in zip(TITLES, cut, encode(TITLES, tokenizer), strict=True):
        assert title.startswith(short)
        assert "\ufffd" not in short
        assert (short == title) or len(tokens) > max_tokens
    assert all(len(tokens) <= max_tokens for tokens in encode(cut, tokenizer))
    with pytest.raises(InputError, match="max_tokens is 0"):
        cut_to_tokens(TITLES, tokenizer, max_tokens=0)
