"""Ten items for each user: transformers' constrained beam search against ours, in one run.

SmolLM2-135M-Instruct (not fine-tuned), prompts of MSL's Book data (test windows, histories of up to 10
titles), float32, one thread:

- peer: `transformers.generate` with 10 beams and a marisa-trie behind `prefix_allowed_tokens_fn`, one user at
  a time (a batch is no faster for it on a CPU: 8.7 against 8.2 CPU-s a user);
- beam: `constrained_beam_search`, the same scores and the same lists (checked), all users in one batch;
- exact: `exact_top_k`, the true ten best by P_valid, all users in one batch.

Time: CPU seconds of the process, and wall. Memory: the resident high-water mark over a side's run, less what
was resident before it (the model), where the system tells.

    python benchmarks/decoding.py [--users 4]
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import marisa_trie
import numpy as np
import torch

from reclib.config import DataConfig, LMConfig
from reclib.data.load import load
from reclib.decoding.beam import constrained_beam_search
from reclib.decoding.exact import exact_top_k
from reclib.decoding.lists import Lists, items_of_leaves
from reclib.decoding.search_trie import SearchTrie
from reclib.models.causal_lm import CausalLM, load_lm
from reclib.text.tokenization import ItemTokens, PromptTokens, tokenize_items, tokenize_prompts
from reclib.text.trie import ItemTrie

NUM_BEAMS = 10
SEED = 0


class Cost(NamedTuple):
    """What a side needed: CPU and wall seconds, and resident memory on top of the model's, in bytes."""

    cpu: float
    wall: float
    memory: int


class Peer:
    """transformers' beam search, held to the items by a marisa-trie."""

    def __init__(self, lm: CausalLM, items: ItemTokens) -> None:
        self.lm, self.end_token = lm, lm.end_token
        self.longest = int(np.diff(items.start).max())
        self.items = marisa_trie.Trie([as_text(items.of(i)) for i in range(1, items.n_items + 1)])

    def allowed(self, generated: torch.Tensor) -> list[int]:
        """Tokens that may follow; after an item's end only the end token."""
        prefix = as_text(generated.numpy())
        following = {key[len(prefix)] for key in self.items.iterkeys(prefix) if len(key) > len(prefix)}
        return [as_token(character) for character in following] or [self.end_token]

    def search(self, prompt: np.ndarray) -> tuple[list[list[int]], list[float]]:
        """Tokens and scores of the sequences found for one prompt."""
        found: Any = self.lm.network.generate(
            torch.as_tensor(prompt, dtype=torch.long)[None],
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            num_beams=NUM_BEAMS,
            num_return_sequences=NUM_BEAMS,
            do_sample=False,
            early_stopping=False,
            length_penalty=1.0,
            max_new_tokens=self.longest + 1,
            eos_token_id=self.end_token,
            prefix_allowed_tokens_fn=lambda _, ids: self.allowed(ids[len(prompt) :]),
            return_dict_in_generate=True,
            output_scores=True,
        )
        sequences = found.sequences[:, len(prompt) :].tolist()
        return [row[: row.index(self.end_token) + 1] for row in sequences], found.sequences_scores.tolist()

    def lists(self, prompts: PromptTokens, trie: ItemTrie) -> Lists:
        """Lists of items; items of one title follow one another, as ours do."""
        tokens = np.full((len(prompts), NUM_BEAMS, self.longest), -1)
        scores = np.empty((len(prompts), NUM_BEAMS))
        for user in range(len(prompts)):
            sequences, scores[user] = self.search(prompts.of(user))
            for beam, sequence in enumerate(sequences):
                tokens[user, beam, : len(sequence)] = sequence
        leaves = trie.nodes_of(tokens.reshape(-1, self.longest)).reshape(scores.shape)
        return items_of_leaves(trie, torch.from_numpy(leaves), torch.from_numpy(scores), k=NUM_BEAMS)


def as_text(tokens: np.ndarray) -> str:
    """One character a token; the surrogates, which no text may hold, are left out."""
    return "".join(chr(token + 0x800 * (token >= 0xD800)) for token in tokens.tolist())


def as_token(character: str) -> int:
    return ord(character) - 0x800 * (ord(character) >= 0xD800)


def resident(field: str) -> int:
    """A line of this process's memory status in bytes; 0 where the system has none."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(field)), 0)


def measured(run: Callable[[], Lists]) -> tuple[Lists, Cost]:
    reset = Path("/proc/self/clear_refs")
    if reset.exists():
        reset.write_text("5")  # the high-water mark starts again from here
    before, wall, cpu = resident("VmRSS"), time.perf_counter(), time.process_time()
    lists = run()
    cost = Cost(time.process_time() - cpu, time.perf_counter() - wall, resident("VmHWM") - before)
    return lists, cost


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--users", type=int, default=4, help="test windows, drawn with a fixed seed")
    n_users = parser.parse_args().users
    torch.set_num_threads(1)
    lm = load_lm(LMConfig(name="smollm2-135m-instruct"), seed=SEED)
    dataset = load(DataConfig(source="msl_book", history_length=10), seed=SEED)
    chosen = np.random.default_rng(SEED).choice(len(dataset.test), n_users, replace=False)
    windows = dataset.test.take(chosen)
    prompts = tokenize_prompts(windows, dataset.titles, dataset.domain, lm.tokenizer, max_tokens=512)
    items = tokenize_items(dataset.titles, lm.tokenizer)
    trie, peer = ItemTrie.build(items), Peer(lm, items)
    lm.hidden_states(torch.zeros(1, 64, dtype=torch.long))  # the weights are in memory for both sides
    n_own = len(prompts.tokens) / n_users
    print(f"{n_users} users, {items.n_items} items, prompts of {len(prompts.head)} + {n_own:.0f} tokens")

    exact, exact_cost = measured(lambda: exact_top_k(lm, prompts, SearchTrie.build(trie), k=NUM_BEAMS))
    beam, beam_cost = measured(lambda: constrained_beam_search(lm, prompts, trie, num_beams=NUM_BEAMS))
    theirs, peer_cost = measured(lambda: peer.lists(prompts, trie))

    for name, cost in (("transformers.generate", peer_cost), ("beam", beam_cost), ("exact", exact_cost)):
        each = f"{cost.cpu / n_users:6.2f} CPU-s {cost.wall / n_users:6.2f} s a user"
        print(f"{name:22s} {each}, {cost.memory / 2**20:6.0f} MB")
    difference = np.abs(beam.scores - theirs.scores).max()
    shared = np.mean([len(set(a) & set(b)) for a, b in zip(exact.items, beam.items, strict=True)])
    print(f"beam against transformers: largest difference of a score {difference:.1e}")
    print(f"exact by P_valid shares {shared:.1f} of {NUM_BEAMS} items with the beam's full-vocabulary scores")
    if not np.array_equal(beam.items, theirs.items):
        raise SystemExit("the lists of the beam search differ from transformers'")
    print("lists equal: yes")
    print(f"ratio exact {peer_cost.cpu / exact_cost.cpu:.1f}")
    print(f"ratio beam {peer_cost.cpu / beam_cost.cpu:.1f}")


if __name__ == "__main__":
    main()
