"""Lemma 1 and 2 of the MSL paper on held-out windows, as cached steps.

Lemma 1: −log NDCG ≤ MSL ≤ LML where items are ranked by P_valid. Nothing in it needs the positive to be the
true one, so each item of the catalogue is looked at as if it were. Lemma 2: the temperature at which P_valid
of the target is η, from the logits and from their mean and variance.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from reclib.analysis.msl.steps import all_positions
from reclib.analysis.workbench import Workbench
from reclib.artifacts import Artifact
from reclib.config import DataConfig, LMConfig, Profile
from reclib.data.dataset import Windows
from reclib.decoding.beam import constrained_beam_search
from reclib.decoding.exact import exact_scores
from reclib.decoding.search_trie import SearchTrie
from reclib.evaluation.ranks import ranks_from_scores
from reclib.kernels.exact_temperature import exact_temperatures
from reclib.kernels.masked_softmax import ValidTokens, row_of_entry, segment_logsumexp, valid_logits
from reclib.kernels.normality import row_shape
from reclib.kernels.reduction import sum_by_sample
from reclib.kernels.temperature import SOLVED, STATUS_NAMES, adaptive_temperature
from reclib.models.causal_lm import CausalLM
from reclib.text.trie import ItemTrie
from reclib.training.collate import WindowCollator
from reclib.training.targets import loss_parts

SLACK = 1e-3  # nats: float32 sums over a path of the trie
WINDOWS_PER_BATCH = 16
SCORINGS: tuple[Literal["valid", "full"], ...] = ("valid", "full")


@dataclass(frozen=True, kw_only=True)
class BoundConfig:
    """On which held-out windows Lemma 1 is looked at.

    n_windows: whose catalogue is ranked; list_windows: the first of them, that beams are searched for too
    """

    data: DataConfig
    lm: LMConfig
    n_windows: int
    list_windows: int
    num_beams: int
    users_per_batch: int
    max_tokens: int


@dataclass(frozen=True, kw_only=True)
class LogitConfig:
    """On which held-out windows Lemma 2 is looked at; target_probability: η."""

    data: DataConfig
    lm: LMConfig
    n_windows: int
    max_tokens: int
    target_probability: float


def bound_config(profile: Profile) -> BoundConfig:
    """Configuration of Lemma 1 in a profile."""
    return BoundConfig(
        data=profile.data,
        lm=profile.lm,
        n_windows=profile.msl_tables.bound_windows,
        list_windows=profile.msl_tables.list_windows,
        num_beams=profile.decoding.num_beams,
        users_per_batch=profile.decoding.users_per_batch,
        max_tokens=profile.tune.max_tokens,
    )


def logit_config(profile: Profile) -> LogitConfig:
    """Configuration of Lemma 2 in a profile."""
    return LogitConfig(
        data=profile.data,
        lm=profile.lm,
        n_windows=profile.msl_tables.logit_windows,
        max_tokens=profile.tune.max_tokens,
        target_probability=profile.tune.objective.target_probability,
    )


def minus_log_ndcg(rank: np.ndarray) -> np.ndarray:
    """−log NDCG of a single target at a rank, without a cut-off: log log2(rank + 1), in nats."""
    return np.log(np.log2(np.asarray(rank, dtype=np.float64) + 1))


def bound_step(
    config: BoundConfig, *, seed: int, workdir: Path, bench: Workbench, adapter: Artifact | None
) -> dict[str, pd.DataFrame]:
    """Rank the whole catalogue by P_valid, and look at both sides of Lemma 1.

    "windows": of each target rank (over distinct titles), item_rank (over items, those of one title counted
    too, the target last of them), msl, lml. "catalogue": of each window with every title as the positive, and
    then every item, how many there are and how many violate the bound; and the smallest slack over titles.
    "lists": of the first windows, the beams' items: window, protocol, rank, item_idx, msl, lml (NaN by beams
    over the valid tokens).
    """
    windows, lm = bench.held_out(config.n_windows), bench.with_adapter(adapter)
    search, prompts = SearchTrie.build(bench.trie, lm.device), bench.prompts(windows)
    msl, lml = _losses(lm, bench, windows)
    tables: dict[str, list[pd.DataFrame]] = {"windows": [], "catalogue": [], "lists": []}
    for rows in _batches(len(windows), config.users_per_batch):
        scores = exact_scores(lm, prompts.take(rows), search)
        target = windows.target_idx[rows]
        ranks = {"rank": title_ranks(scores, target, bench.trie)}
        ranks["item_rank"] = ranks_from_scores(scores, target, seen="kept").to_numpy(np.int64)
        tables["windows"].append(pd.DataFrame({"window": rows, "target_idx": target, **ranks}))
        tables["catalogue"].append(catalogue_violations(scores, bench.trie).assign(window=rows))
        listed = rows[rows < config.list_windows]
        if len(listed):
            lists = _beam_lists(lm, bench, prompts.take(listed), scores, search, config.num_beams)
            tables["lists"].append(lists.assign(window=listed[lists["window"]]))
    found = {name: pd.concat(parts, ignore_index=True) for name, parts in tables.items()}
    found["windows"] = found["windows"].assign(msl=msl, lml=lml)
    return found


@torch.no_grad()
def _losses(lm: CausalLM, bench: Workbench, windows: Windows) -> tuple[np.ndarray, np.ndarray]:
    """MSL and LML of each window's target: sums over its tokens, at τ = 1, in nats."""
    parts = []
    for rows in _batches(len(windows), WINDOWS_PER_BATCH):
        batch = all_positions(bench, windows.take(rows))
        targets = batch["targets"]
        losses = loss_parts(lm(**batch["model_inputs"]), lm.output_embedding, targets)
        both = torch.stack([losses.lml_item, losses.lml], dim=1).double()
        parts.append(
            torch.stack([sum_by_sample(each, targets.sample, n_samples=len(rows)) for each in both.T])
        )
    msl, lml = torch.cat(parts, dim=1).cpu().numpy()
    return msl, lml


def title_ranks(scores: np.ndarray, target: np.ndarray, trie: ItemTrie) -> np.ndarray:
    """Place of each target's title among the distinct titles, ties against it, (B,); scores: (B, N+1)."""
    items, row_start = trie.items_at(trie.terminal_node)
    own = scores[np.arange(len(target)), target]
    return (scores[:, items[row_start[:-1]]] >= own[:, None]).sum(axis=1)


def catalogue_violations(scores: np.ndarray, trie: ItemTrie) -> pd.DataFrame:
    """How often −log NDCG exceeds −log P_valid, every title or every item of the catalogue the positive.

    scores: (B, N+1) log P_valid by item_idx. Returns titles, title_violations, items, item_violations, and
    smallest_slack of the titles, in nats; one row a window.
    """
    items, row_start = trie.items_at(trie.terminal_node)
    found: dict[str, Any] = {}
    for name, columns in (("title", items[row_start[:-1]]), ("item", items)):
        ordered = -np.sort(-scores[:, columns].astype(np.float64), axis=1)  # best first
        slack = -ordered - minus_log_ndcg(np.arange(1, len(columns) + 1))
        found |= {f"{name}s": len(columns), f"{name}_violations": (slack < -SLACK).sum(axis=1)}
        found.setdefault("smallest_slack", slack.min(axis=1))
    return pd.DataFrame(found)


def _beam_lists(
    lm: CausalLM, bench: Workbench, prompts: Any, scores: np.ndarray, search: SearchTrie, num_beams: int
) -> pd.DataFrame:
    """Lists of beams over the valid tokens and over the vocabulary, with P of their items."""
    length = np.diff(bench.item_tokens.start)
    parts = []
    for scoring in SCORINGS:
        found = constrained_beam_search(lm, prompts, search, num_beams=num_beams, scoring=scoring)
        table = found.table()
        items = table["item_idx"].to_numpy()
        # the beams' own score is the log-probability over the vocabulary by token
        lml = -table["score"] * length[items] if scoring == "full" else np.nan
        table = table.assign(
            protocol=f"beam_{scoring}", msl=-scores[table["window"], items].astype(np.float64), lml=lml
        )
        parts.append(table.drop(columns="score"))
    return pd.concat(parts, ignore_index=True)


@torch.no_grad()
def logit_step(
    config: LogitConfig, *, seed: int, workdir: Path, bench: Workbench, adapter: Artifact | None
) -> dict[str, pd.DataFrame]:
    """Table "positions" of the unforced target positions of held-out windows.

    window, position (1 is the first token), n_valid, and target_gap, deviation, skewness, kurtosis, distance
    of `kernels.normality`; probability of the target at τ = 1, and peak, its largest over all τ; falling and
    rising, the exact τ with P(τ) = η on either branch of `kernels.exact_temperature`, and with the prefix
    "approximate_" the root of [MSL] Lemma 2 there, the one with the plus sign and the one with the minus sign
    where η is above chance (is_open); NaN where there is none. status: of the root that training uses.
    """
    windows, lm = bench.held_out(config.n_windows), bench.with_adapter(adapter)
    prompts = bench.prompts(windows)
    collator = WindowCollator(bench.trie, bench.item_tokens, needs_forced=False, device=bench.device)
    parts = []
    for rows in _batches(len(windows), WINDOWS_PER_BATCH):
        batch = collator.batch(prompts.take(rows), windows.target_idx[rows])
        targets = batch["targets"]
        logits = valid_logits(lm(**batch["model_inputs"]), lm.output_embedding, targets.valid)
        columns = position_columns(logits, targets.valid, target_probability=config.target_probability)
        place = {"window": rows[targets.sample.cpu().numpy()], "position": targets.position.cpu().numpy() + 1}
        parts.append(pd.DataFrame({**place, **columns}))
    return {"positions": pd.concat(parts, ignore_index=True)}


def position_columns(
    logits: torch.Tensor, valid: ValidTokens, *, target_probability: float
) -> dict[str, np.ndarray]:
    """The columns of `logit_step` that the logits of the valid tokens give; see there."""
    shape = row_shape(logits, valid)
    gap, variance = shape.target_gap, shape.deviation.square()
    log_m_eta = (valid.n_valid * target_probability).double().log()
    used, status = adaptive_temperature(gap, variance, log_m_eta)
    is_above_chance, is_solved = log_m_eta > 0, status == SOLVED
    other = variance / (gap + (gap.square() - 2 * variance * log_m_eta).sqrt())  # the minus root, stable
    rising = torch.where(is_above_chance, other, used)
    exact = exact_temperatures(logits, valid, target_probability=target_probability)
    surplus = logits.double() - logits.double().index_select(0, valid.target_entry).index_select(
        0, row_of_entry(valid.row_start, len(logits))
    )
    columns = {
        "n_valid": valid.n_valid,
        **shape._asdict(),
        "probability": (-segment_logsumexp(surplus, valid.row_start)).exp(),
        "peak": exact.peak,
        "falling": exact.falling,
        "rising": exact.rising,
        "approximate_falling": torch.where(is_above_chance & is_solved, used, torch.nan),
        "approximate_rising": torch.where(is_solved, rising, torch.nan),
    }
    table = {name: values.cpu().numpy() for name, values in {**columns, "is_open": is_above_chance}.items()}
    return {**table, "status": np.array(STATUS_NAMES)[status.cpu().numpy()]}


def _batches(n_rows: int, size: int) -> Iterator[np.ndarray]:
    for first in range(0, n_rows, size):
        yield np.arange(first, min(first + size, n_rows))
