"""Encoders give each text the vector it has alone, and the real one knows what is alike."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from reclib import assets
from reclib.config import TextConfig
from reclib.models.text_encoder import AT_ONCE, Pooling, TextEncoder, load_encoder
from reclib.schema import InputError

TEXTS = [
    "The Red House",
    "A far longer text of a red house, a river and an old star",
    "Moon",
    "Café, Noir",
]


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return load_encoder(TextConfig(encoder="random", max_tokens=12), texts=TEXTS, device="cpu")


def test_a_vector_is_the_mean_of_the_last_hidden_states(encoder: TextEncoder) -> None:
    for text, row in zip(TEXTS, encoder(TEXTS), strict=True):
        tokens = encoder.tokenizer(text)["input_ids"][:12]
        with torch.no_grad():
            hidden = encoder.network(input_ids=torch.tensor([tokens])).last_hidden_state[0]
        np.testing.assert_allclose(row, hidden.mean(dim=0).numpy(), atol=1e-5)


def test_a_vector_does_not_depend_on_the_others(encoder: TextEncoder) -> None:
    together = encoder(TEXTS)
    np.testing.assert_allclose(together[::-1], encoder(TEXTS[::-1]), atol=1e-5)
    np.testing.assert_allclose(together, np.concatenate([encoder([text]) for text in TEXTS]), atol=1e-5)
    assert together.dtype == np.float32


def test_poolings_stand_side_by_side_and_the_last_token_is_the_texts_own() -> None:
    config = TextConfig(encoder="random", max_tokens=12)
    both = load_encoder(config, texts=TEXTS, device="cpu", poolings=("mean", "last_token"))
    last = load_encoder(config, texts=TEXTS, device="cpu", poolings=("last_token",))
    rows, plain = both(TEXTS), load_encoder(config, texts=TEXTS, device="cpu")(TEXTS)
    np.testing.assert_array_equal(rows[:, : plain.shape[1]], plain)
    np.testing.assert_array_equal(rows[:, plain.shape[1] :], last(TEXTS))
    for text, row in zip(TEXTS, last(TEXTS), strict=True):
        tokens = last.tokenizer(text)["input_ids"][:12]
        with torch.no_grad():
            hidden = last.network(input_ids=torch.tensor([tokens])).last_hidden_state[0]
        np.testing.assert_allclose(row, hidden[-1].numpy(), atol=1e-5)
    assert not last(["", "Moon"])[0].any()


def test_a_text_without_tokens_is_zero(encoder: TextEncoder) -> None:
    assert not encoder(["", "Moon"])[0].any()
    np.testing.assert_allclose(encoder(["", "Moon"])[1:], encoder(["Moon"]), atol=1e-5)


@pytest.mark.parametrize("poolings", [("mean",), ("last_token",), ("mean", "last_token")])
def test_texts_without_any_token_are_zeros_of_the_width_of_others(poolings: tuple[Pooling, ...]) -> None:
    config = TextConfig(encoder="random", max_tokens=12)
    encode = load_encoder(config, texts=TEXTS, device="cpu", poolings=poolings)
    width = encode(["Moon"]).shape[1]
    np.testing.assert_array_equal(encode(["", ""]), np.zeros((2, width), np.float32))
    # a whole batch of them before others
    rows = encode([""] * AT_ONCE + ["Moon"])
    assert rows.shape == (AT_ONCE + 1, width)
    assert rows.any(axis=1).tolist() == [False] * AT_ONCE + [True]


def test_names_that_are_no_encoder_and_unknown_poolings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no LM named 'nothing'"):
        load_encoder(TextConfig(encoder="nothing"), texts=TEXTS, device="cpu")
    modules = [{"type": "a.Transformer", "path": ""}, {"type": "a.Pooling", "path": "1_Pooling"}]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    (tmp_path / "1_Pooling").mkdir()
    pooling = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    with pytest.raises(InputError, match="pooling by .*cls"):
        load_encoder(TextConfig(encoder=str(tmp_path)), texts=TEXTS, device="cpu")


def test_a_sentence_encoder_keeps_the_pooling_it_was_trained_for(tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text("[]")
    with pytest.raises(InputError, match="is a sentence encoder, trained for the mean"):
        load_encoder(TextConfig(encoder=str(tmp_path)), texts=TEXTS, device="cpu", poolings=("last_token",))


@pytest.mark.skipif(not assets.is_fetched("all-minilm-l6-v2"), reason="all-minilm-l6-v2 is not fetched")
def test_the_sentence_encoder_places_like_titles_together() -> None:
    encode = load_encoder(TextConfig(), texts=[], device="cpu")
    rows = encode(["Star Wars (1977)", "The Empire Strikes Back (1980)", "Stainless steel kitchen sink"])
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert rows.shape == (3, 384)
    assert rows[0] @ rows[1] > rows[0] @ rows[2] + 0.2
