"""S-DPO: an adapter tuned with the language-modelling loss learns to prefer targets to drawn negatives.

The reference of [S-DPO] is a second copy of the model that the policy starts from, LoRA weights included. It
is frozen and its answers are fixed, so all that training ever asks of it are numbers: the log-probabilities
of each window's target and negatives. They are computed once, with the policy still at its start, and kept.
The policy then trains those same LoRA weights on. Nothing is switched off: without the adapter the network
is the model before any tuning, which is no reference of S-DPO. Nor is the adapter merged under a fresh one:
that would change what is trained (the sum of two updates of rank r) and round the merged weights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback

from reclib.arrays import save_array
from reclib.config import PreferenceConfig, TuneConfig
from reclib.data.dataset import Dataset
from reclib.models.causal_lm import CausalLM, load_adapter
from reclib.schema import InputError
from reclib.text.tokenization import ItemTokens, PromptTokens
from reclib.text.trie import ItemTrie
from reclib.training.answers import AnswerCollator
from reclib.training.lm_trainer import (
    LMTrainer,
    best_epoch,
    train_to_end,
    training_arguments,
    training_windows,
    window_prompts,
)
from reclib.training.preference_negatives import draw_negatives
from reclib.training.preference_objective import PreferenceObjective, answer_log_probabilities

WINDOWS_PER_BATCH = 16
WINDOWS_PER_FILE = 512  # what a kill during the reference's pass costs at most


def prefer(
    lm: CausalLM,
    dataset: Dataset,
    trie: ItemTrie,
    item_tokens: ItemTokens,
    config: TuneConfig,
    preference: PreferenceConfig,
    *,
    reference: Path,
    seed: int,
    workdir: Path,
    callbacks: Sequence[TrainerCallback] = (),
) -> dict[str, Any]:
    """Tune the LM's adapter, in place, from the reference adapter on, by softmax-DPO.

    The windows are those that `fine_tune` draws under this seed. Optimiser, schedule, checkpoints and the
    choice of the epoch are those of `fine_tune`; LoRA's dropout, if any, is drawn once for a prompt and all
    its answers, and is off for the reference. A run that was killed goes on from its last checkpoint in
    `workdir`, or in the reference's pass, and ends with the same weights.

    reference: file of the adapter, as `fine_tune` writes it; `config.objective` is the one it was tuned by.
    Writes `workdir/adapter.safetensors`. Returns "trace", a table (step, name, value) of what was logged,
    and "objective". Raises InputError for a reference of another objective than "lml". Source: [S-DPO].
    """
    if config.objective.name != "lml":
        raise InputError(f"the reference of S-DPO is tuned with 'lml', not {config.objective.name!r}")
    load_adapter(lm, reference)
    windows = training_windows(dataset, config, seed=seed)
    prompts = window_prompts(lm, dataset, windows, config)
    negatives = draw_negatives(dataset, windows, trie, item_tokens, preference, seed=seed)
    answers = np.column_stack([windows.target_idx.astype(np.int64), negatives])
    arguments = training_arguments(config, seed=seed, folder=workdir / "checkpoints", device=lm.device)
    folder = workdir / f"reference-{_digest(prompts, answers, reference)}"
    values = reference_log_probabilities(
        lm, prompts, answers, item_tokens, folder=folder, mixed_precision=arguments.bf16
    )
    collator = AnswerCollator(item_tokens)
    objective = PreferenceObjective(preference)
    callbacks = list(callbacks)
    if config.epochs > 1:
        callbacks.append(best_epoch(lm, dataset, trie, item_tokens, config, workdir))
    trainer = LMTrainer(
        lm,
        arguments,
        objective=objective,
        train_dataset=range(len(windows)),
        data_collator=lambda rows: collator.batch(prompts.take(np.array(rows)), answers[rows], values[rows]),
        callbacks=callbacks,
    )
    return train_to_end(trainer, workdir, keeps_best=config.epochs > 1)


def reference_log_probabilities(
    lm: CausalLM,
    prompts: PromptTokens,
    answers: np.ndarray,
    item_tokens: ItemTokens,
    *,
    folder: Path,
    mixed_precision: bool = False,
) -> np.ndarray:
    """Values log P(answer | prompt) under the LM as it is, without dropout; (W, A) float64, in nats.

    answers: (W, A) item_idx. Each `WINDOWS_PER_FILE` windows are a file in `folder`, which is read where it
    is there; what it depends on beside the row must be in the folder's name.
    mixed_precision: whether to round as training in bfloat16 does, so that policy and reference agree
    before the first step.
    """
    parts = []
    for first in range(0, len(answers), WINDOWS_PER_FILE):
        path = folder / f"{first}.npy"
        if not path.exists():
            rows = np.arange(first, min(first + WINDOWS_PER_FILE, len(answers)))
            save_array(path, _pass(lm, prompts.take(rows), answers[rows], item_tokens, mixed_precision))
        parts.append(np.load(path, allow_pickle=False))
    return np.concatenate(parts)


@torch.no_grad()
def _pass(
    lm: CausalLM, prompts: PromptTokens, answers: np.ndarray, item_tokens: ItemTokens, mixed_precision: bool
) -> np.ndarray:
    was_training = lm.training
    lm.eval()
    collator = AnswerCollator(item_tokens, device=lm.device)
    values = np.empty(answers.shape)
    for first in range(0, len(answers), WINDOWS_PER_BATCH):
        rows = np.arange(first, min(first + WINDOWS_PER_BATCH, len(answers)))
        batch = collator.batch(prompts.take(rows), answers[rows], np.zeros(answers[rows].shape))
        with torch.autocast(lm.device.type, torch.bfloat16, enabled=mixed_precision):
            hidden = lm(**batch["model_inputs"])
            found = answer_log_probabilities(hidden, lm.output_embedding, batch["targets"])
        values[rows] = found.cpu().numpy()
    lm.train(was_training)
    return values


def _digest(prompts: PromptTokens, answers: np.ndarray, adapter: Path) -> str:
    """What the reference's numbers depend on besides the network."""
    digest = hashlib.sha256(adapter.read_bytes())
    for array in (prompts.head, prompts.tokens, prompts.start, answers):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]
