"""A synthetic catalogue and a tiny random LM with LoRA weights that matter: what the training tests share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch

from reclib.config import DataConfig, LMConfig, SyntheticConfig, TuneConfig
from reclib.data.dataset import Dataset, Windows
from reclib.data.load import load
from reclib.models.causal_lm import CausalLM, add_lora, load_lm
from reclib.text.tokenization import ItemTokens, PromptTokens, tokenize_items, tokenize_prompts
from reclib.text.trie import ItemTrie

MAX_TOKENS = 256


@dataclass(frozen=True)
class Toy:
    """One catalogue with its LM."""

    lm: CausalLM
    dataset: Dataset
    items: ItemTokens
    trie: ItemTrie

    def prompts(self, windows: Windows) -> PromptTokens:
        dataset = self.dataset
        return tokenize_prompts(
            windows, dataset.titles, dataset.domain, self.lm.tokenizer, max_tokens=MAX_TOKENS
        )


@lru_cache
def dataset() -> Dataset:
    synthetic = SyntheticConfig(n_users=60, n_items=40, mean_length=8, learnability=1.0)
    return load(DataConfig(source="synthetic", history_length=4, synthetic=synthetic), seed=0)


def make_toy(*, dtype: str = "float64", dropout: float = 0.0, fresh: bool = False, seed: int = 0) -> Toy:
    """`fresh` adapters are as `add_lora` leaves them: B is 0 and the output is the untuned model's."""
    config = LMConfig(name="random", lora_dropout=dropout, dtype=dtype)
    data = dataset()
    lm = add_lora(load_lm(config, seed=0, titles=data.titles), config, seed=seed)
    if not fresh:
        generator = torch.Generator().manual_seed(seed)
        for weight in lm.parameters():
            if weight.requires_grad:
                weight.data = 0.2 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
    items = tokenize_items(data.titles, lm.tokenizer)
    return Toy(lm=lm, dataset=data, items=items, trie=ItemTrie.build(items))


def tune_config(**fields: object) -> TuneConfig:
    """Eight steps of four windows on the toy, unless said otherwise."""
    values: dict[str, object] = {
        "n_windows": 32,
        "epochs": 1,
        "batch_size": 4,
        "micro_batch_size": 2,
        "learning_rate": 5e-3,
        "warmup_steps": 2,
        "max_tokens": MAX_TOKENS,
        "save_every": 2,
        "trace_every": 1,
    }
    return TuneConfig(**{**values, **fields})
