"""A tiny random LM with a vocabulary made from titles: for tests, and for profile smoke."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from reclib.seeding import derived_seed
from reclib.text.prompts import DOMAINS, prompt, response

END, PAD = "<|end|>", "<|pad|>"


def random_tokenizer(titles: Sequence[str], *, vocabulary_size: int = 1024) -> PreTrainedTokenizerFast:
    """Byte-level BPE learned from titles and prompts: any text round-trips, and common words are one token.

    A quotation mark is always a token of its own, so a title's tokens do not depend on what is around it.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex('["\\n]'), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=[END, PAD],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    texts = [response(title) for title in titles] + [prompt(["title"], domain) for domain in DOMAINS]
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, pad_token=PAD, clean_up_tokenization_spaces=False
    )


def random_lm(
    titles: Sequence[str],
    *,
    seed: int,
    n_layers: int = 2,
    width: int = 64,
    n_heads: int = 4,
    vocabulary_size: int = 1024,
) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """A Llama of random weights and its tokenizer; the same seed and titles give the same model.

    The weights' standard deviation is width^−½, so that logits have variance near 1 and depend on the
    prompt: with the usual 0.02 so narrow a model gives almost the same logits to every token.
    """
    tokenizer = random_tokenizer(titles, vocabulary_size=vocabulary_size)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=n_layers,
        num_attention_heads=n_heads,
        num_key_value_heads=n_heads // 2,
        max_position_embeddings=2048,
        initializer_range=width**-0.5,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derived_seed(seed, "random lm"))
        network = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    return network, tokenizer
