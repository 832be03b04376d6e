from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    MambaConfig,
    MambaForCausalLM,
    PreTrainedTokenizerBase,
    Qwen3Config,
)

from reclib.config import LMConfig
from reclib.models import causal_lm, pretrained
from reclib.models.causal_lm import CausalLM, adapter_state, add_lora, load_adapter, load_lm
from reclib.models.packing import pack, packed_mask
from reclib.models.random_lm import random_tokenizer
from reclib.schema import InputError

TITLES = ["The Red House", "The Red River", 'The "Old" Star', "Blue Moon (1999)", "Café, Noir"]
CONFIG = LMConfig(name="random", lora_dropout=0.0, dtype="float64")


def tiny(*, seed: int = 0, lora: bool = True, config: LMConfig = CONFIG) -> CausalLM:
    lm = load_lm(config, seed=seed, titles=TITLES)
    return add_lora(lm, config, seed=seed) if lora else lm


def with_live_lora(lm: CausalLM) -> CausalLM:
    generator = torch.Generator().manual_seed(5)
    for weight in lm.parameters():
        if weight.requires_grad:
            weight.data = 0.2 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
    return lm


def gradients(lm: CausalLM, loss: Tensor) -> Tensor:
    weights = [weight for weight in lm.parameters() if weight.requires_grad]
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, weights)])


def one_by_one(lm: CausalLM, head: np.ndarray, tails: list[np.ndarray]) -> list[Tensor]:
    """Hidden states of each tail's tokens, every sequence run whole and alone by the plain forward pass."""
    states = []
    for tail in filter(len, tails):
        whole = torch.from_numpy(np.concatenate([head, tail]).astype(np.int64))
        output = lm.network(input_ids=whole[None], output_hidden_states=True)
        states.append(output.hidden_states[-1][0, len(head) :])
    return states


@pytest.mark.parametrize("head_length", [0, 1, 9])
@pytest.mark.parametrize("lengths", [[7], [5, 5, 5], [3, 11, 1, 6], [4, 0, 2]])
def test_packed_sequences_are_the_sequences_run_alone(head_length: int, lengths: list[int]) -> None:
    lm = with_live_lora(tiny())
    generator = np.random.default_rng(1)
    head = generator.integers(0, lm.vocabulary_size, head_length)
    tails = [generator.integers(0, lm.vocabulary_size, length) for length in lengths]
    inputs, start = pack(head, np.concatenate(tails), np.concatenate([[0], np.cumsum(lengths)]))
    asked = np.concatenate(
        [np.arange(length)[::-2] + first for first, length in zip(start, lengths, strict=True)]
    )

    packed = lm(**inputs, asked=torch.from_numpy(asked))
    plain = torch.cat([states.flip(0)[::2] for states in one_by_one(lm, head, tails)])

    torch.testing.assert_close(packed, plain, rtol=1e-9, atol=1e-9)
    weight = torch.randn(packed.shape, generator=torch.Generator().manual_seed(2), dtype=packed.dtype)
    ours, theirs = gradients(lm, (packed * weight).sum()), gradients(lm, (plain * weight).sum())
    # transformers' norm layers round to float32 on the way, whatever the weights are
    assert (ours - theirs).norm() < 1e-6 * theirs.norm()


def test_nothing_is_padded() -> None:
    inputs, start = pack(np.arange(10), np.arange(7), np.array([0, 5, 7]))
    assert inputs["input_ids"].shape == (17,)
    assert start.tolist() == [10, 15]
    assert inputs["position_ids"].tolist() == [*range(10), *range(10, 15), 10, 11]


def test_hidden_states_go_on_from_a_cache() -> None:
    lm = with_live_lora(tiny())
    ids = torch.arange(3, 15).reshape(2, 6)
    whole, none = lm.hidden_states(ids)
    assert none is None
    _, cache = lm.hidden_states(ids[:, :4], use_cache=True)
    rest, _ = lm.hidden_states(ids[:, 4:], cache=cache)
    torch.testing.assert_close(rest, whole[:, 4:], rtol=1e-10, atol=1e-10)


def test_padding_on_the_left_is_not_seen() -> None:
    lm = with_live_lora(tiny())
    ids = torch.tensor([[1, 1, 7, 8, 9]])
    mask = torch.tensor([[0, 0, 1, 1, 1]])
    padded, _ = lm.hidden_states(ids, attention_mask=mask, position_ids=torch.tensor([[0, 0, 0, 1, 2]]))
    alone, _ = lm.hidden_states(ids[:, 2:])
    torch.testing.assert_close(padded[:, 2:], alone, rtol=1e-10, atol=1e-10)


def test_output_embedding_gives_the_logits_of_the_network() -> None:
    lm = tiny()
    ids = torch.arange(5)[None]
    hidden, _ = lm.hidden_states(ids)
    torch.testing.assert_close(hidden @ lm.output_embedding.T, lm.network(input_ids=ids).logits)
    assert lm.output_embedding.shape[0] == lm.vocabulary_size


def test_the_seed_makes_the_random_model() -> None:
    first, again, other = tiny(seed=0), tiny(seed=0), tiny(seed=1)
    for a, b in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first.output_embedding, other.output_embedding)


def test_making_a_model_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    tiny()
    assert torch.equal(torch.random.get_rng_state(), before)


def test_random_logits_depend_on_the_prompt_and_differ_between_tokens() -> None:
    lm = tiny(lora=False)
    hidden, _ = lm.hidden_states(torch.tensor([[5, 6, 7], [8, 9, 7]]))
    logits = hidden[:, -1] @ lm.output_embedding.T
    assert 0.3 < logits.std() < 3
    assert (logits[0] - logits[1]).abs().mean() > 0.1


@cache
def tokenizer() -> PreTrainedTokenizerBase:
    return random_tokenizer(TITLES)


@given(text=st.text(max_size=40))
def test_any_text_survives_the_random_tokenizer(text: str) -> None:
    assert tokenizer().decode(tokenizer()(text, add_special_tokens=False)["input_ids"]) == text


@given(before=st.text(max_size=10), title=st.text(max_size=10), after=st.text(max_size=10))
def test_tokens_of_a_quoted_title_do_not_depend_on_its_surroundings(
    before: str, title: str, after: str
) -> None:
    def encode(text: str) -> list[int]:
        return tokenizer()(text, add_special_tokens=False)["input_ids"]

    assert encode(f'{before}"{title}"{after}') == encode(before) + encode(f'"{title}"') + encode(after)


def test_common_words_are_one_token() -> None:
    assert len(tokenizer()("The user has watched", add_special_tokens=False)["input_ids"]) == 4
    assert tokenizer().eos_token_id != tokenizer().pad_token_id


def test_lora_is_all_that_is_trained_and_changes_nothing_at_first() -> None:
    plain, adapted = tiny(lora=False), tiny()
    assert not [name for name, weight in plain.named_parameters() if weight.requires_grad]
    trained = [name for name, weight in adapted.named_parameters() if weight.requires_grad]
    assert len(trained) == 2 * 2 * 2  # A and B, of q and v, in two layers
    assert all("lora" in name for name in trained)
    ids = torch.arange(6)[None]
    assert torch.equal(plain.hidden_states(ids)[0], adapted.hidden_states(ids)[0])


def test_lora_weights_come_from_their_seed() -> None:
    first, again, other = tiny(), tiny(), add_lora(tiny(lora=False), CONFIG, seed=3)
    name = next(name for name in adapter_state(first) if "lora_A" in name)
    assert torch.equal(adapter_state(first)[name], adapter_state(again)[name])
    assert not torch.equal(adapter_state(first)[name], adapter_state(other)[name])


def test_lora_is_float32_on_a_half_precision_model() -> None:
    lm = tiny(config=replace(CONFIG, dtype="bfloat16"))
    assert lm.output_embedding.dtype == torch.bfloat16
    assert {weight.dtype for weight in adapter_state(lm).values()} == {torch.float32}


def test_unknown_lora_target_is_named() -> None:
    with pytest.raises(InputError, match="no_such_proj"):
        add_lora(tiny(lora=False), replace(CONFIG, lora_targets=("no_such_proj",)), seed=0)


def test_an_adapter_moves_between_models() -> None:
    source, sink = with_live_lora(tiny()), tiny()
    load_adapter(sink, {name: weight.clone() for name, weight in adapter_state(source).items()})
    ids = torch.arange(6)[None]
    assert torch.equal(source.hidden_states(ids)[0], sink.hidden_states(ids)[0])


def test_an_adapter_of_another_shape_is_refused() -> None:
    state = adapter_state(tiny(config=replace(CONFIG, lora_rank=2)))
    with pytest.raises(InputError, match="does not fit"):
        load_adapter(tiny(), state)


def test_a_folder_in_hugging_face_format_is_loaded_without_its_sampling(tmp_path: Path) -> None:
    lm = tiny(lora=False, config=replace(CONFIG, dtype="float32"))
    lm.network.generation_config.do_sample = True
    lm.network.generation_config.temperature = 0.2
    lm.network.save_pretrained(tmp_path)
    lm.tokenizer.save_pretrained(tmp_path)
    loaded = load_lm(LMConfig(name=str(tmp_path)), seed=0)
    ids = torch.arange(6)[None]
    torch.testing.assert_close(loaded.hidden_states(ids)[0], lm.hidden_states(ids)[0])
    assert loaded.tokenizer("The Red House").input_ids == lm.tokenizer("The Red House").input_ids
    assert not loaded.network.generation_config.do_sample


@pytest.mark.parametrize("name", ["no-such-model", "all-minilm-l6-v2"])
def test_a_name_that_is_no_language_model_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=name):
        load_lm(LMConfig(name=name), seed=0)


@pytest.mark.parametrize("family", [Qwen3Config, GPT2Config])
def test_other_families_can_be_packed(family: type, tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes["num_key_value_heads"] = 1
    AutoModelForCausalLM.from_config(family(vocab_size=300, **sizes)).save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    assert load_lm(LMConfig(name=str(tmp_path)), seed=0).vocabulary_size == 300


def test_a_network_that_packs_wrongly_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(causal_lm, "packed_mask", lambda packing: packed_mask(packing).logical_not())
    with pytest.raises(InputError, match="packed"):
        tiny()


def test_a_network_that_is_no_transformer_decoder_is_refused(tmp_path: Path) -> None:
    config = MambaConfig(vocab_size=300, hidden_size=16, num_hidden_layers=1, state_size=4)
    MambaForCausalLM(config).save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    with pytest.raises(InputError, match="cannot be used"):
        load_lm(LMConfig(name=str(tmp_path)), seed=0)


class Unsaveable:
    """Stands for a network and for a tokenizer; the tokenizer's files no longer fit on the disk."""

    def __init__(self, *, full: bool) -> None:
        self.full = full

    def save_pretrained(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "part").write_text("half")
        if self.full:
            raise OSError("no space left on device")


def test_an_interrupted_conversion_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, full in (("AutoModelForCausalLM", False), ("AutoTokenizer", True)):
        fake = SimpleNamespace(from_pretrained=lambda *_, full=full, **__: Unsaveable(full=full))
        monkeypatch.setattr(pretrained, name, fake)
    monkeypatch.setattr(pretrained.assets, "locate", lambda _: tmp_path / "gguf")
    monkeypatch.setattr(pretrained.paths, "assets_dir", lambda: tmp_path / "assets")
    with pytest.raises(OSError, match="no space"):
        load_lm(LMConfig(name="smollm2-135m-instruct"), seed=0)
    assert [path.name for path in (tmp_path / "assets").iterdir() if path.is_dir()] == []


def test_smollm2_reads_english(smollm2: str) -> None:
    lm = load_lm(LMConfig(name=smollm2), seed=0)
    assert (lm.tokenizer.eos_token_id, lm.tokenizer.pad_token_id) == (2, 2)
    assert lm.vocabulary_size == 49_152
    assert not lm.network.generation_config.do_sample
    ids = lm.tokenizer(
        "The capital of France is Paris, and the capital of Italy is", return_tensors="pt"
    ).input_ids
    hidden, _ = lm.hidden_states(ids)
    assert lm.tokenizer.decode((hidden[0, -1] @ lm.output_embedding.T).argmax()).strip() == "Rome"
