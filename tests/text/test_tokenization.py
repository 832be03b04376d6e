from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from reclib.schema import InputError
from reclib.text.prompts import prompt, response
from reclib.text.tokenization import ItemTokens, PromptTokens, tokenize_items, tokenize_prompts
from tests.text.toy import (
    BEGIN,
    BYTE_LEVEL,
    END,
    TITLES,
    blank_marking_tokenizer,
    byte_level_tokenizer,
    windows,
)

HISTORIES = [[1], [5, 6, 7], [13, 13, 14], [9, 10, 11, 12], [4, 3, 2, 1], list(range(1, 15)), [8, 12, 9, 5]]


@pytest.fixture(scope="module", params=list(BYTE_LEVEL))
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerFast:
    return byte_level_tokenizer(request.param)


@pytest.fixture(scope="module")
def blank_marking() -> PreTrainedTokenizerFast:
    return blank_marking_tokenizer()


def whole(rows: list[list[int]], tokenizer: PreTrainedTokenizerFast) -> list[list[int]]:
    """Each prompt tokenised as one string."""
    texts = [prompt([TITLES[i - 1] for i in row], "movies") for row in rows]
    return tokenizer(texts, add_special_tokens=False)["input_ids"]


def listed(prompts: PromptTokens) -> list[list[int]]:
    return [prompts.of(row).tolist() for row in range(len(prompts))]


def test_an_item_is_its_quoted_title_and_the_end_token(tokenizer: PreTrainedTokenizerFast) -> None:
    items = tokenize_items(TITLES, tokenizer)
    assert items.n_items == len(TITLES)
    assert items.end_token == tokenizer.eos_token_id
    assert items.tokens.dtype == np.int32
    assert len(items.of(0)) == 0
    for item, title in enumerate(TITLES, start=1):
        assert items.of(item).tolist() == tokenizer.encode(response(title)) + [tokenizer.eos_token_id]
    assert repr(items) == f"ItemTokens(14 items, {len(items.tokens)} tokens, end token 0)"


def test_some_items(tokenizer: PreTrainedTokenizerFast) -> None:
    items = tokenize_items(TITLES, tokenizer)
    tokens, start = items.take(np.array([3, 0, 1, 3]))
    rows = np.split(tokens, start[1:-1])
    assert [row.tolist() for row in rows] == [items.of(item).tolist() for item in (3, 0, 1, 3)]


def test_a_long_title_is_cut_and_counted() -> None:
    tokenizer = byte_level_tokenizer()
    full, cut = tokenize_items(TITLES, tokenizer), tokenize_items(TITLES, tokenizer, max_tokens=5)
    assert full.n_truncated == 0
    assert cut.n_truncated == sum(len(full.of(item)) > 5 for item in range(1, 15)) > 0
    for item in range(1, 15):
        kept = full.of(item)[:-1][:4].tolist()
        assert cut.of(item).tolist() == [*kept, tokenizer.eos_token_id]
    with pytest.raises(InputError, match="max_tokens is 1"):
        tokenize_items(TITLES, tokenizer, max_tokens=1)


def test_a_title_may_not_hold_the_end_token() -> None:
    with pytest.raises(InputError, match=r"item 2, 'bad <\|end\|> title', has token 0, the end token"):
        tokenize_items(["good", f"bad {END} title"], byte_level_tokenizer())


def test_an_id_outside_the_vocabulary_names_the_title() -> None:
    class TooLarge:
        eos_token_id = 0

        def __len__(self) -> int:
            return 5

        def __call__(self, texts: list[str], **_: object) -> dict[str, list[list[int]]]:
            return {"input_ids": [[1, 2 + len(text)] for text in texts]}

    with pytest.raises(InputError, match="item 2, 'xx', has token 6, outside the tokenizer's 5 ids"):
        tokenize_items(["", "xx"], TooLarge())


def test_a_tokenizer_without_an_end_token_is_refused() -> None:
    tokenizer = byte_level_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(InputError, match="no end token"):
        tokenize_items(TITLES, tokenizer)


def test_many_titles_go_to_the_tokenizer_in_batches() -> None:
    tokenizer = byte_level_tokenizer()
    titles = [f"x {number}" for number in range(9000)]
    items = tokenize_items(titles, tokenizer)
    assert items.of(8999).tolist() == tokenizer.encode('"x 8998"') + [0]


def test_joined_pieces_equal_the_whole_prompt(tokenizer: PreTrainedTokenizerFast) -> None:
    prompts = tokenize_prompts(windows(HISTORIES), TITLES, "movies", tokenizer, max_tokens=10_000)
    assert prompts.in_pieces
    assert listed(prompts) == whole(HISTORIES, tokenizer)
    assert prompts.n_truncated == prompts.n_dropped == 0
    assert repr(prompts).startswith(f"PromptTokens(7 prompts, head {len(prompts.head)} + ")


def test_the_head_is_what_all_prompts_of_the_domain_share(tokenizer: PreTrainedTokenizerFast) -> None:
    some = tokenize_prompts(windows(HISTORIES[:2]), TITLES, "movies", tokenizer, max_tokens=10_000)
    other = tokenize_prompts(windows(HISTORIES[2:]), TITLES, "movies", tokenizer, max_tokens=10_000)
    assert some.head.tolist() == other.head.tolist()
    assert tokenizer.decode(some.head).endswith("following movies before:")


@settings(max_examples=25)
@given(st.lists(st.lists(st.integers(1, 14), min_size=1, max_size=6), min_size=1, max_size=5))
def test_any_histories(rows: list[list[int]]) -> None:
    for kind in BYTE_LEVEL:
        tokenizer = TOKENIZERS.setdefault(kind, byte_level_tokenizer(kind))
        prompts = tokenize_prompts(windows(rows), TITLES, "movies", tokenizer, max_tokens=10_000)
        assert prompts.in_pieces
        assert listed(prompts) == whole(rows, tokenizer)


TOKENIZERS: dict[str, PreTrainedTokenizerFast] = {}


def test_prompt_and_answer_join_to_the_whole_text(tokenizer: PreTrainedTokenizerFast) -> None:
    prompts = tokenize_prompts(windows(HISTORIES), TITLES, "movies", tokenizer, max_tokens=10_000)
    items = tokenize_items(TITLES, tokenizer)
    for row, history in enumerate(HISTORIES):
        for item, title in enumerate(TITLES, start=1):
            text = prompt([TITLES[i - 1] for i in history], "movies") + response(title)
            assert [*prompts.of(row), *items.of(item)[:-1]] == tokenizer.encode(text)


def test_long_prompts_lose_their_oldest_items_and_are_counted(tokenizer: PreTrainedTokenizerFast) -> None:
    full = tokenize_prompts(windows(HISTORIES), TITLES, "movies", tokenizer, max_tokens=10_000)
    limit = len(full.of(1))
    prompts = tokenize_prompts(windows(HISTORIES), TITLES, "movies", tokenizer, max_tokens=limit)
    n_kept = []
    for row, history in zip(listed(prompts), HISTORIES, strict=True):
        candidates = whole([history[i:] for i in range(len(history))], tokenizer)
        fitting = [tokens for tokens in candidates if len(tokens) <= limit]
        assert row == fitting[0]  # the longest suffix of the history that fits
        n_kept.append(len(fitting))
    lost = [len(history) - n for history, n in zip(HISTORIES, n_kept, strict=True)]
    assert prompts.n_dropped == sum(lost) > 0
    assert prompts.n_truncated == sum(n > 0 for n in lost)


def test_a_newest_title_that_does_not_fit_is_an_error(tokenizer: PreTrainedTokenizerFast) -> None:
    head = len(tokenize_prompts(windows([[1]]), TITLES, "movies", tokenizer, max_tokens=10_000).head)
    with pytest.raises(InputError, match=r"window 1: its newest title \(item 7\).*raise max_tokens"):
        tokenize_prompts(windows([[14], [7]]), TITLES, "movies", tokenizer, max_tokens=head + 25)
    with pytest.raises(InputError, match="where 0 fit"):
        tokenize_prompts(windows([[14]]), TITLES, "movies", tokenizer, max_tokens=3)


def test_the_begin_token_stands_first_where_the_tokenizer_adds_one() -> None:
    plain, begun = byte_level_tokenizer(), byte_level_tokenizer(begin=True)
    prompts = tokenize_prompts(windows(HISTORIES), TITLES, "movies", begun, max_tokens=10_000)
    begin = plain.convert_tokens_to_ids(BEGIN)
    assert prompts.in_pieces
    assert listed(prompts) == [[begin, *row] for row in whole(HISTORIES, plain)]
    assert tokenize_items(TITLES, begun).of(1).tolist() == tokenize_items(TITLES, plain).of(1).tolist()


def test_a_tokenizer_whose_pieces_do_not_join_gets_whole_strings(
    blank_marking: PreTrainedTokenizerFast,
) -> None:
    prompts = tokenize_prompts(windows(HISTORIES), TITLES, "movies", blank_marking, max_tokens=10_000)
    assert not prompts.in_pieces
    assert len(prompts.head) > 0
    assert listed(prompts) == whole(HISTORIES, blank_marking)


def test_whole_strings_lose_their_oldest_items_too(blank_marking: PreTrainedTokenizerFast) -> None:
    [limit] = map(len, whole([[5, 6, 7]], blank_marking))
    prompts = tokenize_prompts(windows(HISTORIES), TITLES, "movies", blank_marking, max_tokens=limit)
    assert prompts.n_truncated > 0
    for row, history in zip(listed(prompts), HISTORIES, strict=True):
        candidates = whole([history[i:] for i in range(len(history))], blank_marking)
        assert row == next(tokens for tokens in candidates if len(tokens) <= limit)
    with pytest.raises(InputError, match=r"window 0: its newest title \(item 7\)"):
        tokenize_prompts(windows([[7]]), TITLES, "movies", blank_marking, max_tokens=30)


def test_a_head_can_be_given_to_each_prompt(tokenizer: PreTrainedTokenizerFast) -> None:
    prompts = tokenize_prompts(windows(HISTORIES), TITLES, "movies", tokenizer, max_tokens=10_000)
    alone = prompts.without_head()
    assert len(prompts.head) > 0 == len(alone.head)
    assert listed(alone) == listed(prompts)
    assert listed(alone.take(np.array([3, 0]))) == listed(prompts.take(np.array([3, 0])))


def test_some_prompts(tokenizer: PreTrainedTokenizerFast) -> None:
    prompts = tokenize_prompts(windows(HISTORIES), TITLES, "movies", tokenizer, max_tokens=10_000)
    taken = prompts.take(np.array([4, 0, 4]))
    assert listed(taken) == [listed(prompts)[row] for row in (4, 0, 4)]


@pytest.mark.parametrize(
    ("history", "message"),
    [
        (np.array([[0, 1], [1, 15]]), r"window 1 has an item outside 1…14: \[1, 15\]"),
        (np.array([[-1, 1]]), "window 0 has an item outside"),
        (np.array([[1, 2], [1, 0]]), "window 1 has no newest item"),
        (np.array([[0, 0]]), "window 0 has no newest item"),
        (np.empty((0, 3), int), "one row a window"),
    ],
)
def test_bad_windows_are_named(history: np.ndarray, message: str) -> None:
    bad = windows([[1]])
    bad.history = history
    with pytest.raises(InputError, match=message):
        tokenize_prompts(bad, TITLES, "movies", byte_level_tokenizer(), max_tokens=512)


def test_items_from_lists() -> None:
    items = ItemTokens.from_lists([[5, 6, 2], [7, 2]], end_token=2)
    assert items.n_items == 2
    assert items.start.tolist() == [0, 0, 3, 5]
    assert items.of(2).tolist() == [7, 2]
