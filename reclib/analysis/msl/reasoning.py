"""The in-context data of LLM-CF: training windows a language model has reasoned about, as a cached step."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reclib import files
from reclib.analysis.workbench import DATA_SEED, Workbench
from reclib.artifacts import Artifact
from reclib.config import DataConfig, LMConfig, Profile
from reclib.config.reasoning import ReasoningConfig
from reclib.data.dataset import Dataset
from reclib.decoding.grounding import generate_texts
from reclib.models.text_encoder import load_encoder
from reclib.schema import PAD_IDX, InputError
from reclib.seeding import numpy_generator
from reclib.text.embeddings import embed_texts
from reclib.text.prior_prompts import tokenize_contexts
from reclib.text.reasoning_prompts import reasoning_prompt
from reclib.training.reasoned import ReasonedWindows

_FILE = "reasoned"


@dataclass(frozen=True, kw_only=True)
class ReasonedConfig:
    """What reasoned windows depend on; the language model is the one at hand, not tuned."""

    data: DataConfig
    lm: LMConfig
    reasoning: ReasoningConfig


def reasoned_config(profile: Profile) -> ReasonedConfig:
    """Configuration of the reasoned windows of a profile."""
    return ReasonedConfig(data=profile.data, lm=profile.lm, reasoning=profile.msl_tables.reasoning)


def reason_step(config: ReasonedConfig, *, seed: int, workdir: Path, bench: Workbench) -> dict[str, Any]:
    """Let the language model reason about some training windows, embed what it says, and keep it as a file.

    Returns "texts": row (of the training window), item_idx, is_chosen, text. Texts that an earlier, killed
    process has written are not written again. Validation and test windows are never read.
    """
    data, settings = bench.dataset, config.reasoning
    rows, items, is_chosen = drawn_windows(data, settings.n_windows)
    texts = _texts(bench, settings, rows, items, is_chosen, workdir)
    encode = load_encoder(settings.text, texts=data.titles, device=bench.device)
    titles = embed_texts(data.titles, encode, encoder=settings.text.encoder, workdir=workdir).matrix
    said = embed_texts(texts, encode, encoder=settings.text.encoder, workdir=workdir).matrix[1:]
    ReasonedWindows(rows, data.train.history[rows], items, is_chosen, said, titles).save(workdir / _FILE)
    table = pd.DataFrame({"row": rows, "item_idx": items, "is_chosen": is_chosen, "text": texts})
    return {"texts": table}


def load_reasoned(step: Artifact) -> ReasonedWindows:
    """The windows that a finished `reason_step` keeps."""
    return ReasonedWindows.load(step.path / _FILE)


def drawn_windows(data: Dataset, n_windows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of training windows, the item each is about, and whether it is the target: every other one is.

    The others are about an item that the user has in no training window. A fixed sample, all windows where
    there are fewer. Raises InputError for a user who has every item.
    """
    generator = numpy_generator(DATA_SEED, "reasoned windows")
    train = data.train
    filled = np.flatnonzero((train.history != PAD_IDX).any(axis=1))
    rows = np.sort(generator.choice(filled, min(n_windows, len(filled)), replace=False))
    is_chosen = np.arange(len(rows)) % 2 == 0
    items = train.target_idx[rows].copy()
    for place in np.flatnonzero(~is_chosen):
        own = train.user_id == train.user_id[rows[place]]
        unseen = np.ones(data.n_items + 1, dtype=bool)
        unseen[[PAD_IDX, *train.history[own].ravel(), *train.target_idx[own]]] = False
        if not unseen.any():
            raise InputError(f"user {train.user_id[rows[place]]} has every item: none was not chosen")
        items[place] = generator.choice(np.flatnonzero(unseen))
    return rows, items, is_chosen


def _texts(
    bench: Workbench,
    settings: ReasoningConfig,
    rows: np.ndarray,
    items: np.ndarray,
    is_chosen: np.ndarray,
    workdir: Path,
) -> list[str]:
    """What the language model writes on each window, in files of a batch each."""
    data, lm = bench.dataset, bench.with_adapter(None)

    def written(places: range) -> list[str]:
        prompts = [
            reasoning_prompt(
                [data.titles[each - 1] for each in data.train.history[rows[place]] if each != PAD_IDX],
                data.titles[items[place] - 1],
                data.domain,
                is_chosen=bool(is_chosen[place]),
            )
            for place in places
        ]
        contexts = tokenize_contexts(prompts, lm.tokenizer)
        return generate_texts(lm, contexts, num_beams=1, max_new_tokens=settings.max_new_tokens)

    texts: list[str] = []
    for first in range(0, len(rows), settings.users_per_batch):
        places = range(first, min(first + settings.users_per_batch, len(rows)))
        texts += files.kept(workdir / f"texts-{first}.json", partial(written, places))
    return texts
