"""Text embeddings are made once, go on after a kill, and know the texts they are of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reclib.schema import InputError
from reclib.text.embeddings import TextEmbeddings, embed_texts

TEXTS = [f"item number {n} " + "long " * (n % 4) for n in range(23)] + ["item number 3 " + "long " * 3]


def letters(texts: list[str]) -> np.ndarray:
    return np.array([[len(text), text.count("o"), text.count("1")] for text in texts], dtype=float)


class Counted:
    """An encoder that counts what it is asked for, and may die on the way."""

    def __init__(self, dies_at: int | None = None) -> None:
        self.texts: list[str] = []
        self.dies_at = dies_at

    def __call__(self, texts: list[str]) -> np.ndarray:
        if self.dies_at is not None and len(self.texts) >= self.dies_at:
            raise KeyboardInterrupt
        self.texts += texts
        return letters(texts)


def test_rows_stand_in_the_order_of_the_items_and_equal_texts_are_encoded_once(tmp_path: Path) -> None:
    encode = Counted()
    found = embed_texts(TEXTS, encode, encoder="letters", workdir=tmp_path, block=4)
    np.testing.assert_array_equal(found.matrix[1:], letters(TEXTS))
    assert not found.matrix[0].any()
    assert sorted(encode.texts) == sorted(set(TEXTS))
    assert list(tmp_path.iterdir()) == []


def test_a_killed_embedding_goes_on(tmp_path: Path) -> None:
    first, second = Counted(dies_at=8), Counted()
    with pytest.raises(KeyboardInterrupt):
        embed_texts(TEXTS, first, encoder="letters", workdir=tmp_path, block=4)
    found = embed_texts(TEXTS, second, encoder="letters", workdir=tmp_path, block=4)
    assert len(second.texts) == len(set(TEXTS)) - 8
    np.testing.assert_array_equal(found.matrix[1:], letters(TEXTS))


def test_what_is_left_of_other_texts_or_another_encoder_is_not_taken(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        embed_texts(TEXTS, Counted(dies_at=8), encoder="letters", workdir=tmp_path, block=4)
    for texts, encoder in ((TEXTS[:-5], "letters"), (TEXTS, "another")):
        encode = Counted()
        embed_texts(texts, encode, encoder=encoder, workdir=tmp_path, block=4)
        assert len(encode.texts) == len(set(texts))


def test_a_file_of_another_order_is_noticed(tmp_path: Path) -> None:
    embed_texts(TEXTS, letters, encoder="letters", workdir=tmp_path).save(tmp_path / "kept")
    found = TextEmbeddings.load(tmp_path / "kept")
    found.check(TEXTS)
    np.testing.assert_array_equal(found.matrix[1:], letters(TEXTS))
    swapped = [TEXTS[1], TEXTS[0], *TEXTS[2:]]
    with pytest.raises(InputError, match="another order"):
        found.check(swapped)
    with pytest.raises(InputError, match="24 items for a catalogue of 23"):
        found.check(TEXTS[1:])
    with pytest.raises(InputError, match="no text embeddings at .*missing.npz"):
        TextEmbeddings.load(tmp_path / "missing")


def test_vectors_that_are_not_finite_name_their_item(tmp_path: Path) -> None:
    def broken(texts: list[str]) -> np.ndarray:
        rows = letters(texts)
        rows[[text == TEXTS[5] for text in texts]] = np.nan
        return rows

    with pytest.raises(InputError, match="item_idx 6 by broken is not finite"):
        embed_texts(TEXTS, broken, encoder="broken", workdir=tmp_path)
    with pytest.raises(InputError, match="row 0"):
        TextEmbeddings(np.ones((3, 2)), "made", "")


def test_an_encoder_must_give_one_row_a_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"shape \(1, 3\) for 23 texts"):
        embed_texts(TEXTS, lambda texts: letters(texts)[:1], encoder="short", workdir=tmp_path)
