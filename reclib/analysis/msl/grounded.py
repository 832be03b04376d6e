"""BIGRec's grounding as cached steps: answers and titles as vectors, γ from validation, ranked test windows.

What comes out is a table of ranked windows like that of `steps.held_out_step`, so `tables` takes it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from reclib import artifacts, files
from reclib.analysis.workbench import Workbench
from reclib.artifacts import Artifact
from reclib.config import DataConfig, GroundingConfig, LMConfig, Profile
from reclib.decoding.grounding import PROTOCOL, generate_freely, grounded_lists, text_states
from reclib.decoding.lists import Lists
from reclib.evaluation.ranks import ranks_from_lists
from reclib.models.causal_lm import CausalLM
from reclib.models.hybrid_prompt import Users
from reclib.schema import InputError
from reclib.text.tokenization import PromptTokens
from reclib.training.likelihood import catalogue_log_likelihood

Knowledge = Literal["none", "popularity", "collaborative"]
CUTOFF = 10
BATCHES_PER_FILE = 4


@dataclass(frozen=True, kw_only=True)
class AnsweredConfig:
    """Which windows an LM answers freely, and how; `part` is "test" or "valid"."""

    data: DataConfig
    lm: LMConfig
    grounding: GroundingConfig
    n_windows: int
    max_tokens: int
    part: str


@dataclass(frozen=True, kw_only=True)
class GroundedConfig:
    """How answers become lists: what re-weights the distances, by which γ, and how long a list is."""

    knowledge: Knowledge
    gammas: tuple[float, ...]
    top_k: int


def answered_config(profile: Profile, part: str) -> AnsweredConfig:
    """Configuration of the answers to the test or the validation windows of a profile."""
    return AnsweredConfig(
        data=profile.data,
        lm=profile.lm,
        grounding=profile.hybrid.grounding,
        n_windows=profile.evaluation.n_windows,
        max_tokens=profile.tune.max_tokens,
        part=part,
    )


def answered_step(
    config: AnsweredConfig, *, seed: int, workdir: Path, bench: Workbench, adapter: Artifact | None
) -> dict[str, Any]:
    """Let the tuned LM answer held-out windows, and embed answers and titles by the LM before tuning.

    Returns "windows" (window, target_idx, catalogue_nll, answer), arrays "states": answers (W, D) and titles
    (N+1, D), row 0 zero. Batches that a killed run has answered are not answered again.
    """
    windows, settings = bench.held_out(config.n_windows, part=config.part), config.grounding
    prompts, lm = bench.prompts(windows), bench.with_adapter(adapter)
    longest = int(np.diff(bench.item_tokens.start).max())
    answers = _answers(lm, prompts, settings, longest + settings.spare_tokens, workdir)
    nll = catalogue_log_likelihood(lm, prompts, windows.target_idx, bench.trie, bench.item_tokens)
    untuned = bench.with_adapter(None)
    states = text_states(untuned, answers, pooling=settings.pooling)
    titles = text_states(untuned, bench.dataset.titles, pooling=settings.pooling)
    table = pd.DataFrame(
        {
            "window": np.arange(len(windows)),
            "target_idx": windows.target_idx,
            "catalogue_nll": nll,
            "answer": answers,
        }
    )
    return {"windows": table, "states": {"answers": states, "titles": np.pad(titles, ((1, 0), (0, 0)))}}


def _answers(
    lm: CausalLM, prompts: PromptTokens, settings: GroundingConfig, max_new_tokens: int, workdir: Path
) -> list[str]:
    """The answer to each prompt; prompts of like length share a batch."""
    order = np.argsort(-np.diff(prompts.start), kind="stable")
    size = settings.users_per_batch
    answers = np.empty(len(prompts), dtype=object)

    def answered(rows: np.ndarray) -> list[str]:
        return [
            answer
            for batch in np.split(rows, range(size, len(rows), size))
            for answer in generate_freely(
                lm, prompts.take(batch), num_beams=settings.num_beams, max_new_tokens=max_new_tokens
            )
        ]

    for first in range(0, len(order), size * BATCHES_PER_FILE):
        rows = order[first : first + size * BATCHES_PER_FILE]
        answers[rows] = files.kept(workdir / f"answers-{first}.json", partial(answered, rows))
    return answers.tolist()


def grounded_step(
    config: GroundedConfig,
    *,
    seed: int,
    workdir: Path,
    bench: Workbench,
    answered: Artifact,
    validation: Artifact | None = None,
    vectors: Artifact | None = None,
) -> dict[str, Any]:
    """Rank the test windows by their answers; γ is the best by NDCG@10 on validation, the least of equals.

    answered, validation: of `answered_step` on test and on validation windows; vectors: of
    `hybrids.collaborative_step`, for "collaborative" knowledge; all given belong to `upstream`.
    Returns "windows" and "lists" like `steps.held_out_step`, "tried" (gamma, ndcg), and "chosen".
    """

    def lists(step: Artifact, part: str, gammas: Sequence[float]) -> list[Lists]:
        windows = bench.held_out(len(step["windows"]), part=part)
        known = knowledge(config.knowledge, bench, windows.history, vectors)
        states = step["states"]
        return grounded_lists(
            states["answers"], states["titles"], k=config.top_k, knowledge=known, gammas=gammas
        )

    gammas = (0.0,) if config.knowledge == "none" or validation is None else config.gammas
    tried = [(0.0, np.nan)]
    if len(gammas) > 1 and validation is not None:
        target = validation["windows"]["target_idx"].to_numpy()
        of_each = lists(validation, "valid", gammas)
        tried = [(gamma, ndcg(found, target)) for gamma, found in zip(gammas, of_each, strict=True)]
    gamma = max(tried, key=lambda row: (row[1], -row[0]))[0]
    (found,) = lists(answered, "test", (gamma,))
    table = answered["windows"].drop(columns="answer")
    table.insert(2, "rank", ranks_from_lists(found.items, table["target_idx"].to_numpy()))
    return {
        "windows": table,
        "lists": found.table(),
        "tried": pd.DataFrame(tried, columns=["gamma", "ndcg"]),
        "chosen": {"protocol": PROTOCOL, "gamma": float(gamma)},
    }


def knowledge(
    kind: Knowledge, bench: Workbench, history: np.ndarray, vectors: Artifact | None
) -> np.ndarray | None:
    """What else is known of the items: counts of training interactions (N+1,), SASRec's scores (W, N+1).

    Raises InputError for "collaborative" without vectors.
    """
    if kind == "none":
        return None
    if kind == "popularity":
        return bench.dataset.counts
    if vectors is None:
        raise InputError("collaborative knowledge is a SASRec's scores: give its `vectors`")
    arrays = vectors["vectors"]
    users = Users(arrays["histories"], arrays["users"])
    return users.vectors[users.rows(history)] @ arrays["items"].T


def ndcg(lists: Lists, target: np.ndarray) -> float:
    """NDCG of the targets in their lists, 0 where a list has none."""
    rank = ranks_from_lists(lists.items, target).to_numpy(dtype=np.float64, na_value=np.inf)
    return float((1 / np.log2(rank + 1)).mean())


def ground(
    profile: Profile,
    bench: Workbench,
    adapter: Artifact,
    artifact: Callable[..., Artifact] = artifacts.get_or_compute,
    *,
    kind: Knowledge = "none",
    vectors: Artifact | None = None,
    seed: int = 0,
) -> Artifact:
    """A tuned LM's test windows ranked by grounding, with or without re-weighting, as a cached step.

    vectors: of `hybrids.collaborative_step`, for "collaborative". It stands beside what `steps.held_out_step`
    gives for the same adapter: [MSL] §5.1.3 reports the better of the two.
    """
    parts = ("test",) if kind == "none" else ("test", "valid")
    answered = [
        artifact(
            "answer_freely",
            answered_step,
            answered_config(profile, part),
            upstream=bench.upstream(adapter),
            seed=seed,
            bench=bench,
            adapter=adapter,
        )
        for part in parts
    ]
    known = [] if vectors is None or kind != "collaborative" else [vectors]
    return artifact(
        "ground",
        grounded_step,
        GroundedConfig(knowledge=kind, gammas=profile.hybrid.grounding.gammas, top_k=profile.decoding.top_k),
        upstream=bench.upstream(*answered, *known),
        seed=seed,
        bench=bench,
        answered=answered[0],
        validation=answered[1] if len(answered) > 1 else None,
        vectors=known[0] if known else None,
    )
