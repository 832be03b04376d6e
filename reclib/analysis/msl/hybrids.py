"""LLaRA and A-LLMRec as cached steps: vectors of a trained SASRec, stage 1, and LMs that read them.

What comes out are adapters and ranked windows like those of `analysis.msl.steps` and
`analysis.msl.preference`, so their steps and tables take them: only the workbench differs, whose LM reads
vectors.

A-LLMRec's second stage, after [A-LLMRec] and its released code: the LM is frozen, without LoRA; a user's
SASRec state opens the prompt and each title is followed by its joint embedding, through projectors that alone
are trained. Ours: the prompt's frame is that of every LM here, and there is no list of candidates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from reclib import artifacts
from reclib.analysis.msl import steps
from reclib.analysis.msl.preference import prefer_step, preferred_config
from reclib.analysis.msl.traditional import (
    TRIED,
    TraditionalBench,
    TuneTraditionalConfig,
    with_setting,
)
from reclib.analysis.msl.traditional_tables import configs
from reclib.analysis.sequence import drop_checkpoints
from reclib.analysis.workbench import DATA_SEED, Workbench
from reclib.artifacts import Artifact
from reclib.config import AlignConfig, DataConfig, LMConfig, Profile, TuneConfig
from reclib.data.dataset import Dataset, joined
from reclib.models.causal_lm import CausalLM, load_lm
from reclib.models.hybrid_prompt import (
    Users,
    VectorTable,
    a_llmrec_projector,
    add_vectors,
    llara_projector,
)
from reclib.models.sequence_model import SequenceModel
from reclib.models.text_encoder import load_encoder
from reclib.schema import InputError
from reclib.text.embeddings import embed_texts
from reclib.training.hybrid_tuning import fine_tune_by_curriculum
from reclib.training.item_alignment import align_items, unit_scale
from reclib.training.lm_trainer import drop_training_state, fine_tune

Method = Literal["llara", "a_llmrec"]
METHODS: tuple[Method, ...] = ("llara", "a_llmrec")
OBJECTIVES = ("lml", "msl_ats")  # of [MSL] Table 5, beside S-DPO
HISTORIES_AT_ONCE = 1024


@dataclass(frozen=True, kw_only=True)
class AlignedConfig:
    """What A-LLMRec's first stage depends on, beside its seed and the vectors."""

    data: DataConfig
    align: AlignConfig


@dataclass(frozen=True, kw_only=True)
class HybridTunedConfig:
    """What an LM that reads vectors depends on, beside its seed and the vectors.

    curriculum: of LLaRA; A-LLMRec has none
    """

    data: DataConfig
    lm: LMConfig
    tune: TuneConfig
    method: Method
    curriculum: str


def tuned_config(profile: Profile, method: Method, objective: str) -> HybridTunedConfig:
    """Configuration of a method under an objective of `steps.METHODS`, in a profile."""
    return HybridTunedConfig(
        data=profile.data,
        lm=profile.lm,
        tune=replace(profile.tune, objective=steps.METHODS[objective]),
        method=method,
        curriculum=profile.hybrid.curriculum if method == "llara" else "hybrid",
    )


class HybridBench(Workbench):
    """A workbench whose LM reads vectors.

    vectors: the artifact of `collaborative_step`; joint: that of `aligned_step`, for A-LLMRec alone
    dataset: where it is loaded already
    """

    def __init__(
        self,
        profile: Profile,
        method: Method,
        *,
        vectors: Artifact,
        joint: Artifact | None = None,
        dataset: Dataset | None = None,
        device: str | None = None,
    ) -> None:
        super().__init__(profile.data, profile.lm, max_tokens=profile.tune.max_tokens, device=device)
        self.method, self.joint = method, joint
        self.artifacts = [vectors] if joint is None else [vectors, joint]
        self._vectors = vectors
        if dataset is not None:
            self.__dict__["dataset"] = dataset  # what the cached property would load

    @cached_property
    def users(self) -> Users:
        """SASRec's state after each history of the data set."""
        arrays = self._vectors["vectors"]
        return Users(arrays["histories"], arrays["users"])

    def fresh_lm(self, *, seed: int) -> CausalLM:
        """The LM with new projectors drawn from `seed`: with new LoRA weights (LLaRA), or frozen."""
        if self.joint is None:
            lm = super().fresh_lm(seed=seed)
            rows = self._vectors["vectors"]["items"]
            projector = llara_projector(rows.shape[1], _width(lm), seed=seed)
            add_vectors(lm.network, VectorTable(rows, projector))
            return lm
        lm = load_lm(self.lm_config, seed=DATA_SEED, titles=self.dataset.titles).to(self.device)
        items, users = (
            VectorTable(rows, a_llmrec_projector(rows.shape[1], _width(lm), of=of, seed=seed))
            for of, rows in (("items", self.joint["joint"]["items"]), ("users", self.users.vectors))
        )
        add_vectors(lm.network, items, (self.users, users))
        return lm


def _width(lm: CausalLM) -> int:
    return lm.output_embedding.shape[1]


def collaborative_step(
    config: TuneTraditionalConfig, *, seed: int, workdir: Path, bench: TraditionalBench, tuned: Artifact
) -> dict[str, Any]:
    """Train the tuned SASRec on the training part, and keep its vectors; the test part is not learnt from.

    tuned: `bench.tuned(config)`. Validation ends the training; its windows are not trained on either, as
    epochs of the LM are chosen by them. Returns arrays "vectors": items (N+1, d), histories (U, S), each
    once, and users (U, d), the state after each; and "about".
    """
    setting = tuple(tuned["chosen"][name] for name in TRIED[:3])
    whole = with_setting(config, setting)
    fitted = bench.fit(whole, bench.dataset, is_validated=True, seed=seed, workdir=workdir)
    drop_checkpoints(workdir)
    data = bench.dataset
    histories = np.unique(joined(joined(data.train, data.valid), data.test).history, axis=0)
    vectors = {
        "items": fitted.model.item_matrix().detach().float().cpu().numpy(),
        "histories": histories,
        "users": _user_states(fitted.model, histories),
    }
    best = fitted.trace[fitted.trace["name"] == "validation"]["value"].max()
    return {"vectors": vectors, "about": {"ndcg": float(best), "epochs": fitted.best_epoch + 1}}


@torch.inference_mode()
def _user_states(model: SequenceModel, histories: np.ndarray) -> np.ndarray:
    model.eval()
    parts = [
        model.user_states(torch.as_tensor(part, dtype=torch.long, device=model.device)).float().cpu().numpy()
        for part in np.split(histories, range(HISTORIES_AT_ONCE, len(histories), HISTORIES_AT_ONCE))
    ]
    return np.concatenate(parts)


def aligned_step(
    config: AlignedConfig, *, seed: int, workdir: Path, dataset: Dataset, vectors: Artifact, device: str
) -> dict[str, Any]:
    """A-LLMRec's first stage; arrays "joint": items (N+1, width), row 0 zero; "trace": its losses."""
    titles, text = dataset.titles, config.align.text
    encode = load_encoder(text, texts=titles, device=device)
    texts = embed_texts(titles, encode, encoder=text.encoder, workdir=workdir).matrix
    arrays = vectors["vectors"]
    users = Users(arrays["histories"], arrays["users"])
    states = users.vectors[users.rows(dataset.train.history)]
    rows, texts, states = (unit_scale(each) for each in (arrays["items"], texts, states))
    model, trace = align_items(dataset.train, rows, texts, states, config.align, seed=seed, device=device)
    is_cold = torch.as_tensor(dataset.counts == 0, device=device)
    items, embedded = (torch.as_tensor(each, device=device) for each in (rows, texts))
    joint = model.joint(items, embedded, is_cold).cpu().numpy()
    joint[0] = 0
    return {"joint": {"items": joint}, "trace": trace}


def hybrid_tune_step(
    config: HybridTunedConfig, *, seed: int, workdir: Path, bench: HybridBench
) -> dict[str, Any]:
    """Tune an LM that reads vectors, kept as `adapter.safetensors`; "trace" is what was logged.

    What `bench` reads belongs to the step's `upstream`: `bench.artifacts`.
    """
    lm = bench.fresh_lm(seed=seed)
    parts = (lm, bench.dataset, bench.trie, bench.item_tokens, config.tune)
    if config.method == "llara":
        found = fine_tune_by_curriculum(
            *parts, curriculum=config.curriculum, seed=seed, workdir=workdir, monitor=True
        )
    else:
        found = fine_tune(*parts, seed=seed, workdir=workdir, monitor=True)
    drop_training_state(workdir)
    return found


@dataclass(frozen=True)
class HybridRuns:
    """One method's workbench, adapters and ranked test windows by (name, seed).

    Names are the method and what it was tuned with: "llara_lml", "llara_sdpo", "llara_msl_ats", …; `ranked`
    is what `tables.comparison_table` and its kin read.
    """

    bench: HybridBench
    tuned: dict[tuple[str, int], Artifact]
    ranked: dict[tuple[str, int], Artifact]


def make_bench(
    profile: Profile,
    method: Method,
    artifact: Callable[..., Artifact] = artifacts.get_or_compute,
    *,
    dataset: Dataset | None = None,
    device: str | None = None,
) -> HybridBench:
    """The workbench of a method, its vectors from the cache or made now."""
    plain = Workbench(profile.data, profile.lm, device=device)
    data = dataset if dataset is not None else plain.dataset
    config = configs(profile, profile.data.source)["sasrec"]
    trained = TraditionalBench(data, artifact, device=plain.device)
    tuned = trained.tuned(config)
    vectors = artifact(
        "collaborative_vectors",
        collaborative_step,
        config,
        upstream=[tuned, data.fingerprint],
        seed=DATA_SEED,
        bench=trained,
        tuned=tuned,
    )
    joint = None
    if method == "a_llmrec":
        joint = artifact(
            "align_items",
            aligned_step,
            AlignedConfig(data=profile.data, align=profile.hybrid.align),
            upstream=[vectors],
            seed=DATA_SEED,
            dataset=data,
            vectors=vectors,
            device=plain.device,
        )
    return HybridBench(profile, method, vectors=vectors, joint=joint, dataset=data, device=device)


def run_method(
    profile: Profile,
    bench: HybridBench,
    artifact: Callable[..., Artifact] = artifacts.get_or_compute,
    *,
    objectives: tuple[str, ...] = OBJECTIVES,
    with_preference: bool = True,
    preference_windows: int | None = None,
) -> HybridRuns:
    """Tune a method by each objective, and by S-DPO from LML on, and rank the test windows, for each seed.

    preference_windows: training windows of S-DPO; None is those of the profile.
    """
    tuned = {
        (f"{bench.method}_{name}", seed): artifact(
            "tune_hybrid",
            hybrid_tune_step,
            tuned_config(profile, bench.method, name),
            upstream=bench.upstream(*bench.artifacts),
            seed=seed,
            bench=bench,
        )
        for name in objectives
        for seed in profile.seeds
    }
    if with_preference:
        for seed in profile.seeds:
            tuned[f"{bench.method}_sdpo", seed] = preferred(
                profile, bench, tuned, artifact, seed=seed, n_windows=preference_windows
            )
    config = steps.held_out_config(profile)
    ranked = {
        key: artifact(
            "held_out",
            steps.held_out_step,
            config,
            upstream=bench.upstream(it),
            seed=key[1],
            adapter=it,
            bench=bench,
        )
        for key, it in tuned.items()
    }
    return HybridRuns(bench, tuned, ranked)


def preferred(
    profile: Profile,
    bench: HybridBench,
    tuned: dict[tuple[str, int], Artifact],
    artifact: Callable[..., Artifact] = artifacts.get_or_compute,
    *,
    seed: int,
    n_windows: int | None = None,
) -> Artifact:
    """The adapter tuned with LML, tuned on by S-DPO on prompts with vectors; see `analysis.msl.preference`.

    Raises InputError where `tuned` has no adapter of LML under the seed.
    """
    reference = tuned.get((f"{bench.method}_lml", seed))
    if reference is None:
        raise InputError(f"S-DPO goes on from LML: tune {bench.method} with 'lml' under seed {seed} first")
    config = preferred_config(profile)
    config = replace(config, tune=replace(config.tune, n_windows=n_windows or config.tune.n_windows))
    return artifact(
        "prefer",
        prefer_step,
        config,
        upstream=bench.upstream(reference),
        seed=seed,
        bench=bench,
        reference=reference,
    )
