"""A tuned language model as the teacher of sequence recommenders: its lists of windows, and item vectors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reclib.analysis.workbench import DATA_SEED, Workbench
from reclib.artifacts import Artifact
from reclib.config import DataConfig, DecodingConfig, LMConfig, Profile, canonical_json
from reclib.data.dataset import Windows, joined
from reclib.decoding.recommend import recommend
from reclib.models.causal_lm import CausalLM
from reclib.models.text_encoder import TextEncoder
from reclib.schema import PAD_IDX, InputError
from reclib.seeding import numpy_generator
from reclib.text.embeddings import embed_texts
from reclib.text.tokenization import PromptTokens
from reclib.text.trie import ItemTrie
from reclib.training.teacher import Teacher

TITLE_TOKENS = 128  # longer titles are cut before they are embedded
_FILE = "teacher"


@dataclass(frozen=True, kw_only=True)
class TeacherConfig:
    """What a teacher depends on, beside the adapter of its language model.

    n_windows: of the training and of the validation windows together that are asked about, a fixed sample
    (all where there are fewer)
    """

    data: DataConfig
    lm: LMConfig
    decoding: DecodingConfig
    n_windows: int
    max_tokens: int


def teacher_config(profile: Profile, *, n_windows: int) -> TeacherConfig:
    """Configuration of a teacher in a profile."""
    return TeacherConfig(
        data=profile.data,
        lm=profile.lm,
        decoding=profile.decoding,
        n_windows=n_windows,
        max_tokens=profile.tune.max_tokens,
    )


def make_teacher(
    lm: CausalLM,
    windows: Windows,
    prompts: PromptTokens,
    trie: ItemTrie,
    config: DecodingConfig,
    *,
    vectors: np.ndarray,
    rows: np.ndarray | None = None,
    workdir: Path | None = None,
    progress: bool = True,
) -> Teacher:
    """A teacher of windows from the lists that decoding makes for some of them.

    The distance of an item is −score: −log P_valid, or the length-normalised −log P of "full" scoring.
    prompts: of the windows at `rows`, in that order; all windows by default. vectors: (N+1, E) of the items.
    Raises InputError for another number of prompts than rows, and what `recommend` raises.
    """
    rows = np.arange(len(windows)) if rows is None else rows
    if len(prompts) != len(rows):
        raise InputError(f"{len(prompts)} prompts for {len(rows)} windows to teach: one prompt a window")
    lists = recommend(lm, prompts, trie, config, workdir=workdir, progress=progress)
    items = np.full((len(windows), config.top_k), PAD_IDX, dtype=np.int32)
    distance = np.full(items.shape, np.inf, dtype=np.float32)
    items[rows] = lists.items
    distance[rows] = np.maximum(-lists.scores, 0)  # a certain item's score may round to above 0
    return Teacher(items, distance, vectors, windows.fingerprint, canonical_json(config))


def title_vectors(lm: CausalLM, titles: list[str], *, name: str, workdir: Path) -> np.ndarray:
    """Mean last hidden state over the tokens of each title, by the LM with its adapter, (N+1, E) float32."""
    encode = TextEncoder(
        lm.network.base_model,
        lm.tokenizer,
        max_tokens=TITLE_TOKENS,
        is_normalised=False,
        device=str(lm.device),
    )
    return embed_texts(titles, encode, encoder=name, workdir=workdir).matrix


def teacher_step(
    config: TeacherConfig, *, seed: int, workdir: Path, bench: Workbench, adapter: Artifact | None
) -> dict[str, Any]:
    """Make a teacher of the training windows followed by the validation windows, kept as a file.

    So that one teacher serves tuning, on the training part (`Teacher.take`), and training on both parts.
    Returns "about": windows, taught windows, items of a list, width of the vectors, and how often the target
    is in the list of a taught window.
    """
    data = bench.dataset
    windows = joined(data.train, data.valid)
    rows = _sample(len(windows), config.n_windows)
    lm = bench.with_adapter(adapter)
    vectors = title_vectors(lm, data.titles, name=config.lm.name, workdir=workdir)
    prompts = bench.prompts(windows.take(rows))
    teacher = make_teacher(
        lm, windows, prompts, bench.trie, config.decoding, vectors=vectors, rows=rows, workdir=workdir
    )
    teacher.save(workdir / _FILE)
    is_hit = (teacher.items[rows] == windows.target_idx[rows, None]).any(axis=1)
    return {
        "about": {
            "windows": len(windows),
            "taught": len(rows),
            "list_length": teacher.items.shape[1],
            "width": vectors.shape[1],
            "hit_rate": float(is_hit.mean()),
        }
    }


def load_teacher(step: Artifact) -> Teacher:
    """The teacher that a finished `teacher_step` keeps."""
    return Teacher.load(step.path / _FILE)


def _sample(n: int, size: int) -> np.ndarray:
    """Sorted rows, the same for every method and seed."""
    if size >= n:
        return np.arange(n)
    return np.sort(numpy_generator(DATA_SEED, "taught windows").choice(n, size, replace=False))
