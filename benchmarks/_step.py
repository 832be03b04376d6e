"""A whole LoRA step the released way against ours; `msl_loss.py` runs it and prints the ratios.

The same windows of MSL's Book data (histories of up to 10 titles), the same batches in the same order,
SmolLM2-135M with LoRA r = 8 on q and v, dropout off so that losses can be compared, float32, one thread,
forward and backward of the masked softmax loss:

- released: prompts and targets padded on the left to the longest of the batch; logits at every
  position, a shifted copy and a spare clone; a boolean mask over the vocabulary for each target position,
  −∞ where masked, positions with one valid token dropped, exp and log;
- ours: `WindowCollator`, `CausalLM.forward` and the objective, as `LMTrainer` calls them.

Each side runs in a process of its own, batches built inside the timed part on both. Time: CPU seconds
over all batches after a small warm-up. Memory: the process's resident high-water mark over the batches,
less what was resident before them (the model). The losses of each batch must agree.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from reclib.analysis.machine import high_water, reset_high_water

TAU = 2.0
SEED = 0
SIDES = ("released", "ours")
Loss = Callable[[np.ndarray], torch.Tensor]


class Setting:
    """The LM, the catalogue, and the training windows both sides are given."""

    def __init__(self, n_windows: int) -> None:
        from reclib.config import DataConfig, LMConfig
        from reclib.data.load import load
        from reclib.models.causal_lm import add_lora, load_lm
        from reclib.text.tokenization import tokenize_items, tokenize_prompts
        from reclib.text.trie import ItemTrie

        config = LMConfig(name="smollm2-135m-instruct", lora_dropout=0.0)
        self.lm = add_lora(load_lm(config, seed=SEED), config, seed=SEED).train()
        dataset = load(DataConfig(source="msl_book", history_length=10), seed=SEED)
        chosen = np.random.default_rng(SEED).choice(len(dataset.train), n_windows, replace=False)
        windows = dataset.train.take(chosen)
        self.target_idx = windows.target_idx
        self.items = tokenize_items(dataset.titles, self.lm.tokenizer)
        self.trie = ItemTrie.build(self.items)
        self.prompts = tokenize_prompts(
            windows, dataset.titles, dataset.domain, self.lm.tokenizer, max_tokens=512
        )


def released(setting: Setting) -> Loss:
    """Loss of a batch as the released script computes it."""
    lm, items, trie = setting.lm, setting.items, setting.trie
    node = trie.path(items)

    def mask_of(item: int) -> torch.Tensor:  # (T, Z), kept for every sample of the data set
        nodes = node[items.start[item] : items.start[item + 1]]
        mask = torch.zeros(len(nodes), lm.vocabulary_size, dtype=torch.bool)
        for place, one in enumerate(nodes):
            children = slice(trie.child_start[one], trie.child_start[one + 1])
            mask[place, torch.from_numpy(trie.token[children].astype(np.int64))] = True
        return mask

    def loss(rows: np.ndarray) -> torch.Tensor:
        prompts = [setting.prompts.of(row) for row in rows]
        targets = [items.of(item) for item in setting.target_idx[rows]]
        length = max(len(p) + len(t) for p, t in zip(prompts, targets, strict=True))
        n_target = max(len(t) for t in targets)
        ids = torch.full((len(rows), length), lm.tokenizer.pad_token_id)
        seen = torch.zeros_like(ids)
        answer = torch.full((len(rows), n_target), -100)
        mask = torch.ones(len(rows), n_target, lm.vocabulary_size, dtype=torch.bool)
        for row, (prompt, target) in enumerate(zip(prompts, targets, strict=True)):
            ids[row, length - len(prompt) - len(target) :] = torch.from_numpy(np.r_[prompt, target])
            seen[row, length - len(prompt) - len(target) :] = 1
            answer[row, n_target - len(target) :] = torch.from_numpy(target)
            mask[row, n_target - len(target) :] = mask_of(setting.target_idx[rows[row]])
        every = lm.network(input_ids=ids, attention_mask=seen).logits
        logits = every[:, :-1][:, -n_target:].contiguous()
        spare = logits.detach().clone()
        logits[mask == 0] = -torch.inf
        flat = [part.reshape(-1, lm.vocabulary_size) for part in (logits, spare, mask)]
        kept = (answer.flatten() != -100) & (flat[2].sum(-1) > 1)
        logits, spare, _ = (part[kept] for part in flat)
        positive = logits.gather(1, answer.flatten()[kept].unsqueeze(1)).squeeze(1) / TAU
        return TAU * (torch.exp(logits / TAU).sum(-1).log() - positive).mean()

    return loss


def ours(setting: Setting) -> Loss:
    """Loss of a batch as `LMTrainer` computes it."""
    from reclib.config import ObjectiveConfig
    from reclib.training.collate import WindowCollator
    from reclib.training.objectives import make_objective

    lm = setting.lm
    objective = make_objective(ObjectiveConfig(name="msl", temperature=TAU), lm.vocabulary_size)
    collator = WindowCollator(setting.trie, setting.items, needs_forced=objective.needs_forced)

    def loss(rows: np.ndarray) -> torch.Tensor:
        batch = collator.batch(setting.prompts.take(rows), setting.target_idx[rows])
        return objective(lm(**batch["model_inputs"]), lm.output_embedding, batch["targets"]).total

    return loss


def batches(n_windows: int, batch_size: int) -> Iterator[np.ndarray]:
    yield from np.split(np.arange(n_windows), range(batch_size, n_windows, batch_size))


def measure(side: str, n_windows: int, batch_size: int) -> dict[str, Any]:
    """CPU seconds and bytes of all batches of one side, the loss and gradient norm of each."""
    torch.set_num_threads(1)
    setting = Setting(n_windows)
    loss_of = {"released": released, "ours": ours}[side](setting)
    weights = [weight for weight in setting.lm.parameters() if weight.requires_grad]

    def step(rows: np.ndarray) -> tuple[float, float]:
        setting.lm.zero_grad()
        loss = loss_of(rows)
        loss.backward()
        return loss.item(), float(torch.stack([weight.grad.norm() for weight in weights]).norm())

    step(np.arange(1))  # loads libraries and starts threads
    before = reset_high_water(torch.device("cpu"))
    started = time.process_time()
    losses = [step(rows) for rows in batches(n_windows, batch_size)]
    seconds = time.process_time() - started
    return {"seconds": seconds, "bytes": high_water(torch.device("cpu")) - before, "losses": losses}


def in_process(side: str, n_windows: int, batch_size: int) -> dict[str, Any]:
    """`measure` in a fresh interpreter."""
    command = [sys.executable, __file__, "--side", side, "--windows", str(n_windows)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    output = subprocess.run(
        [*command, "--batch-size", str(batch_size)], env=environment, check=True, stdout=subprocess.PIPE
    ).stdout
    return json.loads(output.splitlines()[-1])


def compare_step(n_windows: int = 32, batch_size: int = 16) -> dict[str, float]:
    """Measure both sides, check that they agree, print a table; returns the ratios."""
    from reclib import assets
    from reclib.paths import dataset_dir
    from reclib.schema import InputError

    try:
        assets.locate("smollm2-135m-instruct"), dataset_dir("msl_book")
    except InputError as missing:
        print(f"step: not measured ({missing})")
        return {}
    print(f"step: SmolLM2-135M, LoRA, msl_book; {n_windows} windows in batches of {batch_size}", flush=True)
    result = {}
    for side in SIDES:
        row = result[side] = in_process(side, n_windows, batch_size)
        print(
            f"  {side:9s} {row['seconds'] / n_windows:7.3f} CPU-s a sample  {row['bytes'] / 1e6:7.0f} MB"
            f"  loss {np.mean(row['losses'], axis=0)[0]:.6f}",
            flush=True,
        )
    theirs, own = (result[side] for side in SIDES)
    # float32 through 30 layers, in another order of summation
    if not np.allclose(theirs["losses"], own["losses"], rtol=1e-4):
        raise RuntimeError(f"the sides disagree: {theirs['losses']} against {own['losses']}")
    return {"step": theirs["seconds"] / own["seconds"], "step_memory": theirs["bytes"] / own["bytes"]}


def main() -> None:
    parser = argparse.ArgumentParser(description="A whole LoRA step, the released way against ours.")
    parser.add_argument("--windows", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(measure(options.side, options.windows, options.batch_size)))
        return
    for name, ratio in compare_step(options.windows, options.batch_size).items():
        print(f"ratio {name} {ratio:.3g}")


if __name__ == "__main__":
    main()
