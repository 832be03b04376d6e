"""Ten items for each user: transformers' constrained beam search against ours, in one run.

SmolLM2-135M-Instruct (not fine-tuned), prompts of MSL's Book data (test windows, histories of up to 10
titles), float32, on a CPU one thread:

- peer: `transformers.generate` with 10 beams and a marisa-trie behind `prefix_allowed_tokens_fn`, by default
  one user at a time (a batch is no faster for it on a CPU: 8.7 against 8.2 CPU-s a user); on a GPU choose the
  `--peer-batch` that is best for it;
- beam: `constrained_beam_search`, the same scores and the same lists (checked);
- exact: `exact_top_k`, the true ten best by P_valid;
- scores, with `--scores`: `exact_scores`, the P_valid of every item; its ten best are those of "exact".

The tries of both, which serve any number of users, are built before. Users go through ours in batches of
`--users-per-batch`, all at once by default. `--items N` puts N made titles in the place of Book's: two to
eight words of Book's titles each.

Time: CPU seconds of the process, and wall; on a GPU wall alone. Memory: the high-water mark over a side's
run, less what was held before it (the model): resident on a CPU, allocated on a GPU.

    python benchmarks/decoding.py [--users 4] [--device cuda] [--items 1000000] [--scores]
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import marisa_trie
import numpy as np
import torch

from reclib.analysis.machine import clock, clock_unit, high_water, reset_high_water
from reclib.config import DataConfig, LMConfig
from reclib.data.load import load
from reclib.decoding.beam import constrained_beam_search
from reclib.decoding.exact import exact_scores, exact_top_k
from reclib.decoding.lists import Lists, items_of_leaves
from reclib.decoding.search_trie import SearchTrie
from reclib.models.causal_lm import CausalLM, load_lm
from reclib.text.tokenization import ItemTokens, PromptTokens, tokenize_items, tokenize_prompts
from reclib.text.trie import ItemTrie

NUM_BEAMS = 10
SEED = 0


class Cost(NamedTuple):
    """What a side needed: seconds (see `clock`), wall seconds, and bytes on top of the model's."""

    seconds: float
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
        prefix = as_text(generated.cpu().numpy())
        following = {key[len(prefix)] for key in self.items.iterkeys(prefix) if len(key) > len(prefix)}
        return [as_token(character) for character in following] or [self.end_token]

    def search(self, prompts: list[np.ndarray]) -> tuple[list[list[int]], list[float]]:
        """Tokens and scores of the sequences found for some prompts, padded on the left to one length."""
        length = max(map(len, prompts))
        ids = torch.full((len(prompts), length), self.end_token)
        seen = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, length - len(prompt) :] = torch.from_numpy(prompt.astype(np.int64))
            seen[row, length - len(prompt) :] = 1
        found: Any = self.lm.network.generate(
            ids.to(self.lm.device),
            attention_mask=seen.to(self.lm.device),
            num_beams=NUM_BEAMS,
            num_return_sequences=NUM_BEAMS,
            do_sample=False,
            early_stopping=False,
            length_penalty=1.0,
            max_new_tokens=self.longest + 1,
            eos_token_id=self.end_token,
            pad_token_id=self.end_token,
            prefix_allowed_tokens_fn=lambda _, row: self.allowed(row[length:]),
            return_dict_in_generate=True,
            output_scores=True,
        )
        sequences = found.sequences[:, length:].tolist()
        return [row[: row.index(self.end_token) + 1] for row in sequences], found.sequences_scores.tolist()

    def lists(self, prompts: PromptTokens, trie: ItemTrie, at_once: int) -> Lists:
        """Lists of items; items of one title follow one another, as ours do."""
        tokens = np.full((len(prompts) * NUM_BEAMS, self.longest), -1)
        scores = np.empty(len(prompts) * NUM_BEAMS)
        users = np.arange(len(prompts))
        for rows in np.split(users, users[at_once::at_once]):
            sequences, found = self.search([prompts.of(row) for row in rows])
            first = rows[0] * NUM_BEAMS
            scores[first : first + len(found)] = found
            for place, sequence in enumerate(sequences, start=first):
                tokens[place, : len(sequence)] = sequence
        leaves = trie.nodes_of(tokens).reshape(-1, NUM_BEAMS)
        by_user = torch.from_numpy(scores.reshape(leaves.shape))
        return items_of_leaves(trie, torch.from_numpy(leaves), by_user, k=NUM_BEAMS)


def as_text(tokens: np.ndarray) -> str:
    """One character a token; the surrogates, which no text may hold, are left out."""
    return "".join(chr(token + 0x800 * (token >= 0xD800)) for token in tokens.tolist())


def as_token(character: str) -> int:
    return ord(character) - 0x800 * (ord(character) >= 0xD800)


def made_titles(titles: list[str], n: int) -> list[str]:
    """So many different titles of two to eight words, each word drawn as often as it stands in `titles`."""
    generator = np.random.default_rng(SEED)
    words = np.array(" ".join(titles).split())
    found: dict[str, None] = {}
    while len(found) < n:
        lengths = generator.integers(2, 9, size=n - len(found))
        drawn = np.split(generator.choice(words, lengths.sum()), lengths.cumsum()[:-1])
        found |= dict.fromkeys(map(" ".join, drawn))
    return list(found)


def in_batches(search: Callable[[PromptTokens], Lists], prompts: PromptTokens, at_once: int) -> Lists:
    """Lists of all users, who go together in batches."""
    rows = np.arange(len(prompts))
    parts = [search(prompts.take(part)) for part in np.split(rows, rows[at_once::at_once])]
    return Lists(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("items", "scores")))


def measured(run: Callable[[], Lists], device: torch.device) -> tuple[Lists, Cost]:
    before, wall, seconds = reset_high_water(device), time.perf_counter(), clock(device)
    lists = run()
    used = clock(device) - seconds
    return lists, Cost(used, time.perf_counter() - wall, high_water(device) - before)


def ten_best(scores: np.ndarray) -> Lists:
    """Lists by the scores of all items, (B, N+1); ties by item_idx."""
    items = np.argsort(-scores[:, 1:], axis=1, kind="stable")[:, :NUM_BEAMS] + 1
    return Lists(items, np.take_along_axis(scores, items, axis=1))


def shared(one: Lists, other: Lists) -> str:
    """How many items of a list the other has, on average."""
    common = [len(set(a) & set(b)) for a, b in zip(one.items.tolist(), other.items.tolist(), strict=True)]
    return f"shares {np.mean(common):.1f} of {NUM_BEAMS} items with"


def report(found: dict[str, Lists], cost: dict[str, Cost], n_users: int, device: torch.device) -> None:
    """Print costs and agreement, and the peer's time over that of each of our sides."""
    for name, own in cost.items():
        each = f"{own.seconds / n_users:8.4f} {clock_unit(device)} {own.wall / n_users:8.4f} s a user"
        print(f"{name:6s} {each}, {own.memory / 2**20:6.0f} MB")
    difference = np.abs(found["beam"].scores - found["peer"].scores).max()
    print(f"beam against transformers: largest difference of a score {difference:.1e}")
    print(f"exact by P_valid {shared(found['exact'], found['beam'])} the beam's full-vocabulary scores")
    if "scores" in found:
        print(f"the ten best of all scores {shared(found['scores'], found['exact'])} exact")
    if not np.array_equal(found["beam"].items, found["peer"].items):
        raise SystemExit("the lists of the beam search differ from transformers'")
    print("lists equal: yes")
    for name in sorted(found.keys() - {"peer"}):
        print(f"ratio {name} {cost['peer'].seconds / cost[name].seconds:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--users", type=int, default=4, help="test windows, drawn with a fixed seed")
    parser.add_argument("--users-per-batch", type=int, help="of ours; all at once by default")
    parser.add_argument("--peer-batch", type=int, default=1, help="users that the peer searches for at once")
    parser.add_argument("--items", type=int, help="of a made catalogue in the place of Book's")
    parser.add_argument("--scores", action="store_true", help="score every item for every user too")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="what the model runs on")
    options = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device(options.device)
    lm = load_lm(LMConfig(name="smollm2-135m-instruct"), seed=SEED).to(device)
    dataset = load(DataConfig(source="msl_book", history_length=10), seed=SEED)
    chosen = np.random.default_rng(SEED).choice(len(dataset.test), options.users, replace=False)
    windows = dataset.test.take(chosen)
    prompts = tokenize_prompts(windows, dataset.titles, dataset.domain, lm.tokenizer, max_tokens=512)
    titles = list(dataset.titles) if options.items is None else made_titles(dataset.titles, options.items)
    items = tokenize_items(titles, lm.tokenizer)
    trie, peer = ItemTrie.build(items), Peer(lm, items)
    search = SearchTrie.build(trie, device)
    at_once = options.users_per_batch or options.users
    # the weights are in memory for all sides
    lm.hidden_states(torch.zeros(1, 64, dtype=torch.long, device=device))
    n_own = len(prompts.tokens) / options.users
    print(
        f"{options.users} users, {items.n_items} items, prompts of {len(prompts.head)} + {n_own:.0f} tokens"
    )

    sides: dict[str, Callable[[PromptTokens], Lists]] = {
        "exact": lambda some: exact_top_k(lm, some, search, k=NUM_BEAMS),
        "beam": lambda some: constrained_beam_search(lm, some, search, num_beams=NUM_BEAMS),
    }
    if options.scores:
        sides["scores"] = lambda some: ten_best(exact_scores(lm, some, search))
    found, cost = {}, {}
    for name, side in sides.items():
        found[name], cost[name] = measured(partial(in_batches, side, prompts, at_once), device)
    found["peer"], cost["peer"] = measured(lambda: peer.lists(prompts, trie, options.peer_batch), device)

    report(found, cost, options.users, device)


if __name__ == "__main__":
    main()
