"""Fine-tune an LM on windows by a named objective: a `transformers.Trainer` on packed batches."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from accelerate.utils import send_to_device
from torch import nn
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.utils import is_in_notebook

from reclib import paths
from reclib.config import SharpnessConfig, TuneConfig
from reclib.data.dataset import Dataset, Windows
from reclib.models.causal_lm import CausalLM, load_adapter
from reclib.schema import InputError
from reclib.seeding import derived_seed, numpy_generator
from reclib.text.tokenization import ItemTokens, PromptTokens
from reclib.text.trie import ItemTrie
from reclib.training.checkpoints import (
    ADAPTER_FILE,
    STATE_FILE,
    drop_checkpoints,
    latest_checkpoint,
    load_state,
    mark_complete,
    save_adapter,
    save_state,
)
from reclib.training.collate import WindowCollator
from reclib.training.likelihood import catalogue_log_likelihood
from reclib.training.lm_examples import lm_examples
from reclib.training.objectives import Objective, make_objective
from reclib.training.optim import Sharpness
from reclib.training.preference_objective import PreferenceObjective
from reclib.training.progress import Progress, ProgressLines, trace_table
from reclib.training.selection import BestEpoch

VALIDATION_WINDOWS = 256  # sampled once for all epochs and seeds; standard error near 0.15 nats
BEST_FILE = "best.safetensors"

__all__ = ["LMTrainer", "catalogue_log_likelihood", "fine_tune", "training_arguments"]


class LMTrainer(Trainer):
    """Trains a `CausalLM` on hidden states where an `Objective` asks for them.

    Batches are those of the objective's collator. The loss of an optimisation step is normalised by the
    count of the whole step, over micro-batches and processes, so it does not depend on how the step was
    cut up.
    Checkpoints hold the LoRA weights and the objective's state; the Trainer adds the optimiser's.
    With `sharpness` each micro-batch's gradient is that of its step.
    """

    def __init__(
        self,
        model: CausalLM,
        args: TrainingArguments,
        *,
        objective: Objective | PreferenceObjective,
        sharpness: Sharpness | None = None,
        **others: Any,
    ) -> None:
        super().__init__(model, args, **others)
        # Tells the Trainer that compute_loss divides by `num_items_in_batch` itself.
        self.model_accepts_loss_kwargs = True
        self.lm = model
        self.objective: Objective | PreferenceObjective = objective
        self.sharpness = sharpness
        self.sharpness_numbers: dict[str, torch.Tensor] = {}  # the latest of each since the last entry
        self.progress = Progress()
        self.add_callback(_StepEnd(self))
        if args.disable_tqdm:
            self.remove_callback(PrinterCallback)
            self.add_callback(ProgressLines())

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Any]:
        """Micro-batches of one optimisation step, and the count that its loss is divided by."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        count = torch.tensor(
            [sum(self.objective.count(batch["targets"]) for batch in batches)], device=device
        )
        return batches, self.accelerator.gather(count).sum().item()

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Mapping[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Loss of one micro-batch; the sum over a step's micro-batches is the objective of the step."""
        hidden = model(**inputs["model_inputs"])
        output = self.objective(
            hidden, self.lm.output_embedding, inputs["targets"], normaliser=num_items_in_batch
        )
        n_tokens = len(inputs["model_inputs"]["input_ids"])
        weight = output.n_counted or inputs["targets"].n_tokens
        self.progress.add(output.parts, weight=weight, n_tokens=n_tokens)
        loss = output.total * self.accelerator.num_processes  # gradients are averaged over processes
        return (loss, output) if return_outputs else loss

    def training_step(
        self, model: nn.Module, inputs: Mapping[str, Any], num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Add one micro-batch's gradient, perturbed by itself where `sharpness` is set (m-SAM)."""
        if self.sharpness is None:
            return super().training_step(model, dict(inputs), num_items_in_batch)
        model.train()
        inputs = self._prepare_inputs(inputs)
        n_tokens, weight = len(inputs["model_inputs"]["input_ids"]), inputs["targets"].n_tokens
        examples = lm_examples(
            self.lm,
            cast(Objective, self.objective),  # fine_tune alone sets `sharpness`
            inputs,
            normaliser=num_items_in_batch,
            autocast=self.compute_loss_context_manager,
            on_first=lambda parts: self.progress.add(parts, weight=weight, n_tokens=n_tokens),
        )
        trained = [weight for weight in self.lm.parameters() if weight.requires_grad]
        step = self.state.global_step
        loss, numbers = self.sharpness.backward(
            examples, trained, step=step, where=f"epoch {int(self.state.epoch or 0)}, step {step}"
        )
        self.sharpness_numbers.update(numbers)
        if self.accelerator.num_processes > 1 and self.accelerator.sync_gradients:
            for each in trained:  # the passes go past the wrapper that would average over processes
                torch.distributed.all_reduce(each.grad)
        return loss * self.accelerator.num_processes

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add what was gathered since the last entry; raises InputError once the loss is not finite."""
        if not np.isfinite(logs.get("loss", 0.0)):
            raise InputError(
                f"the loss is {logs['loss']} at step {self.state.global_step}: lower learning_rate"
            )
        if "loss" in logs:
            logs = {**logs, **self.progress.entry()}
            self.sharpness_numbers.clear()
        super().log(logs, start_time)

    def _prepare_inputs(self, inputs: Any) -> Any:
        return send_to_device(inputs, self.args.device)  # the Trainer's own does not know named tuples

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        if not self.args.should_save:
            return
        folder = Path(output_dir or str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        save_adapter(self.lm, folder / ADAPTER_FILE)
        state = {"objective": self.objective.state_dict(), "progress": self.progress.state()}
        save_state(state, folder / STATE_FILE)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        folder = Path(resume_from_checkpoint)
        load_adapter(self.lm, folder / ADAPTER_FILE)
        state = load_state(folder / STATE_FILE)
        self.objective.load_state_dict(state["objective"])
        self.progress.load(state["progress"])


class _StepEnd(TrainerCallback):
    """Ends each optimisation step for the objective, and states when a checkpoint is complete."""

    def __init__(self, trainer: LMTrainer) -> None:
        self.trainer = trainer

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.trainer.progress.start_step()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        numbers = {name: float(value) for name, value in self.trainer.sharpness_numbers.items()}
        self.trainer.progress.end_step({**self.trainer.objective.step(), **numbers})

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            mark_complete(Path(args.output_dir) / f"checkpoint-{state.global_step}")


def fine_tune(
    lm: CausalLM,
    dataset: Dataset,
    trie: ItemTrie,
    item_tokens: ItemTokens,
    config: TuneConfig,
    *,
    seed: int,
    workdir: Path,
    callbacks: Sequence[TrainerCallback] = (),
    monitor: bool = False,
    sharpness: SharpnessConfig | None = None,
    prior: np.ndarray | None = None,
) -> dict[str, Any]:
    """Fine-tune the LM's adapter, in place, on training windows drawn by `seed`.

    AdamW, linear warm-up and decay, as the Trainer has them. With more than one epoch the best by
    validation is kept. A run that was killed goes on from its last checkpoint in `workdir` and ends with
    the same weights. With `monitor` the log has lml, lml_valid and lml_item of the training batches too.
    With `sharpness` each step is that of `training.optim`, its items weighed by how many of the training
    windows they are the target of, and by `prior` (N+1,) under weight "prior".

    Writes `workdir/adapter.safetensors`. Returns "trace", a table (step, name, value) of what was logged,
    and "objective", the objective's last state. Source: [MSL] §5.1.3.
    """
    objective = make_objective(config.objective, lm.vocabulary_size, monitor=monitor)
    collator = WindowCollator(trie, item_tokens, needs_forced=objective.needs_forced)
    windows = training_windows(dataset, config, seed=seed)
    prompts = window_prompts(lm, dataset, windows, config)
    if sharpness is not None and sharpness.step == "exact":
        prompts = prompts.without_head()
    callbacks = list(callbacks)
    if config.epochs > 1:
        callbacks.append(best_epoch(lm, dataset, trie, item_tokens, config, workdir))
    trainer = LMTrainer(
        lm,
        training_arguments(config, seed=seed, folder=workdir / "checkpoints", device=lm.device),
        objective=objective,
        sharpness=None if sharpness is None else _sharpness(sharpness, dataset, windows, prior, lm.device),
        train_dataset=range(len(windows)),
        data_collator=lambda rows: collator.batch(prompts.take(np.array(rows)), windows.target_idx[rows]),
        callbacks=callbacks,
    )
    return train_to_end(trainer, workdir, keeps_best=config.epochs > 1)


def train_to_end(trainer: LMTrainer, workdir: Path, *, keeps_best: bool) -> dict[str, Any]:
    """Train from the last checkpoint on, and write the adapter: the last, or the best epoch's.

    Returns "trace", a table (step, name, value) of what was logged, and "objective", its last state.
    """
    checkpoint = latest_checkpoint(workdir / "checkpoints")
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if keeps_best:
        trainer.accelerator.wait_for_everyone()
        load_adapter(trainer.lm, workdir / BEST_FILE)
    if trainer.is_world_process_zero():
        save_adapter(trainer.lm, workdir / ADAPTER_FILE)
    return {"trace": trace_table(trainer.state.log_history), "objective": trainer.objective.state_dict()}


def drop_training_state(workdir: Path) -> None:
    """Remove what `train_to_end` keeps beside the adapter it wrote; the optimiser's state is pickled."""
    drop_checkpoints(workdir / "checkpoints")
    (workdir / BEST_FILE).unlink(missing_ok=True)


def best_epoch(
    lm: CausalLM, dataset: Dataset, trie: ItemTrie, item_tokens: ItemTokens, config: TuneConfig, workdir: Path
) -> BestEpoch:
    """The callback that keeps the best epoch by the same validation windows for every run."""
    held_out = _sample(dataset.valid, VALIDATION_WINDOWS, seed=0, name="validation windows")
    measured = (window_prompts(lm, dataset, held_out, config), held_out.target_idx, trie, item_tokens)
    return BestEpoch(lm, measured, path=workdir / BEST_FILE)


def training_arguments(
    config: TuneConfig, *, seed: int, folder: Path, device: torch.device
) -> TrainingArguments:
    """Arguments of the Trainer for a fine-tuning; raises InputError for a batch that cannot be cut up.

    Checkpoints fall on logged steps, so that a resumed run logs what a straight run does.
    """
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=config.micro_batch_size,
        num_train_epochs=config.epochs,
        learning_rate=config.learning_rate,
        warmup_steps=config.warmup_steps,
        weight_decay=config.weight_decay,
        lr_scheduler_type="linear",
        logging_steps=config.trace_every,
        logging_nan_inf_filter=False,
        save_steps=-(-config.save_every // config.trace_every) * config.trace_every,
        seed=derived_seed(seed, "fine tune") % 2**32,
        use_cpu=device.type == "cpu",
        bf16=device.type == "cuda" and torch.cuda.is_bf16_supported(),
        dataloader_pin_memory=device.type == "cuda",
        remove_unused_columns=False,
        report_to="none",
        # a batch run shows text only, so it gets the lines of ProgressLines and no bar
        disable_tqdm=paths.RUN_STARTED in os.environ or not (is_in_notebook() or sys.stderr.isatty()),
    )
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # one process, one GPU; several GPUs are `accelerate launch`
    at_once = config.micro_batch_size * arguments.world_size
    if config.batch_size % at_once:
        raise InputError(
            f"batch_size {config.batch_size} is not a multiple of micro_batch_size {config.micro_batch_size} "
            f"times {arguments.world_size} processes: change one of them"
        )
    arguments.gradient_accumulation_steps = config.batch_size // at_once
    return arguments


def training_windows(dataset: Dataset, config: TuneConfig, *, seed: int) -> Windows:
    """The training windows of a run: the same for every objective under one seed."""
    return _sample(dataset.train, config.n_windows, seed=seed, name="training windows")


def _sample(windows: Windows, n_windows: int, *, seed: int, name: str) -> Windows:
    """Windows drawn without replacement; all of them where there are no more."""
    if len(windows) <= n_windows:
        return windows
    chosen = numpy_generator(seed, name).choice(len(windows), n_windows, replace=False)
    return windows.take(np.sort(chosen))


def _sharpness(
    config: SharpnessConfig,
    dataset: Dataset,
    windows: Windows,
    prior: np.ndarray | None,
    device: torch.device,
) -> Sharpness:
    counts = np.bincount(windows.target_idx, minlength=dataset.n_items + 1)
    return Sharpness(config, counts, prior=prior, device=device)


def window_prompts(lm: CausalLM, dataset: Dataset, windows: Windows, config: TuneConfig) -> PromptTokens:
    """The prompts of some windows, cut to the run's `max_tokens`."""
    return lm.prompts(windows, dataset.titles, dataset.domain, max_tokens=config.max_tokens)
