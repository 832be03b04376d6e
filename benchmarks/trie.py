"""Building the item trie of a million titles: `ItemTrie` against a dict of dicts and marisa-trie.

    python benchmarks/trie.py [--items 1000000] [--repeats 3]

The catalogue is drawn here: every prefix has its own Zipf law over the next token, flat at the first tokens
and steep further on, so that one node in forty branches, as on Amazon Books (SmolLM2: one in 46). Titles are
longer than the 11 tokens an item of the claim, so that the trie still has its 10.8 million nodes.
Each build runs in a process of its own, the best of the repeats counts. Time is CPU time of one thread.
Memory is the peak resident set of the build (VmHWM) less the resident set just before it, when the input
was already in memory in the form that side wants: flat arrays for us, lists of ints for the dict, strings of
one character a token for marisa; making these forms is not counted. The dict of dicts is built as Python
does by default and, as `dict_no_gc`, with the garbage collector off.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
VOCABULARY = 49_152
END_TOKEN = 2
SIDES = ("ours", "dict", "dict_no_gc", "marisa")


def catalogue(n_items: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Flat tokens and starts (N+2,) of items of 3 to 40 tokens, end token included."""
    rng = np.random.default_rng(seed)
    length = np.clip(rng.gamma(4.0, 3.18, n_items).astype(np.int64) + 3, 3, 40)
    start = np.concatenate([[0, 0], np.cumsum(length)])
    tokens = np.full(start[-1], END_TOKEN, np.int32)
    prefix = np.zeros(n_items, np.uint64)
    live = np.arange(n_items)
    for depth in range(int(length.max()) - 1):
        live = live[length[live] > depth + 1]
        rank = _zipf(rng, len(live), n_choices=(2, 8_000)[depth > 0], exponent=min(0.8 + 0.2 * depth, 2.0))
        prefix[live] = (prefix[live] * np.uint64(6364136223846793005)) + rank.astype(np.uint64) + np.uint64(1)
        tokens[start[live + 1] + depth] = 3 + (prefix[live] >> np.uint64(20)) % np.uint64(VOCABULARY - 3)
    return tokens, start


def _zipf(rng: np.random.Generator, size: int, *, n_choices: int, exponent: float) -> np.ndarray:
    """Draw ranks 0 … n_choices-1 with probability proportional to 1 / (rank + 1)^exponent."""
    weight = np.cumsum(np.arange(1, n_choices + 1) ** -exponent)
    return np.searchsorted(weight, rng.random(size) * weight[-1])


def build_ours(tokens: np.ndarray, start: np.ndarray) -> Callable[[], Any]:
    from reclib.text.tokenization import ItemTokens
    from reclib.text.trie import ItemTrie

    items = ItemTokens(tokens=tokens, start=start, end_token=END_TOKEN)
    return lambda: ItemTrie.build(items, vocabulary_size=VOCABULARY).n_nodes


def build_dict(tokens: np.ndarray, start: np.ndarray) -> Callable[[], Any]:
    rows = [tokens[a:b].tolist() for a, b in zip(start[1:-1].tolist(), start[2:].tolist(), strict=True)]

    def build() -> dict[int, Any]:
        root: dict[int, Any] = {}
        for row in rows:
            node = root
            for token in row:
                node = node.setdefault(token, {})
        return root

    return build


def build_marisa(tokens: np.ndarray, start: np.ndarray) -> Callable[[], Any]:
    import marisa_trie

    code = tokens.astype(np.uint32) + 0x20
    code[code >= 0xD800] += 0x800  # step over the surrogates, which no string may hold
    text = code.tobytes().decode("utf-32-le")
    rows = [text[a:b] for a, b in zip(start[1:-1].tolist(), start[2:].tolist(), strict=True)]
    return lambda: marisa_trie.Trie(rows)


def memory(field: str) -> int:
    """A line of this process's memory status (VmRSS: resident now, VmHWM: its peak), in bytes."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(re.search(rf"{field}:\s+(\d+) kB", status)[1])


def measure(side: str, folder: Path) -> dict[str, float]:
    """Build once in this process; called in a process of its own."""
    prepare = {"ours": build_ours, "marisa": build_marisa}.get(side, build_dict)
    build = prepare(np.load(folder / "tokens.npy"), np.load(folder / "start.npy"))
    gc.collect()
    if side == "dict_no_gc":
        gc.disable()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the peak so far
    before = memory("VmRSS")
    cpu, wall = time.process_time(), time.perf_counter()
    kept = build()
    row = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    row["memory"] = memory("VmHWM") - before
    return row | ({"nodes": kept} if side == "ours" else {})


def in_own_process(side: str, folder: Path) -> dict[str, float]:
    """Run `measure` in a fresh interpreter."""
    command = [sys.executable, __file__, "--side", side, "--folder", str(folder)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(measure(arguments.side, arguments.folder)))
        return
    with tempfile.TemporaryDirectory() as name:
        tokens, start = catalogue(arguments.items, seed=0)
        np.save(Path(name) / "tokens.npy", tokens)
        np.save(Path(name) / "start.npy", start)
        print(
            f"{arguments.items:,} items, {len(tokens):,} tokens, {len(tokens) / arguments.items:.1f} an item"
        )
        del tokens, start
        best: dict[str, dict[str, float]] = {}
        for side in SIDES:
            runs = [in_own_process(side, Path(name)) for _ in range(arguments.repeats)]
            best[side] = {key: min(run[key] for run in runs) for key in runs[0]}
            row = best[side]
            print(
                f"{side:10} {row['cpu']:7.2f} CPU-s {row['wall']:7.2f} s {row['memory'] / 2**20:8.0f} MB",
                flush=True,
            )
    print(f"nodes {best['ours']['nodes']:,}")
    for name in SIDES[1:]:
        print(f"ratio time_vs_{name} {best[name]['cpu'] / best['ours']['cpu']:.2f}")
    print(f"ratio memory_vs_dict {best['dict']['memory'] / best['ours']['memory']:.2f}")


if __name__ == "__main__":
    main()
