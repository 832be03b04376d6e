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

from reclib.analysis.eisam.sharpness_steps import StepModel, lm_model, random_lm_model, sequence_model
from reclib.config import SHARPNESS_FAMILY, DataConfig, LMConfig, SharpnessConfig
from reclib.data.load import load
from reclib.models.causal_lm import add_lora, load_lm
from reclib.schema import InputError

METHODS = {name: replace(SHARPNESS_FAMILY[name], alignment_every=0) for name in ("eisam", "eisam2")}
ALIGNED = replace(SHARPNESS_FAMILY["eisam"], alignment_every=1)


def pretrained_model() -> StepModel:
    """SmolLM2-135M on titles of MovieLens. Raises InputError where an asset is missing."""
    config = LMConfig()
    lm = add_lora(load_lm(config, seed=0), config, seed=0).train()
    dataset = load(DataConfig(source="ml-100k", history_length=6), seed=0)
    windows = dataset.train.take(np.arange(0, 4_000, 1_000))
    return lm_model(lm, dataset.titles, windows, np.maximum(dataset.counts, 1), "msl")


def seconds(model: StepModel, config: SharpnessConfig | None) -> float:
    started = time.process_time()
    model.step(config)
    return time.process_time() - started


def compare(name: str, model: StepModel, rounds: int) -> dict[str, float]:
    """ERM's CPU seconds over those of each method."""
    ways: dict[str, SharpnessConfig | None] = {"erm": None, **METHODS}
    spent: dict[str, list[float]] = {way: [] for way in ways}
    warm = min(seconds(model, config) for config in ways.values())
    for _ in range(max(rounds, min(50, int(0.5 / warm)))):  # of short steps more
        for way, config in ways.items():
            spent[way].append(seconds(model, config))
    least = {way: min(values) for way, values in spent.items()}
    aligned = (seconds(model, ALIGNED) - least["eisam"]) / 100
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
    makers: dict[str, Callable[[int], StepModel]] = {
        "SASRec, cross-entropy": sequence_model,
        "random LM, msl": lambda n_items: random_lm_model(n_items, "msl"),
        "random LM, lml": lambda n_items: random_lm_model(n_items, "lml"),
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
            found["SmolLM2", 1_682] = compare("SmolLM2-135M, msl, 1,682 items", pretrained_model(), 2)
        except InputError as missing:
            print(f"SmolLM2: not measured ({missing})")
    for way in METHODS:
        print(f"ratio erm_over_{way} {min(ratios[way] for ratios in found.values()):.3g}")


if __name__ == "__main__":
    main()
