"""What a step of EISAM costs: ERM's CPU seconds over those of EISAM and EISAM-2, by size of the catalogue.

    python benchmarks/eisam.py [--items 100 1000 10000 100000] [--rounds 5] [--no-pretrained]

A step is the passes of one batch, forward and backward, on one thread, without the optimiser, which is the
same for all and would only bring the ratios nearer to one; and without the measurement of A, which is due at
every hundredth step and printed beside them. ERM is what a training without sharpness runs.

- SASRec: cross-entropy over the whole catalogue, 64 windows of 10 items, every position predicted;
- a random LM of 4 layers of width 256 with LoRA: MSL and LML on 16 prompts of some 100 tokens;
- SmolLM2-135M with LoRA on MovieLens titles, where the assets are at hand: MSL on 4 prompts.

All methods see the same batches in turn, and the least of some rounds counts. Each ratio printed last is the
worst over all settings.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import replace

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
from torch import nn

from reclib.config import (
    SHARPNESS_FAMILY,
    BackboneConfig,
    DataConfig,
    LMConfig,
    ObjectiveConfig,
    SequenceTrainConfig,
    SharpnessConfig,
)
from reclib.data.dataset import Windows
from reclib.data.load import load
from reclib.models.backbones import build_backbone
from reclib.models.causal_lm import CausalLM, add_lora, load_lm
from reclib.models.items import IdItems
from reclib.models.products import float32_products
from reclib.models.random_lm import random_lm
from reclib.models.sequence_model import SequenceModel
from reclib.schema import InputError
from reclib.text.tokenization import tokenize_items, tokenize_prompts
from reclib.text.trie import ItemTrie
from reclib.training.collate import WindowCollator
from reclib.training.lm_examples import lm_examples
from reclib.training.objectives import make_objective
from reclib.training.optim import Sharpness
from reclib.training.sequence_batches import Batch
from reclib.training.sequence_objectives import Context, SequenceObjective

Step = Callable[[SharpnessConfig | None], None]
METHODS = {name: replace(SHARPNESS_FAMILY[name], alignment_every=0) for name in ("eisam", "eisam2")}
ALIGNED = replace(SHARPNESS_FAMILY["eisam"], alignment_every=1)
LENGTH, WORDS = 10, 2_000


def made_windows(n_windows: int, n_items: int, length: int) -> tuple[Windows, np.ndarray]:
    """Windows, and training counts of the items, by Zipf's law."""
    rng = np.random.default_rng(0)
    weight = np.arange(1, n_items + 1) ** -1.0
    drawn = rng.choice(n_items, size=(n_windows, length + 1), p=weight / weight.sum()) + 1
    counts = np.r_[0, np.maximum(1, 50 * n_items * weight / weight.sum())].astype(np.int64)
    users = np.arange(n_windows).astype(object)
    return Windows(users, drawn[:, :-1].astype(np.int32), drawn[:, -1], np.full(n_windows, np.nan)), counts


def sequence_step(n_items: int) -> Step:
    """A step of SASRec under cross-entropy."""
    windows, counts = made_windows(64, n_items, LENGTH)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        backbone = BackboneConfig(name="sasrec", d_model=64, n_layers=2, n_heads=2, dropout=0.2)
        model = SequenceModel(IdItems(n_items, 64), build_backbone(backbone, max_length=LENGTH)).train()
    objective = SequenceObjective(SequenceTrainConfig(loss="cross_entropy"), n_items=n_items)
    history, target = torch.from_numpy(windows.history).long(), torch.from_numpy(windows.target_idx)
    batch = Batch(history, target, torch.arange(len(target)))
    context = Context(0, 0, 1, torch.Generator().manual_seed(0))
    weights = list(model.parameters())
    sharp = {config: Sharpness(config, counts) for config in (*METHODS.values(), ALIGNED)}

    def step(config: SharpnessConfig | None) -> None:
        model.zero_grad(set_to_none=True)
        with float32_products():
            if config is None:
                objective(model, batch, context)[0].backward()
            else:
                sharp[config].backward(objective.examples(model, batch, context), weights, step=1, where="-")

    return step


def lm_step(lm: CausalLM, titles: list[str], windows: Windows, counts: np.ndarray, objective: str) -> Step:
    """A step of an LM with LoRA; the batch is made beforehand."""
    made = make_objective(ObjectiveConfig(name=objective), lm.vocabulary_size)  # type: ignore[arg-type]
    items = tokenize_items(titles, lm.tokenizer)
    collator = WindowCollator(ItemTrie.build(items), items, needs_forced=made.needs_forced)
    prompts = tokenize_prompts(windows, titles, "movies", lm.tokenizer, max_tokens=512)
    batch = collator.batch(prompts, windows.target_idx)
    weights: list[nn.Parameter] = [weight for weight in lm.parameters() if weight.requires_grad]
    sharp = {config: Sharpness(config, counts) for config in (*METHODS.values(), ALIGNED)}

    def step(config: SharpnessConfig | None) -> None:
        lm.zero_grad(set_to_none=True)
        if config is None:
            made(lm(**batch["model_inputs"]), lm.output_embedding, batch["targets"]).total.backward()
        else:
            sharp[config].backward(lm_examples(lm, made, batch), weights, step=1, where="-")

    return step


def random_lm_step(n_items: int, objective: str) -> Step:
    """A step of a random LM on a made catalogue."""
    rng = np.random.default_rng(1)
    length = rng.integers(2, 6, n_items)
    titles = [
        " ".join(f"w{word:x}" for word in rng.integers(0, WORDS, count)) + f" {item}"
        for item, count in enumerate(length)
    ]
    network, tokenizer = random_lm(titles[:5_000], seed=0, n_layers=4, width=256, n_heads=4)
    lm = CausalLM(network.requires_grad_(False), tokenizer)
    add_lora(lm, LMConfig(name="random"), seed=0).train()
    windows, counts = made_windows(16, n_items, 6)
    return lm_step(lm, titles, windows, counts, objective)


def pretrained_step() -> Step:
    """SmolLM2-135M on titles of MovieLens. Raises InputError where an asset is missing."""
    config = LMConfig()
    lm = add_lora(load_lm(config, seed=0), config, seed=0).train()
    dataset = load(DataConfig(source="ml-100k", history_length=6), seed=0)
    windows = dataset.train.take(np.arange(0, 4_000, 1_000))
    return lm_step(lm, dataset.titles, windows, np.maximum(dataset.counts, 1), "msl")


def seconds(step: Step, config: SharpnessConfig | None) -> float:
    started = time.process_time()
    step(config)
    return time.process_time() - started


def compare(name: str, step: Step, rounds: int) -> dict[str, float]:
    """ERM's CPU seconds over those of each method."""
    ways: dict[str, SharpnessConfig | None] = {"erm": None, **METHODS}
    spent: dict[str, list[float]] = {way: [] for way in ways}
    warm = min(seconds(step, config) for config in ways.values())
    for _ in range(max(rounds, min(50, int(0.5 / warm)))):  # of short steps more
        for way, config in ways.items():
            spent[way].append(seconds(step, config))
    least = {way: min(values) for way, values in spent.items()}
    aligned = (seconds(step, ALIGNED) - least["eisam"]) / 100
    ratios = {way: least["erm"] / least[way] for way in METHODS}
    costs = "  ".join(f"{way} {1 / ratio:.2f} x" for way, ratio in ratios.items())
    print(
        f"{name:32s} ERM {1e3 * least['erm']:8.1f} CPU-ms   {costs}   A {aligned / least['erm']:.2f} x",
        flush=True,
    )
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, nargs="+", default=[100, 1_000, 10_000, 100_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-pretrained", action="store_true", help="leave SmolLM2 out")
    options = parser.parse_args()
    torch.set_num_threads(1)
    makers: dict[str, Callable[[int], Step]] = {
        "SASRec, cross-entropy": sequence_step,
        "random LM, msl": lambda n_items: random_lm_step(n_items, "msl"),
        "random LM, lml": lambda n_items: random_lm_step(n_items, "lml"),
    }
    found = {}
    for name, make in makers.items():
        for n_items in options.items:
            found[name, n_items] = compare(f"{name}, {n_items:,} items", make(n_items), options.rounds)
    for name in makers:
        for way in METHODS:
            costs = [1 / found[name, n_items][way] for n_items in options.items]
            print(f"{name}: {way} costs {min(costs):.2f} to {max(costs):.2f} ERM steps over all sizes")
    if not options.no_pretrained:
        try:
            found["SmolLM2", 1_682] = compare("SmolLM2-135M, msl, 1,682 items", pretrained_step(), 2)
        except InputError as missing:
            print(f"SmolLM2: not measured ({missing})")
    for way in METHODS:
        print(f"ratio erm_over_{way} {min(ratios[way] for ratios in found.values()):.3g}")


if __name__ == "__main__":
    main()
