"""What every analysis of one data set and one language model shares, loaded once and on first use."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from reclib import artifacts
from reclib.artifacts import Artifact
from reclib.config import DataConfig, LMConfig, Profile
from reclib.data.dataset import Dataset, Windows
from reclib.data.load import load
from reclib.models.causal_lm import CausalLM, adapter_state, add_lora, load_adapter, load_lm
from reclib.schema import PAD_IDX
from reclib.seeding import numpy_generator
from reclib.text.prompts import prompt, response
from reclib.text.tokenization import ItemTokens, PromptTokens, tokenize_items
from reclib.text.trie import ItemTrie

DATA_SEED = 0  # the data set and the held-out sample are the same for every training seed


def fingerprints(*data: DataConfig, seed: int = DATA_SEED) -> list[str]:
    """What a step that loads some data sets itself has upstream: the fingerprints of the data."""
    return [load(each, seed=seed).fingerprint for each in data]


def usual_device() -> str:
    """The GPU where there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


class StudyBench:
    """What the cached steps of a study share: its profile, and the device that they run on.

    artifact: where results come from: a notebook's `run.artifact`, or the cache itself
    """

    def __init__(
        self,
        profile: Profile,
        artifact: Callable[..., Artifact] = artifacts.get_or_compute,
        *,
        device: str | None = None,
    ) -> None:
        self.profile = profile
        self.artifact = artifact
        self.device = device or usual_device()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.profile.name}, {self.device})"


class Workbench:
    """One data set, one language model with LoRA, the catalogue's trie and its prompts.

    The parts are cached properties: a notebook that only counts interactions never loads the LM.
    The adapters of different runs share the LM in memory: `with_adapter` exchanges the LoRA weights.
    """

    def __init__(
        self, data: DataConfig, lm: LMConfig, *, max_tokens: int = 512, device: str | None = None
    ) -> None:
        self.data_config = data
        self.lm_config = lm
        self.max_tokens = max_tokens
        self.device = device or usual_device()
        self._adapter: str | None = None

    @classmethod
    def of(cls, profile: Profile) -> Workbench:
        """The workbench of a profile."""
        return cls(profile.data, profile.lm, max_tokens=profile.tune.max_tokens)

    def __repr__(self) -> str:
        return f"Workbench({self.data_config.source}, {self.lm_config.name}, {self.device})"

    @cached_property
    def dataset(self) -> Dataset:
        """The data set, after preprocessing."""
        return load(self.data_config, seed=DATA_SEED)

    def upstream(self, *artifacts: Artifact | None) -> list[Artifact | str]:
        """What a step on this workbench has upstream: the data's fingerprint, then what else it reads.

        None is left out: the untuned model comes from no step.
        """
        return [self.dataset.fingerprint, *(each for each in artifacts if each is not None)]

    @cached_property
    def lm(self) -> CausalLM:
        """The LM with a fresh LoRA adapter, whose output is the pretrained model's."""
        return self.fresh_lm(seed=DATA_SEED)

    @cached_property
    def untuned_state(self) -> dict[str, torch.Tensor]:
        """The LoRA weights before any training."""
        return {name: value.detach().clone() for name, value in adapter_state(self.lm).items()}

    @cached_property
    def item_tokens(self) -> ItemTokens:
        """The tokens of every quoted title, end token included."""
        return tokenize_items(self.dataset.titles, self.lm.tokenizer)

    @cached_property
    def trie(self) -> ItemTrie:
        """The trie over the whole catalogue."""
        return ItemTrie.build(self.item_tokens)

    def with_adapter(self, adapter: Artifact | None) -> CausalLM:
        """The LM with the LoRA weights of a fine-tuning artifact; None gives the untuned model."""
        wanted = adapter.key if adapter is not None else "untuned"
        if wanted == self._adapter:
            return self.lm.eval()
        untuned = self.untuned_state  # taken before the first exchange
        load_adapter(self.lm, untuned if adapter is None else Path(adapter.path) / "adapter.safetensors")
        self._adapter = wanted
        return self.lm.eval()

    def reset_adapter(self) -> None:
        """Forget which adapter is loaded, after its weights were changed by hand."""
        self._adapter = None

    def fresh_lm(self, *, seed: int) -> CausalLM:
        """The LM with new LoRA weights drawn from `seed`, ready to be trained."""
        base = load_lm(self.lm_config, seed=DATA_SEED, titles=self.dataset.titles)
        return add_lora(base, self.lm_config, seed=seed).to(self.device)

    def prompts(self, windows: Windows) -> PromptTokens:
        """The prompts of some windows, cut to `max_tokens`."""
        data = self.dataset
        return self.lm.prompts(windows, data.titles, data.domain, max_tokens=self.max_tokens)

    def held_out(self, n_windows: int, *, part: str = "test") -> Windows:
        """A fixed sample of the validation or test windows, the same for every method and seed."""
        windows = getattr(self.dataset, part)
        if n_windows >= len(windows):
            return windows
        return windows.take(self.held_out_rows(n_windows, part=part))

    def held_out_rows(self, n_windows: int, *, part: str = "test") -> np.ndarray:
        """The rows of the validation or test windows that `held_out` takes, ascending."""
        n_all = len(getattr(self.dataset, part))
        if n_windows >= n_all:
            return np.arange(n_all)
        chosen = numpy_generator(DATA_SEED, f"held out {part}").choice(n_all, n_windows, replace=False)
        return np.sort(chosen)

    def example(self, window: int = 0) -> str:
        """One training window as the LM reads it: the prompt, and the title it should answer with."""
        data = self.dataset
        items = [item for item in data.train.history[window] if item != PAD_IDX]
        asked = prompt([data.titles[item - 1] for item in items], data.domain)
        return asked + response(data.titles[data.train.target_idx[window] - 1])
