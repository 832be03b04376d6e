"""A whole LoRA step of S-DPO: against a step of MSL, and against S-DPO the naive way.

The same windows of MSL's Book data, three negatives each, SmolLM2-135M with LoRA r = 8 on q and v, dropout
off so that losses can be compared, float32, one thread, forward and backward:

- msl: the masked softmax loss as `LMTrainer` computes it;
- reference: the pass that is made once for all epochs, for the log-probabilities of all answers;
- sdpo: `AnswerCollator`, `CausalLM.forward` and the objective, as `LMTrainer` calls them, with the
  reference's log-probabilities at hand;
- naive: a padded sequence for each answer with the prompt repeated, full logits, and a pass of the reference
  in every step. The policy is at its start, where it is its reference, so one network serves as both.

A fixed number is added to each of the reference's log-probabilities, so that the losses say something. Each
side runs in a process of its own, batches built inside the timed part; CPU seconds after a small warm-up.
Losses and gradient norms of "sdpo" and "naive" must agree. `sdpo_of_msl_…_epochs` is the time of MSL over
that of S-DPO with its share of the reference's pass: 0.4 is 2.5 times MSL.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _step import SEED, Setting, batches, ours

N_NEGATIVES = 3
EPOCHS = (1, 10)  # of fine-tuning, over which the reference's pass is spread; 10: [MSL] §5.1.3
SIDES = ("msl", "reference", "sdpo", "naive")
Loss = Callable[[np.ndarray], torch.Tensor]


class Answers:
    """What both ways of S-DPO are given: answers drawn evenly beside the targets, and what is added."""

    def __init__(self, setting: Setting) -> None:
        from reclib.config import PreferenceConfig

        generator = np.random.default_rng(SEED)
        shape = (len(setting.target_idx), N_NEGATIVES)
        drawn = generator.integers(1, setting.items.n_items + 1, shape)
        self.items = np.column_stack([setting.target_idx.astype(np.int64), drawn])
        self.added = generator.standard_normal(self.items.shape)
        self.config = PreferenceConfig(n_negatives=N_NEGATIVES)


def reference(setting: Setting, answers: Answers, folder: Path) -> np.ndarray:
    """Log-probabilities of all answers, (W, 1 + K), as `prefer` computes them."""
    from reclib.training.preference import reference_log_probabilities

    return reference_log_probabilities(
        setting.lm, setting.prompts, answers.items, setting.items, folder=folder
    )


def sdpo(setting: Setting, answers: Answers, values: np.ndarray) -> Loss:
    """Loss of a batch as `LMTrainer` computes it."""
    from reclib.training.answers import AnswerCollator
    from reclib.training.preference_objective import PreferenceObjective

    lm, objective = setting.lm, PreferenceObjective(answers.config)
    collator = AnswerCollator(setting.items)

    def loss(rows: np.ndarray) -> torch.Tensor:
        of_reference = values[rows] + answers.added[rows]
        batch = collator.batch(setting.prompts.take(rows), answers.items[rows], of_reference)
        return objective(lm(**batch["model_inputs"]), lm.output_embedding, batch["targets"]).total

    return loss


def naive(setting: Setting, answers: Answers) -> Loss:
    """Loss of a batch with a whole padded sequence for each answer, for the policy and for the reference."""
    lm, beta = setting.lm, answers.config.beta

    def log_p(ids: torch.Tensor, seen: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        logits = lm.network(input_ids=ids, attention_mask=seen).logits[:, :-1].float()
        is_answer = label[:, 1:] >= 0
        chosen = logits.log_softmax(-1).gather(2, label[:, 1:].clamp(min=0)[:, :, None])[:, :, 0]
        return (chosen * is_answer).sum(-1).view(-1, 1 + N_NEGATIVES)

    def loss(rows: np.ndarray) -> torch.Tensor:
        pairs = [
            (setting.prompts.of(row), setting.items.of(item)) for row in rows for item in answers.items[row]
        ]
        length = max(len(prompt) + len(answer) for prompt, answer in pairs)
        ids = torch.full((len(pairs), length), lm.tokenizer.pad_token_id)
        seen, label = torch.zeros_like(ids), torch.full_like(ids, -100)
        for place, (prompt, answer) in enumerate(pairs):
            stop = len(prompt) + len(answer)
            ids[place, :stop] = torch.from_numpy(np.r_[prompt, answer].astype(np.int64))
            seen[place, :stop] = 1
            label[place, len(prompt) : stop] = ids[place, len(prompt) : stop]
        with torch.no_grad():
            of_reference = log_p(ids, seen, label)
        ratio = log_p(ids, seen, label) - of_reference - torch.from_numpy(answers.added[rows])
        others = torch.exp(beta * (ratio[:, 1:] - ratio[:, :1])).sum(1)
        return -torch.nn.functional.logsigmoid(-others.log()).mean()

    return loss


def measure(side: str, n_windows: int, batch_size: int) -> dict[str, Any]:
    """CPU seconds of all batches of one side, the loss and gradient norm of each."""
    torch.set_num_threads(1)
    setting = Setting(n_windows)
    answers = Answers(setting)
    weights = [weight for weight in setting.lm.parameters() if weight.requires_grad]
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        values = reference(setting, answers, Path(folder)) if side in ("reference", "sdpo") else None
        seconds = time.process_time() - started
    if side == "reference":
        return {"seconds": seconds, "losses": []}
    if values is not None:
        loss_of = sdpo(setting, answers, values)
    else:
        loss_of = ours(setting) if side == "msl" else naive(setting, answers)

    def step(rows: np.ndarray) -> tuple[float, float]:
        setting.lm.zero_grad()
        loss = loss_of(rows)
        loss.backward()
        return loss.item(), float(torch.stack([weight.grad.norm() for weight in weights]).norm())

    step(np.arange(1))  # loads libraries and starts threads
    started = time.process_time()
    losses = [step(rows) for rows in batches(n_windows, batch_size)]
    return {"seconds": time.process_time() - started, "losses": losses}


def in_process(side: str, options: argparse.Namespace) -> dict[str, Any]:
    """`measure` in a fresh interpreter."""
    command = [sys.executable, __file__, "--side", side, "--windows", str(options.windows)]
    output = subprocess.run(
        [*command, "--batch-size", str(options.batch_size)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
        stdout=subprocess.PIPE,
    ).stdout
    return json.loads(output.splitlines()[-1])


def compare(options: argparse.Namespace) -> dict[str, float]:
    """Measure all sides, check that both ways of S-DPO agree, print a table; returns the ratios."""
    from reclib import assets
    from reclib.paths import dataset_dir
    from reclib.schema import InputError

    try:
        assets.locate("smollm2-135m-instruct"), dataset_dir("msl_book")
    except InputError as missing:
        print(f"not measured ({missing})")
        return {}
    print(f"SmolLM2-135M, LoRA, msl_book; {options.windows} windows in batches of {options.batch_size}")
    result = {}
    for side in SIDES:
        row = result[side] = in_process(side, options)
        loss = f"  loss {np.mean(row['losses'], axis=0)[0]:.6f}" if row["losses"] else ""
        print(f"  {side:9s} {row['seconds'] / options.windows:7.3f} CPU-s a window{loss}", flush=True)
    # float32 through 30 layers, in another order of summation
    if not np.allclose(result["naive"]["losses"], result["sdpo"]["losses"], rtol=1e-4):
        raise RuntimeError(f"{result['naive']['losses']} against {result['sdpo']['losses']}")
    msl, once, own, theirs = (result[side]["seconds"] for side in SIDES)
    of_msl = {f"sdpo_of_msl_{epochs}_epochs": msl / (own + once / epochs) for epochs in EPOCHS}
    return {"sdpo_step_of_msl": msl / own, **of_msl, "sdpo_naive": theirs / own}


def main() -> None:
    parser = argparse.ArgumentParser(description="A step of S-DPO against MSL's, and against the naive way.")
    parser.add_argument("--windows", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=4)  # the released script
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(measure(options.side, options.windows, options.batch_size)))
        return
    for name, ratio in compare(options).items():
        print(f"ratio {name} {ratio:.3g}")


if __name__ == "__main__":
    main()
