"""Valid tokens by position, against a walk over every title."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

from reclib import config as settings
from reclib.analysis import trie_statistics
from reclib.text.tokenization import ItemTokens
from reclib.text.trie import ItemTrie

TITLES = [[5, 1, 9], [5, 2, 9], [5, 2, 3, 9], [6, 9], [5, 1, 9]]


def slow_valid(prefix: list[int]) -> int:
    """Distinct next tokens after a prefix, over all titles."""
    return len({title[len(prefix)] for title in TITLES if title[: len(prefix)] == prefix})


def test_positions_equal_a_walk_over_the_titles() -> None:
    items = ItemTokens.from_lists(TITLES, end_token=9)
    targets = np.array([1, 3, 3, 4])
    found = trie_statistics.valid_tokens_by_position(ItemTrie.build(items), items, targets)
    expected = defaultdict(list)
    for target in targets:
        title = TITLES[target - 1]
        for place in range(len(title)):
            expected[place + 1].append(slow_valid(title[:place]))
    assert found["position"].tolist() == sorted(expected)
    means = [np.mean(expected[place]) for place in sorted(expected)]
    assert found["mean_valid_tokens"].tolist() == pytest.approx(means)
    forced = [np.mean(np.array(expected[place]) == 1) for place in sorted(expected)]
    assert found["forced_share"].tolist() == pytest.approx(forced)
    every = [count for counts in expected.values() for count in counts]
    avt = ItemTrie.build(items).mean_valid_tokens(items, targets)
    assert avt == pytest.approx(np.mean(every)), "the mean over positions, weighted, is the AVT"


def test_a_data_set_with_two_tokenizers_is_named_twice(tmp_path: object) -> None:
    tables = trie_statistics.trie_step(trie_statistics.config(settings.SMOKE), seed=0, workdir=tmp_path)
    twice = tables["positions"].assign(tokenizer="another")
    import pandas as pd

    shown = trie_statistics.shown_positions(pd.concat([tables["positions"], twice]))
    assert sorted(shown["dataset"].unique()) == ["synthetic (another)", "synthetic (random)"]
    assert shown["position"].max() <= trie_statistics.SHOWN_POSITIONS
    assert trie_statistics.printed_rows(tables["summary"]) == [], "no paper prints a made catalogue"
    finding = trie_statistics.statement_rows(tables["summary"])
    assert [row["number"] for row in finding] == ["6a"]
