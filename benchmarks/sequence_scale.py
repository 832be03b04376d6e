"""A million items: one epoch of SASRec with sampled softmax, then a full ranking; memory and seconds.

    python benchmarks/sequence_scale.py [--items 1000000] [--sequences 100000] [--users 1000]

d = 128, 2 layers, histories of up to 20 of a made catalogue of Zipf popularity, all positions, batches of
1,024, 512 negatives drawn once a step. Memory is the resident high-water mark of the process, torch
included. The last line says how far below 6 GB it stayed: `ratio memory_below_6gb` is 6 GB over the peak.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from reclib.analysis.machine import high_water
from reclib.config import BackboneConfig, SequenceTrainConfig
from reclib.data.dataset import Windows
from reclib.evaluation.full_ranking import rank_windows, recommend_lists
from reclib.models.backbones import build_backbone
from reclib.models.items import IdItems
from reclib.models.sequence_model import SequenceModel
from reclib.training.loop import fit

WIDTH, LENGTH = 128, 20
LIMIT = 6e9
CPU = torch.device("cpu")


def made_windows(n_users: int, n_items: int, *, seed: int) -> Windows:
    """Histories of 2 to LENGTH items by Zipf's law, scattered over the catalogue."""
    generator = np.random.default_rng(seed)
    chances = np.cumsum(np.arange(1, n_items + 1) ** -0.8)
    drawn = generator.random((n_users, LENGTH + 1)) * chances[-1]
    items = (np.searchsorted(chances, drawn).astype(np.int64) * 7_919 % n_items + 1).astype(np.int32)
    empty = generator.integers(0, LENGTH - 1, n_users)
    items[:, :-1][np.arange(LENGTH) < empty[:, None]] = 0
    users = np.arange(n_users).astype(object)
    return Windows(users, items[:, :-1], items[:, -1], np.full(n_users, np.nan))


def say(what: str, started: tuple[float, float]) -> None:
    wall, cpu = time.perf_counter() - started[0], time.process_time() - started[1]
    print(f"{what:44s} {wall:7.1f} s {cpu:7.1f} CPU-s   peak {high_water(CPU) / 1e9:5.2f} GB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--sequences", type=int, default=100_000)
    parser.add_argument("--users", type=int, default=1_000)
    arguments = parser.parse_args()
    windows = made_windows(arguments.sequences, arguments.items, seed=0)
    users = made_windows(arguments.users, arguments.items, seed=1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        backbone = build_backbone(BackboneConfig(name="sasrec", d_model=WIDTH), max_length=LENGTH)
        model = SequenceModel(IdItems(arguments.items, WIDTH), backbone)
    config = SequenceTrainConfig(
        loss="sampled_softmax", n_negatives=512, positions="all", epochs=1, batch_size=1024
    )
    print(f"{arguments.items:,} items × {WIDTH}, {arguments.sequences:,} sequences")
    started = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        fit(model, windows, config, validate=None, seed=0, workdir=Path(folder))
    say("one epoch, sampled softmax", started)
    for what, cutoff in (("ranks up to 20", 20), ("all ranks", None)):
        started = time.perf_counter(), time.process_time()
        rank_windows(model, users, cutoff=cutoff)
        say(f"{arguments.users:,} users, {what}", started)
    started = time.perf_counter(), time.process_time()
    recommend_lists(model, users, 10)
    say(f"{arguments.users:,} users, lists of 10", started)
    print(f"ratio memory_below_6gb {LIMIT / high_water(CPU):.2f}")


if __name__ == "__main__":
    main()
