from __future__ import annotations

import numpy as np
import pytest

from reclib.schema import InputError
from reclib.text.prior_prompts import NEUTRAL, TEMPLATES, prior_contexts, tokenize_contexts
from reclib.text.prompts import DOMAINS, response
from reclib.text.tokenization import tokenize_items
from tests.text.toy import BEGIN, TITLES, byte_level_tokenizer


def test_there_are_five_templates_or_more_and_none_names_a_user_or_a_title() -> None:
    texts = prior_contexts("movies")
    assert len(texts) == len(TEMPLATES) == len(set(texts)) >= 5
    assert texts[0] == "A movie:\n"
    assert prior_contexts("music", ["asked"]) == ["Question: Can you name an artist?\nAnswer:\n"]
    assert prior_contexts("clothing", ["listed"]) == ["A list of clothes:\n"]


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_domain_reads_as_a_sentence(domain: str) -> None:
    for text in prior_contexts(domain):
        assert text[0].isupper()
        assert text.endswith((":\n", "\n"))
        assert "{" not in text
        assert " a a" not in text
        assert " a o" not in text


@pytest.mark.parametrize("kind", ["gpt2", "llama3"])
@pytest.mark.parametrize("begin", [False, True])
def test_context_and_title_are_the_tokens_of_the_whole_string(kind: str, begin: bool) -> None:
    tokenizer = byte_level_tokenizer(kind, begin=begin)
    texts = [*prior_contexts("movies"), NEUTRAL]
    contexts, items = tokenize_contexts(texts, tokenizer), tokenize_items(TITLES, tokenizer)
    head = [tokenizer.convert_tokens_to_ids(BEGIN)] if begin else []
    for row, text in enumerate(texts):
        for item, title in enumerate(TITLES, start=1):
            whole = tokenizer(text + response(title), add_special_tokens=False)["input_ids"]
            assert [*contexts.of(row), *items.of(item)[:-1]] == [*head, *whole]


def test_bad_names_are_refused() -> None:
    with pytest.raises(InputError, match="no prompt for domain 'films'"):
        prior_contexts("films")
    with pytest.raises(InputError, match=r"templates \['mine'\]: choose"):
        prior_contexts("movies", ["bare", "mine"])
    with pytest.raises(InputError, match="templates none"):
        prior_contexts("movies", [])
    with pytest.raises(InputError, match="needs at least one token"):
        tokenize_contexts(["Text:\n", ""], byte_level_tokenizer())
    with pytest.raises(InputError, match="contexts none"):
        tokenize_contexts([], byte_level_tokenizer())


def test_a_begin_token_alone_is_no_context() -> None:
    with pytest.raises(InputError, match="needs at least one token"):
        tokenize_contexts([""], byte_level_tokenizer(begin=True))
    assert tokenize_contexts(["x"], byte_level_tokenizer(begin=True)).start.tolist() == [0, 2]
    assert tokenize_contexts(["x"], byte_level_tokenizer()).tokens.dtype == np.int32
