"""LLaRA: an LM tuned on prompts whose titles come with vectors, by a curriculum from text to both.

Taken from [LLaRA]: an item is its title and, behind it, a projected vector of a trained SASRec
(`hybrid_prompt.llara_projector`); LoRA and projector are trained together under one learning rate; a sample
is shown with vectors with a probability that rises from 0 to 1 over training, and as text alone otherwise.

Ours: prompts, windows, objectives and schedule are those of every LM here, without a list of candidates. A
prompt of text alone is BIGRec's to the token, where the released code keeps a filler behind each title. The
draw is made for each window anew at each step, from the seed and the step, so that neither micro-batches nor
a resumed run change it; the released code draws once for a micro-batch. Validation and test read vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback

from reclib.config import TuneConfig
from reclib.data.dataset import Dataset, Windows
from reclib.models.causal_lm import CausalLM
from reclib.schema import InputError
from reclib.seeding import numpy_generator
from reclib.text.hybrid_prompts import stacked
from reclib.text.tokenization import ItemTokens, tokenize_prompts
from reclib.text.trie import ItemTrie
from reclib.training.collate import WindowCollator
from reclib.training.lm_trainer import (
    LMTrainer,
    best_epoch,
    train_to_end,
    training_arguments,
    training_windows,
    window_prompts,
)
from reclib.training.objectives import make_objective
from reclib.training.schedules import rising_probability

CURRICULA = ("rising", "hybrid", "text")


class Curriculum:
    """Which windows of a step are shown with vectors.

    name: "rising", "hybrid" (all, always) or "text" (none, ever); n_windows: of the training
    """

    def __init__(self, name: str, n_windows: int, *, seed: int) -> None:
        if name not in CURRICULA:
            raise InputError(f"curriculum is {name!r}: choose one of {', '.join(CURRICULA)}")
        self.name, self.n_windows, self.seed = name, n_windows, seed

    def probability(self, step: int, n_steps: int) -> float:
        """Chance of a window to be shown with vectors in a step from 0."""
        if self.name == "rising":
            return rising_probability(step, n_steps=n_steps)
        return {"hybrid": 1.0, "text": 0.0}[self.name]

    def is_hybrid(self, rows: np.ndarray, step: int, n_steps: int) -> np.ndarray:
        """Whether each of some windows is, (B,) bool: a function of seed, step and window alone."""
        drawn = numpy_generator(self.seed, f"curriculum of step {step}").random(self.n_windows)
        return drawn[rows] < self.probability(step, n_steps)


class CurriculumTrainer(LMTrainer):
    """An `LMTrainer` whose batches are made when their step is known.

    Its data set gives rows; collate: (rows, step, number of steps) → batch.
    """

    def __init__(
        self, *args: Any, collate: Callable[[np.ndarray, int, int], dict[str, Any]], **others: Any
    ) -> None:
        super().__init__(*args, data_collator=lambda rows: {"rows": np.array(rows)}, **others)
        self.collate = collate

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Any]:
        """Micro-batches of one optimisation step, made for that step."""
        step, n_steps = self.state.global_step, self.state.max_steps
        made = (self.collate(batch["rows"], step, n_steps) for batch in epoch_iterator)
        return super().get_batch_samples(made, num_batches, device)


def fine_tune_by_curriculum(
    lm: CausalLM,
    dataset: Dataset,
    trie: ItemTrie,
    item_tokens: ItemTokens,
    config: TuneConfig,
    *,
    curriculum: str,
    seed: int,
    workdir: Path,
    callbacks: Sequence[TrainerCallback] = (),
    monitor: bool = False,
) -> dict[str, Any]:
    """Fine-tune LoRA weights and the projector of an LM with vectors, in place; see `fine_tune`.

    Windows, their order, optimiser, checkpoints and the choice of the epoch are those of `fine_tune` under
    this seed: with the curriculum "text" the LoRA weights are those of the LM without vectors, and the
    projector stays as it was. Writes `workdir/adapter.safetensors`; returns "trace" and "objective".
    Raises InputError for an LM without vectors and for a curriculum that there is none of.
    """
    if lm.hybrid is None:
        raise InputError("this LM reads no vectors: give it some with add_vectors, or use fine_tune")
    objective = make_objective(config.objective, lm.vocabulary_size, monitor=monitor)
    windows = training_windows(dataset, config, seed=seed)
    collate = _collate(
        (lm, dataset, config),
        windows,
        WindowCollator(trie, item_tokens, needs_forced=objective.needs_forced),
        Curriculum(curriculum, len(windows), seed=seed),
    )
    callbacks = list(callbacks)
    if config.epochs > 1:
        callbacks.append(best_epoch(lm, dataset, trie, item_tokens, config, workdir))
    trainer = CurriculumTrainer(
        lm,
        training_arguments(config, seed=seed, folder=workdir / "checkpoints", device=lm.device),
        collate=collate,
        objective=objective,
        train_dataset=range(len(windows)),
        callbacks=callbacks,
    )
    return train_to_end(trainer, workdir, keeps_best=config.epochs > 1)


def _collate(
    parts: tuple[CausalLM, Dataset, TuneConfig],
    windows: Windows,
    collator: WindowCollator,
    curriculum: Curriculum,
) -> Callable[[np.ndarray, int, int], dict[str, Any]]:
    """(rows, step, number of steps) → batch, each window as text or with vectors."""
    lm, dataset, config = parts
    text = tokenize_prompts(
        windows, dataset.titles, dataset.domain, lm.tokenizer, max_tokens=config.max_tokens
    )
    both = stacked(text, window_prompts(lm, dataset, windows, config))

    def collate(rows: np.ndarray, step: int, n_steps: int) -> dict[str, Any]:
        shown = both.take(rows + len(windows) * curriculum.is_hybrid(rows, step, n_steps))
        return collator.batch(shown, windows.target_idx[rows])

    return collate
