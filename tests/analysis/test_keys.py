"""The key of a cached step moves with the files of the data set it reads, and with the settings it tries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from reclib import config
from reclib.analysis import long_tail, sequence_cells, trie_statistics, workbench
from reclib.analysis.eisam import matched_sharpness, prior_study
from reclib.analysis.faerec import method_spaces
from reclib.analysis.msl import grounded, hybrids, main_table, runs, traditional_tables
from reclib.analysis.msl.method_baselines import MethodBench
from reclib.analysis.msl.traditional import TraditionalBench
from reclib.analysis.sequence import SequenceBench
from reclib.analysis.tf_llmer import (
    geometry_clusters,
    geometry_norms,
    geometry_rec_pca,
    geometry_starts,
    geometry_training,
)
from reclib.analysis.tf_llmer.geometry import GeometryBench
from reclib.analysis.tf_llmer.geometry_training import GeometryRun
from reclib.analysis.tf_llmer.steps import TFLLMERBench
from reclib.analysis.workbench import Workbench
from reclib.config import Profile
from reclib.text.embeddings import TextEmbeddings
from reclib.training.methods import METHODS

N_USERS, N_ITEMS = 12, 8
PROFILE = config.override(
    config.SMOKE,
    **{
        f"{part}.{name}": value
        for part in ("data", "sequence.data", "eisam.data")
        for name, value in {"source": "made", "split": "leave_one_out", "min_interactions": 1}.items()
    },
    **{"sequence.tuning": 2, "tf_llmer.sources": ("made",), "tf_llmer.seeds": (0, 1)},
)


class Made:
    """A result that nothing was computed for: what the next steps read of it."""

    path = Path()

    def __init__(self, key: str) -> None:
        self.key = key

    def __getitem__(self, name: str) -> dict[str, Any]:
        chosen = {"place": 0, "epochs": 1, "learning_rate": 0.1, "dropout": 0.1, "weight_decay": 0.0}
        return chosen | {"training_loss": 1.0}


class Asked:
    """Stands for the cache: the keys of the steps that it is asked for, by step."""

    def __init__(self) -> None:
        self.keys: dict[str, list[str]] = {}

    def __call__(
        self,
        step: str,
        function: Any,
        config_: Any,
        *,
        upstream: Any = (),
        seed: int,
        schema_version: int = 1,
        **kwargs: Any,
    ) -> Made:
        keys = [each if isinstance(each, str) else each.key for each in upstream]
        key = config.config_hash([step, config_, keys, seed, schema_version])
        self.keys.setdefault(step, []).append(key)
        return Made(key)


def write(folder: Path, *, seed: int = 0, told: str = "old") -> None:
    """A data set of a few users; another seed draws other histories of the same items."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(seed)
    history = np.concatenate([generator.permutation(N_ITEMS) for _ in range(N_USERS)])
    user = np.repeat(np.arange(N_USERS), N_ITEMS)
    rows = pd.DataFrame({"user_id": user, "item_id": history, "timestamp": np.arange(len(user))})
    rows.to_csv(folder / "interactions.csv", index=False)
    items = pd.DataFrame({"item_id": range(N_ITEMS), "title": [f"item {n}" for n in range(N_ITEMS)]})
    items.assign(description=told).to_csv(folder / "items.csv", index=False)


def of_sequences(profile: Profile, asked: Any) -> None:
    bench = SequenceBench(profile, asked, device="cpu")
    cells = sequence_cells.of_methods(sequence_cells.main_cells(profile), ("base", "faerec"))
    bench.train(cells)
    method_spaces.spaces_of(bench)


def of_tf_llmer(profile: Profile, asked: Any) -> None:
    for pooling in ("mean", "last_token"):
        bench = TFLLMERBench(config.override(profile, **{"tf_llmer.pooling": pooling}), asked, device="cpu")
        bench.arms(["random", "tf_llmer"])


def of_geometry(profile: Profile, asked: Any) -> None:
    bench = GeometryBench(profile, asked, device="cpu")
    for start in (geometry_starts.RANDOM, geometry_starts.PLAIN):
        run = GeometryRun(start=start, table="lm_mean", is_normalised=True, seed=0)
        geometry_training.train_runs(bench, [run])
    for step in (geometry_norms.norms_of, geometry_clusters.clusters_of, geometry_rec_pca.sweep_of):
        step(bench)


def of_language_models(profile: Profile, asked: Any) -> None:
    bench = Workbench.of(profile)
    for method in ("msl", "sdpo"):
        runs.ranked(runs.Cell(profile=profile, method=method, seed=0), asked, bench=bench)
    taught = main_table.taught_by(profile, bench, asked)
    main_table.reasoned(profile, bench, asked)
    grounded.ground(profile, bench, taught, asked, kind="popularity")
    prior_study.language_model_runs(profile, asked, bench, seed=0)


def of_hybrids(profile: Profile, asked: Any) -> None:
    for method in hybrids.METHODS:
        hybrids.run_method(profile, hybrids.make_bench(profile, method, asked), asked)


def of_traditional(profile: Profile, asked: Any) -> None:
    bench = TraditionalBench(Workbench.of(profile).dataset, asked, device="cpu")
    for settings in traditional_tables.configs(profile, profile.data.source).values():
        bench.tested(settings, seed=0)
    MethodBench(bench).tested(settings, "dros", budget=2, seed=0)


def of_matched_sharpness(profile: Profile, asked: Any) -> None:
    matched_sharpness.measured(profile, asked)


BENCHES = (
    of_sequences,
    of_tf_llmer,
    of_geometry,
    of_language_models,
    of_hybrids,
    of_traditional,
    of_matched_sharpness,
)


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, list[str]]]:
    """The keys that a bench asks for where the data set "made" has some files."""
    monkeypatch.setattr(TextEmbeddings, "load", lambda path: SimpleNamespace(check=lambda texts: None))

    def found(bench: Any, profile: Profile = PROFILE, **files: Any) -> dict[str, list[str]]:
        root = tmp_path / "-".join(map(str, files.values()))
        if not root.is_dir():
            write(root / "made", **files)
        monkeypatch.setenv("RECLIB_DATA", str(root))
        asked = Asked()
        bench(profile, asked)
        assert asked.keys
        return asked.keys

    return found


@pytest.mark.parametrize("bench", BENCHES)
def test_other_files_under_one_name_are_other_results(bench: Any, keys: Any) -> None:
    first, same, other = keys(bench, seed=0), keys(bench, seed=0), keys(bench, seed=1)
    assert first == same
    assert first.keys() == other.keys()
    stale = {step for step in first if set(first[step]) & set(other[step])}
    assert not stale


@pytest.mark.parametrize(
    ("bench", "embedding"),
    [
        (of_sequences, {"embed_items"}),
        (of_tf_llmer, {"embed_items", "embed_pooled_items"}),
        (of_geometry, {"embed_pooled"}),
    ],
)
def test_other_descriptions_are_other_embeddings(bench: Any, embedding: set[str], keys: Any) -> None:
    profile = config.override(PROFILE, **{"geometry.wording": "attributes"})
    old, new = (keys(bench, profile, told=told) for told in ("old", "new"))
    stale = {step for step in old if set(old[step]) & set(new[step])}
    assert not stale & embedding
    read_no_text = {"tune_sequence", "train_sequence", "train_arm", "train_geometry"}
    assert stale <= read_no_text, "what reads no text does not depend on it"
    assert stale


@pytest.mark.parametrize(
    ("bench", "tuning", "method"),
    [(of_sequences, "tune_sequence", "faerec"), (of_traditional, "tune_method", "dros")],
)
def test_an_edited_grid_is_tuned_again(
    bench: Any, tuning: str, method: str, keys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = keys(bench, seed=0)
    grid = METHODS[method].grid
    monkeypatch.setitem(METHODS, method, replace(METHODS[method], grid=(*grid[:2], grid[0])))  # type: ignore[index]
    assert keys(bench, seed=0) == before, "what is never tried says nothing"
    monkeypatch.setitem(METHODS, method, replace(METHODS[method], grid=(grid[0], *grid[2:], grid[1])))  # type: ignore[index]
    assert set(keys(bench, seed=0)[tuning]) - set(before[tuning])
    monkeypatch.setitem(METHODS, method, replace(METHODS[method], grid=(grid[1], grid[0], *grid[2:])))  # type: ignore[index]
    assert set(keys(bench, seed=0)[tuning]) - set(before[tuning]), "a place in the grid means another setting"


def test_steps_that_load_their_data_have_the_fingerprint_of_each(keys: Any) -> None:
    def loaded(profile: Profile, asked: Any) -> None:
        for settings in (long_tail.config(profile), trie_statistics.config(profile)):
            asked.keys[type(settings).__name__] = workbench.fingerprints(*settings.sources)

    first, other = keys(loaded, seed=0), keys(loaded, seed=1)
    assert all(len(of) == 1 for of in first.values())
    assert all(set(of).isdisjoint(other[name]) for name, of in first.items())
