"""Where the time of a training step goes: by phase and by kind of operation."""

from __future__ import annotations

import itertools
import time
from collections import defaultdict

import torch
from torch.profiler import ProfilerActivity, profile

from reclib.config import SequenceTrainConfig
from reclib.data.dataset import Windows
from reclib.kernels.sequence_losses import catalogue_cross_entropy
from reclib.models.products import float32_products
from reclib.models.sequence_model import SequenceModel
from reclib.training.sequence_batches import WindowBatches
from reclib.training.sequence_objectives import Context, SequenceObjective, predicted_positions

STEPS, WARM = 60, 10
KINDS = {  # kind → names of torch's operations, the first that fits
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "mkldnn"),
    "random numbers": ("random_", "bernoulli", "randperm"),
    "softmax, exp, log": ("softmax", "exp", "log", "amax"),
    "activation": ("gelu", "relu", "silu"),
    "layer norm": ("layer_norm",),
    "optimiser": ("adam", "zero_grad"),
    "lookup and its gradient": ("embedding", "index", "gather", "scatter"),
    "copies and fills": ("copy", "fill", "zero", "cat", "contiguous", "clone", "empty"),
    "elementwise": ("add", "mul", "sub", "div", "where", "masked", "sum", "mean", "ge", "eq", "ne"),
}


def show(model: SequenceModel, windows: Windows, positions: str) -> None:
    """Print both tables for cross-entropy at the last or at all positions."""
    config = SequenceTrainConfig(loss="cross_entropy", positions=positions)
    objective = SequenceObjective(config, n_items=model.n_items)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    batches = WindowBatches(
        windows, n_items=model.n_items, batch_size=256, positions="last", device=torch.device("cpu")
    )
    generator = torch.Generator().manual_seed(0)
    context = Context(0, 0, 1, generator)

    def step(spent: dict[str, float]) -> None:
        ticks = [time.process_time()]

        def tick(phase: str) -> None:
            ticks.append(time.process_time())
            spent[phase] += ticks[-1] - ticks[-2]

        batch, _ = next(waiting)
        tick("batch")
        predicted = predicted_positions(model, batch, config.positions, generator)
        tick("encoder, forward")
        loss = catalogue_cross_entropy(predicted.states, model.item_matrix(), predicted.target).mean()
        tick("loss, with its gradient")
        loss.backward()
        tick("encoder, backward")
        optimiser.step()
        optimiser.zero_grad()
        tick("Adam")

    waiting = itertools.chain.from_iterable(batches.epoch(generator) for _ in itertools.count())
    with float32_products():
        phases: dict[str, float] = defaultdict(float)
        for number in range(WARM + STEPS):
            if number == WARM:
                phases.clear()
            step(phases)
        with profile(activities=[ProfilerActivity.CPU]) as recorded:
            for _ in range(STEPS):
                objective(model, next(waiting)[0], context)[0].backward()
                optimiser.step()
                optimiser.zero_grad()
    total = sum(phases.values())
    print(f"positions {positions}: {1e3 * total / STEPS:.1f} ms a step of 256 windows, one thread")
    _table(dict(phases), total)
    kinds: dict[str, float] = defaultdict(float)
    for event in recorded.key_averages():
        kinds[_kind(event.key)] += event.self_cpu_time_total
    print("by kind of operation, as shares of the profiled time (which the profiler itself lengthens)")
    _table(kinds, sum(kinds.values()))


def _kind(operation: str) -> str:
    name = operation.lower()
    return next(
        (kind for kind, parts in KINDS.items() if any(p in name for p in parts)), "dispatch and the rest"
    )


def _table(parts: dict[str, float], total: float) -> None:
    for name, part in sorted(parts.items(), key=lambda row: -row[1]):
        print(f"  {name:26s} {100 * part / total:5.1f} %")
