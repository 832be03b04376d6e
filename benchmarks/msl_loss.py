"""The masked softmax loss against the released way and the best simple dense form; then a whole step.

Inputs: 32 targets drawn from the training windows of MSL's Book data, tokenised with SmolLM2 (Z = 49,152,
D = 576) and Llama 3 (Z = 128,256, D = 1,024); random hidden states at every target position, a frozen
random output embedding. Without the data or a tokenizer a synthetic catalogue of like size stands in,
and a line says so. Each side is given hidden states and its own form of the valid tokens and does
one forward and backward pass:

- released: a boolean mask over the vocabulary for each target position, padded on the left to (B, T, Z);
  full logits at these positions (the released script makes them at the prompt's too: left out here), a
  contiguous copy and a spare clone, −∞ where masked, rows with one valid token dropped, then
  log(Σ exp(f/τ)) by exp and log;
- dense: the best simple dense form: full logits and a mask at unforced positions only, logsumexp;
- ours: `valid_logits` and `masked_softmax_loss` of `reclib.kernels`;
- compiled: the same through `torch.compile`, compiled on its valid tokens before anything is measured, so
  that its memory lacks theirs.

Each side runs in a process of its own on one thread. Time: CPU seconds of a pass, best of several after
a warm-up. Memory: the process's resident high-water mark over the first pass at full size, less what
was resident before its valid tokens were built, so masks count. On a GPU (`--device cuda`) time is that
of the clock from an empty queue to an empty queue, and memory what torch has allocated at most. Loss and
gradient must agree between the sides. Usage: `python benchmarks/msl_loss.py [--no-step] [--repeats 5]`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from reclib import assets
from reclib.analysis.machine import clock, clock_unit, high_water, reset_high_water
from reclib.config import DataConfig
from reclib.data.load import load
from reclib.kernels.masked_softmax import ValidTokens, masked_softmax_loss, valid_logits
from reclib.paths import dataset_dir
from reclib.schema import InputError

TAU = 2.0
N_TARGETS = 32
SEED = 0


class Case(NamedTuple):
    """One vocabulary: its label, tokenizer asset, size, end token, and width of the hidden states."""

    label: str
    tokenizer: str
    vocabulary: int
    end_token: int
    width: int


class Inputs(NamedTuple):
    """What a side is given: states at all target positions, and the valid tokens and target of each."""

    hidden: torch.Tensor
    embedding: torch.Tensor
    rows: list[np.ndarray]
    target: torch.Tensor
    lengths: torch.Tensor  # of each of the B targets


Pass = Callable[[], torch.Tensor]
CASES = (
    Case("49k", "smollm2-135m-instruct", 49_152, 2, 576),
    Case("128k", "llama3-tokenizer", 128_256, 128_001, 1_024),
)
SIDES = ("released", "dense", "ours", "compiled")


# Inputs, made once in the parent process


def real_titles() -> tuple[list[str], np.ndarray]:
    """Titles of the Book catalogue in item order, and targets of its training windows."""
    dataset = load(DataConfig(source="msl_book"), seed=SEED)
    return list(dataset.titles), np.asarray(dataset.train.target_idx) - 1


def real_tokens(case: Case, titles: list[str]) -> list[list[int]]:
    """Token ids of each quoted title, end token included."""
    from transformers import AutoTokenizer
    from transformers.convert_slow_tokenizer import TikTokenConverter

    folder = assets.locate(case.tokenizer)
    quoted = [f'"{title}"' for title in titles]
    gguf = next(folder.rglob("*.gguf"), None)
    if gguf is not None:
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        ids = tokenizer(quoted, add_special_tokens=False)["input_ids"]
    else:
        converted = TikTokenConverter(vocab_file=str(next(folder.rglob("*.model")))).converted()
        ids = [code.ids for code in converted.encode_batch(quoted, add_special_tokens=False)]
    return [[*tokens, case.end_token] for tokens in ids]


def synthetic_tokens(case: Case, n_items: int = 6_344) -> tuple[list[list[int]], np.ndarray]:
    """A catalogue whose first token is shared, whose second is open, and whose rest is mostly forced."""
    generator = np.random.default_rng(SEED)
    lengths = generator.integers(6, 20, n_items)
    opening = np.minimum(generator.zipf(1.3, n_items), 1_100) + 10
    rest = [generator.integers(2_000, case.vocabulary, length).tolist() for length in lengths]
    tokens = [[3, int(first), *tail, case.end_token] for first, tail in zip(opening, rest, strict=True)]
    return tokens, generator.integers(0, n_items, 10_000)


def valid_rows(catalogue: list[list[int]], targets: np.ndarray) -> tuple[list[np.ndarray], list[int]]:
    """Valid tokens before each token of each target, and that token."""
    children: dict[tuple[int, ...], set[int]] = {}
    for tokens in catalogue:
        for place, token in enumerate(tokens):
            children.setdefault(tuple(tokens[:place]), set()).add(token)
    steps = [
        (tuple(catalogue[item][:place]), token)
        for item in targets
        for place, token in enumerate(catalogue[item])
    ]
    return [np.array(sorted(children[prefix])) for prefix, _ in steps], [token for _, token in steps]


def make_inputs(case: Case, folder: Path) -> Path:
    """File with the valid tokens (ragged) and target token of each position of the drawn targets."""
    try:
        assets.locate(case.tokenizer), dataset_dir("msl_book")
        titles, train_targets = real_titles()
        catalogue, source = real_tokens(case, titles), f"msl_book, {case.tokenizer}"
    except InputError as missing:
        catalogue, train_targets = synthetic_tokens(case)
        source = f"SYNTHETIC catalogue, for want of data or tokenizer ({missing})"
    drawn = np.random.default_rng(SEED).choice(train_targets, N_TARGETS, replace=False)
    rows, target = valid_rows(catalogue, drawn)
    n_valid = np.array([len(row) for row in rows])
    unforced = n_valid[n_valid > 1]
    print(f"{case.label}: {source}; Z {case.vocabulary}, D {case.width}; {N_TARGETS} targets,")
    print(
        f"  {len(rows)} positions, {len(unforced)} unforced with {unforced.sum()} valid tokens,"
        f" {len(np.unique(np.concatenate(rows)))} different ones",
        flush=True,
    )
    path = folder / f"{case.label}.npz"
    lengths = [len(catalogue[item]) for item in drawn]
    np.savez(path, tokens=np.concatenate(rows), n_valid=n_valid, target=np.array(target), lengths=lengths)
    return path


# One side, in a process of its own


def dense_mask(rows: list[np.ndarray], vocabulary: int) -> torch.Tensor:
    mask = torch.zeros(len(rows), vocabulary, dtype=torch.bool)
    for position, row in enumerate(rows):
        mask[position, torch.from_numpy(row)] = True
    return mask


def released_pass(inputs: Inputs) -> Pass:
    n_samples, length = len(inputs.lengths), int(inputs.lengths.max())
    sample = torch.arange(n_samples).repeat_interleave(inputs.lengths)
    place = torch.cat([torch.arange(length - n, length) for n in inputs.lengths.tolist()])
    labels = torch.full((n_samples, length), -100)
    labels[sample, place] = inputs.target.cpu()
    mask = torch.ones(n_samples, length, len(inputs.embedding), dtype=torch.bool)
    mask[sample, place] = dense_mask(inputs.rows, len(inputs.embedding))
    sample, place, labels, mask = (part.to(inputs.hidden.device) for part in (sample, place, labels, mask))

    def run() -> torch.Tensor:
        states = inputs.hidden.new_zeros(n_samples, length + 1, inputs.hidden.shape[1])
        states[sample, place] = inputs.hidden
        logits = (states @ inputs.embedding.T)[:, :-1].contiguous()
        spare = logits.detach().clone()
        logits[mask == 0] = -torch.inf
        flat = [part.reshape(n_samples * length, -1) for part in (logits, spare, mask)]
        answer = labels.flatten()
        kept = (answer != -100) & (flat[2].sum(-1) > 1)
        logits, spare, _ = (part[kept] for part in flat)
        positive = logits.gather(1, answer[kept].unsqueeze(1)).squeeze(1) / TAU
        return TAU * (torch.exp(logits / TAU).sum(-1).log() - positive).mean()

    return run


def dense_pass(inputs: Inputs) -> Pass:
    kept = torch.tensor([place for place, row in enumerate(inputs.rows) if len(row) > 1])
    forbidden = dense_mask([inputs.rows[place] for place in kept], len(inputs.embedding)).logical_not_()
    kept, forbidden = (part.to(inputs.hidden.device) for part in (kept, forbidden))
    answer = inputs.target[kept].unsqueeze(1)

    def run() -> torch.Tensor:
        scaled = (inputs.hidden[kept] @ inputs.embedding.T).div_(TAU).masked_fill_(forbidden, -torch.inf)
        return TAU * (scaled.logsumexp(1) - scaled.gather(1, answer).squeeze(1)).mean()

    return run


def our_pass(inputs: Inputs) -> Pass:
    kept = np.flatnonzero([len(row) > 1 for row in inputs.rows])
    rows = [inputs.rows[place] for place in kept]
    n_valid = np.array([len(row) for row in rows])
    start = np.concatenate([[0], n_valid.cumsum()])
    entry = start[:-1] + [
        np.searchsorted(row, token) for row, token in zip(rows, inputs.target.cpu()[kept], strict=True)
    ]
    union, column = np.unique(np.concatenate(rows), return_inverse=True)
    device = inputs.hidden.device
    parts = (union, column, start, entry, n_valid)
    valid = ValidTokens(*(torch.from_numpy(part).to(device) for part in parts))
    counted = torch.from_numpy(kept).to(device)

    def run() -> torch.Tensor:
        logits = valid_logits(inputs.hidden.index_select(0, counted), inputs.embedding, valid)
        return masked_softmax_loss(logits, valid, temperature=TAU).mean()

    return run


def compiled_pass(inputs: Inputs) -> Pass:
    run = torch.compile(our_pass(inputs), dynamic=True)
    once(run, inputs.hidden)
    return run


PASSES = {"released": released_pass, "dense": dense_pass, "ours": our_pass, "compiled": compiled_pass}


def once(run: Pass, hidden: torch.Tensor) -> tuple[float, float]:
    """Seconds of a forward and backward pass, see `clock`, and the loss."""
    hidden.grad = None
    started = clock(hidden.device)
    loss = run()
    loss.backward()
    return clock(hidden.device) - started, loss.item()


def measure(side: str, case: Case, path: Path, repeats: int, device: str) -> dict[str, float]:
    """Seconds and bytes of one side; writes its gradient beside the input."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(SEED)
    data = np.load(path)
    rows = np.split(data["tokens"], data["n_valid"].cumsum()[:-1])
    embedding = torch.randn(case.vocabulary, case.width, generator=generator) * (2 / case.width**0.5)
    hidden = torch.randn(len(rows), case.width, generator=generator)
    hidden, embedding = hidden.to(device).requires_grad_(), embedding.to(device)
    target, lengths = torch.from_numpy(data["target"]).to(device), torch.from_numpy(data["lengths"])

    # Loads libraries and starts threads, so that neither counts as memory of the pass.
    small = Inputs(
        hidden[:2].detach().requires_grad_(),
        embedding[:64],
        [np.arange(4), np.arange(2)],
        torch.tensor([1, 0], device=device),
        torch.tensor([2]),
    )
    once(PASSES[side](small), small.hidden)
    whole = Inputs(hidden, embedding, rows, target, lengths)
    run = PASSES[side](whole) if side == "compiled" else None  # the compiler's own memory is not the pass's
    before = reset_high_water(hidden.device)
    run = run or PASSES[side](whole)
    _, loss = once(run, hidden)
    peak = high_water(hidden.device) - before
    np.save(path.with_name(f"{case.label}-{side}.npy"), torch.as_tensor(hidden.grad).cpu().numpy())
    return {"seconds": min(once(run, hidden)[0] for _ in range(repeats)), "bytes": peak, "loss": loss}


def in_process(side: str, case: Case, path: Path, repeats: int, device: str) -> dict[str, float]:
    """`measure` in a fresh interpreter."""
    command = [sys.executable, __file__, "--side", side, "--case", case.label, "--input", str(path)]
    command += ["--device", device]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    output = subprocess.run(
        [*command, "--repeats", str(repeats)], env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    return json.loads(output.splitlines()[-1])


def compare(case: Case, folder: Path, repeats: int, device: str) -> dict[str, float]:
    """Measure all sides of one case, check that they agree, print a table; returns the ratios."""
    path = make_inputs(case, folder)
    result = {side: in_process(side, case, path, repeats, device) for side in SIDES}
    reference = np.load(folder / f"{case.label}-released.npy")
    seconds = clock_unit(torch.device(device))
    for side, row in result.items():
        gradient = np.load(folder / f"{case.label}-{side}.npy")
        error = np.linalg.norm(gradient - reference) / np.linalg.norm(reference)
        # float32 sums of up to a hundred thousand terms in another order
        if abs(row["loss"] / result["released"]["loss"] - 1) > 1e-4 or error > 1e-4:
            raise RuntimeError(
                f"{case.label}: {side} disagrees: loss {row['loss']}, gradient error {error:.2e}"
            )
        measured = f"{row['seconds']:9.4f} {seconds}  {row['bytes'] / 1e6:9.1f} MB  loss {row['loss']:.6f}"
        print(f"  {side:9s} {measured}  gradient error {error:.1e}", flush=True)
    ours = result["ours"]
    return {
        f"{what}_{case.label}{suffix}": result[side][column] / ours[column]
        for side, suffix in (("released", ""), ("dense", "_vs_dense"), ("compiled", "_vs_compiled"))
        for what, column in (("time", "seconds"), ("memory", "bytes"))
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description="MSL's loss against the released way; then a whole training step."
    )
    parser.add_argument(
        "--step", action=argparse.BooleanOptionalAction, default=True, help="compare a whole step too"
    )
    parser.add_argument("--repeats", type=int, default=6, help="timed passes a side, the best counts")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="what the loss runs on")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--case", choices=[case.label for case in CASES], help=argparse.SUPPRESS)
    parser.add_argument("--input", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        case = next(case for case in CASES if case.label == options.case)
        print(json.dumps(measure(options.side, case, options.input, options.repeats, options.device)))
        return
    ratios: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            ratios |= compare(case, Path(folder), options.repeats, options.device)
    if options.step:
        from _step import compare_step

        ratios |= compare_step()
    for name, ratio in ratios.items():
        print(f"ratio {name} {ratio:.3g}")


if __name__ == "__main__":
    main()
