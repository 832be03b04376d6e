"""Single steps of small models, made alike for every method, to be timed, counted and compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor

from reclib.config import (
    BackboneConfig,
    LMConfig,
    ObjectiveConfig,
    SequenceTrainConfig,
    SharpnessConfig,
)
from reclib.data.dataset import Windows
from reclib.models.backbones import build_backbone
from reclib.models.causal_lm import CausalLM, add_lora
from reclib.models.items import IdItems
from reclib.models.products import float32_products
from reclib.models.random_lm import random_lm
from reclib.models.sequence_model import SequenceModel
from reclib.text.tokenization import tokenize_items, tokenize_prompts
from reclib.text.trie import ItemTrie
from reclib.training.collate import WindowCollator
from reclib.training.examples import Examples
from reclib.training.lm_examples import lm_examples
from reclib.training.objectives import make_objective
from reclib.training.optim import Outcome, Sharpness
from reclib.training.sequence_batches import Batch
from reclib.training.sequence_objectives import Context, SequenceObjective

LENGTH, WORDS = 10, 2_000


@dataclass(frozen=True, eq=False)
class StepModel:
    """One batch of one model.

    plain: the loss that training without sharpness minimises; examples: the batch as sharp steps take it
    parameters: what is trained; counts: (N+1,) training examples of each item
    """

    plain: Callable[[], Tensor]
    examples: Callable[[], Examples]
    parameters: Sequence[Tensor]
    counts: np.ndarray
    _made: dict[SharpnessConfig, Sharpness] = field(default_factory=dict)

    def sharpness(self, config: SharpnessConfig) -> Sharpness:
        """The step that a configuration names."""
        if config not in self._made:
            self._made[config] = Sharpness(config, self.counts)
        return self._made[config]

    def step(self, config: SharpnessConfig | None) -> None:
        """Forward and backward passes of one step; None is training without sharpness."""
        for weight in self.parameters:
            weight.grad = None
        with float32_products():
            if config is None:
                self.plain().backward()
            else:
                self.sharpness(config).backward(self.examples(), self.parameters, step=1, where="-")

    def outcome(self, config: SharpnessConfig) -> Outcome:
        """Gradient, loss and numbers of one step."""
        with float32_products():
            return self.sharpness(config).outcome(self.examples(), self.parameters, step=1)


def made_windows(n_windows: int, n_items: int, length: int) -> tuple[Windows, np.ndarray]:
    """Windows, and training counts of the items, by Zipf's law."""
    rng = np.random.default_rng(0)
    weight = np.arange(1, n_items + 1) ** -1.0
    drawn = rng.choice(n_items, size=(n_windows, length + 1), p=weight / weight.sum()) + 1
    counts = np.r_[0, np.maximum(1, 50 * n_items * weight / weight.sum())].astype(np.int64)
    users = np.arange(n_windows).astype(object)
    return Windows(users, drawn[:, :-1].astype(np.int32), drawn[:, -1], np.full(n_windows, np.nan)), counts


def sequence_model(
    n_items: int,
    *,
    n_windows: int = 64,
    d_model: int = 64,
    positions: str = "all",
    dropout: float = 0.2,
    dtype: torch.dtype = torch.float32,
) -> StepModel:
    """SASRec under cross-entropy over the whole catalogue."""
    windows, counts = made_windows(n_windows, n_items, LENGTH)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        backbone = BackboneConfig(name="sasrec", d_model=d_model, n_layers=2, n_heads=2, dropout=dropout)
        model = SequenceModel(IdItems(n_items, d_model), build_backbone(backbone, max_length=LENGTH))
    model = model.to(dtype).train()
    train = SequenceTrainConfig(loss="cross_entropy", positions=positions)  # type: ignore[arg-type]
    return sequence_batch(model, windows, counts, train)


def sequence_batch(
    model: SequenceModel, windows: Windows, counts: np.ndarray, train: SequenceTrainConfig
) -> StepModel:
    """A sequence model under its objective, on one batch of windows."""
    objective = SequenceObjective(train, n_items=model.n_items)
    history, target = (torch.from_numpy(each).long() for each in (windows.history, windows.target_idx))
    history, target = history.to(model.device), target.to(model.device)
    batch = Batch(history, target, torch.arange(len(target), device=model.device))
    context = Context(0, 0, 1, torch.Generator(model.device).manual_seed(0))
    return StepModel(
        lambda: objective(model, batch, context)[0],
        lambda: objective.examples(model, batch, context),
        list(model.parameters()),
        counts,
    )


def lm_model(
    lm: CausalLM,
    titles: list[str],
    windows: Windows,
    counts: np.ndarray,
    objective: str,
    *,
    share_head: bool = True,
) -> StepModel:
    """An LM with LoRA under a named objective; the batch is made beforehand.

    share_head: whether the prompts' common beginning runs once; items can have adapters of their own where
    not.
    """
    made = make_objective(ObjectiveConfig(name=objective), lm.vocabulary_size)  # type: ignore[arg-type]
    items = tokenize_items(titles, lm.tokenizer)
    collator = WindowCollator(ItemTrie.build(items), items, needs_forced=made.needs_forced)
    prompts = tokenize_prompts(windows, titles, "movies", lm.tokenizer, max_tokens=512)
    batch = collator.batch(prompts if share_head else prompts.without_head(), windows.target_idx)
    return StepModel(
        lambda: made(lm(**batch["model_inputs"]), lm.output_embedding, batch["targets"]).total,
        partial(lm_examples, lm, made, batch),
        [weight for weight in lm.parameters() if weight.requires_grad],
        counts,
    )


def random_lm_model(
    n_items: int,
    objective: str,
    *,
    n_windows: int = 16,
    n_layers: int = 4,
    width: int = 256,
    dropout: float = 0.05,
    share_head: bool = True,
    dtype: torch.dtype = torch.float32,
) -> StepModel:
    """A random LM with LoRA on a made catalogue."""
    rng = np.random.default_rng(1)
    length = rng.integers(2, 6, n_items)
    titles = [
        " ".join(f"w{word:x}" for word in rng.integers(0, WORDS, count)) + f" {item}"
        for item, count in enumerate(length)
    ]
    network, tokenizer = random_lm(titles[:5_000], seed=0, n_layers=n_layers, width=width, n_heads=4)
    lm = CausalLM(network.requires_grad_(False), tokenizer).to(dtype)
    add_lora(lm, LMConfig(name="random", lora_dropout=dropout), seed=0).train()
    windows, counts = made_windows(n_windows, n_items, 6)
    return lm_model(lm, titles, windows, counts, objective, share_head=share_head)
