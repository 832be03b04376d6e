from __future__ import annotations

import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from reclib import artifacts
from reclib.artifacts import Artifact, cached, clear, get_or_compute
from reclib.schema import InputError

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("RECLIB_CACHE", str(tmp_path))
    return tmp_path


@dataclasses.dataclass(frozen=True)
class Settings:
    rate: float = 0.5


class Step:
    """Returns what it was made with, and counts its calls."""

    def __init__(self, **results: Any) -> None:
        self.results = results
        self.n_calls = 0

    def __call__(self, config: Any, *, seed: int, workdir: Path, **kwargs: Any) -> Mapping[str, Any]:
        self.n_calls += 1
        return self.results


def folders(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir() if path.is_dir())


# Results


def test_a_result_is_computed_once_and_read_back_as_it_was() -> None:
    table = pd.DataFrame(
        {
            "rank": pd.array([1, None], dtype="Int64"),
            "title": ["Toy Story", None],
            "value": [0.5, np.nan],
            "history": [[1, 2], [3]],
        }
    )
    arrays = {"a": np.arange(6, dtype=np.int32).reshape(2, 3), "names": np.array(["é", "b"])}
    report = {"n": 3, "share": 0.25, "of": ["a", None], "ok": True}
    step = Step(ranks=table, arrays=arrays, report=report, single=np.ones(2, dtype=np.float32))
    first = get_or_compute("numbers", step, Settings(), seed=0)
    second = get_or_compute("numbers", step, Settings(), seed=0)
    assert step.n_calls == 1
    for artifact in (first, second):
        assert list(artifact) == ["ranks", "arrays", "report", "single"]
        pd.testing.assert_frame_equal(
            artifact["ranks"].drop(columns="history"), table.drop(columns="history")
        )
        assert [list(each) for each in artifact["ranks"]["history"]] == [[1, 2], [3]]
        assert artifact["report"] == report
        for name, array in arrays.items():
            assert artifact["arrays"][name].dtype == array.dtype
            assert np.array_equal(artifact["arrays"][name], array)
        assert artifact["single"]["single"].dtype == np.float32
    assert (first.key, first.path) == (second.key, second.path)


def test_results_are_read_only_when_asked_for() -> None:
    artifact = get_or_compute("numbers", Step(ranks=pd.DataFrame({"rank": [1]})), Settings(), seed=0)
    (artifact.path / "ranks.parquet").unlink()
    again = Artifact(artifact.path)
    assert "ranks" in again
    assert "title" not in again
    assert len(again) == 1
    assert repr(again) == f"Artifact({artifact.path.name}: ranks)"
    with pytest.raises(KeyError, match=r"holds ranks, not 'titles'"):
        again["titles"]


def test_files_of_the_step_stay_in_the_result() -> None:
    def step(config: Any, *, seed: int, workdir: Path) -> Mapping[str, Any]:
        (workdir / "below").mkdir()
        (workdir / "below" / "adapter.bin").write_bytes(b"weights")
        return {}

    artifact = get_or_compute("files", step, Settings(), seed=0)
    assert (artifact.path / "below" / "adapter.bin").read_bytes() == b"weights"
    assert len(artifact) == 0


def test_a_step_gets_its_configuration_seed_and_inputs() -> None:
    def step(config: Settings, *, seed: int, workdir: Path, factor: float) -> Mapping[str, Any]:
        return {"got": {"rate": config.rate * factor, "seed": seed, "is_there": workdir.is_dir()}}

    artifact = get_or_compute("inputs", step, Settings(0.25), seed=7, factor=2.0)
    assert artifact["got"] == {"rate": 0.5, "seed": 7, "is_there": True}


@pytest.mark.parametrize(
    ("name", "result", "message"),
    [
        ("x", [1, 2], "it is a list"),
        ("x", 1.0, "it is a float"),
        ("x", {"loss": float("nan")}, "Out of range"),
        ("x", {"when": object()}, "not JSON serializable"),
        ("x", {"a": np.array([object()])}, "Object arrays cannot be saved"),
        ("x", np.array([{"a": 1}]), "Object arrays cannot be saved"),
        ("results", {"a": 1}, "it needs another name"),
        ("provenance", {"a": 1}, "it needs another name"),
        ("../x", {"a": 1}, "it needs another name"),
    ],
)
def test_what_cannot_be_kept_is_refused_and_leaves_no_result(
    name: str, result: Any, message: str, cache: Path
) -> None:
    with pytest.raises(InputError, match=f"result '{name}' cannot be kept .*{message}.*return tables"):
        get_or_compute("odd", Step(**{name: result}), Settings(), seed=0)
    assert all(each.endswith(".partial") for each in folders(cache))
    assert cached().empty


# Keys


def test_the_key_follows_everything_that_is_hashed_and_nothing_else() -> None:
    step = Step()
    upstream = get_or_compute("first", step, Settings(), seed=0)
    base: dict[str, Any] = {"step": "second", "config": Settings(), "seed": 0}
    variants: list[dict[str, Any]] = [
        {},
        {"step": "third"},
        {"config": Settings(0.75)},
        {"seed": 1},
        {"schema_version": 2},
        {"upstream": [upstream]},
        {"upstream": ["another key"]},
    ]
    results = [get_or_compute(function=step, **(base | variant)) for variant in variants]
    assert len({artifact.path.name for artifact in results}) == len(variants)
    by_key = get_or_compute(function=step, **base, upstream=[upstream.key])
    assert by_key.key == results[5].key
    assert get_or_compute(function=Step(other={}), data="not hashed", **base).key == results[0].key


def test_provenance_says_where_a_result_comes_from() -> None:
    first = get_or_compute("first", Step(), Settings(), seed=0)
    artifact = get_or_compute("second", Step(), Settings(), seed=3, upstream=[first])
    origin = artifact.provenance
    assert (origin["step"], origin["key"], origin["seed"]) == ("second", artifact.key, 3)
    assert origin["config"] == {"class": "Settings", "rate": 0.5}
    assert origin["upstream"] == [first.key]
    assert origin["seconds"] >= 0
    assert origin["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"commit", "device", "threads", "platform", "versions", "date"} <= set(origin)
    assert origin["versions"]["numpy"] == np.__version__
    assert json.loads((artifact.path / "provenance.json").read_text("utf-8")) == origin


def test_the_commit_is_unknown_outside_of_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reclib.paths.root", lambda: tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert artifacts.provenance()["commit"] == "unknown"
    monkeypatch.setenv("PATH", "")
    assert artifacts.provenance()["commit"] == "unknown"


def test_a_changed_working_tree_is_marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reclib.paths.root", lambda: tmp_path)
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]

    def git(*words: str) -> None:
        subprocess.run(["git", "-C", str(tmp_path), *who, *words], check=True, capture_output=True)

    git("init")
    figure = tmp_path / "figures" / "a.csv"
    figure.parent.mkdir()
    for path in (tmp_path / "a.txt", figure):
        path.write_text("1", "utf-8")
    git("add", ".")
    git("commit", "--message", "a")
    clean = artifacts.provenance()["commit"]
    assert len(clean) == 12
    figure.write_text("2", "utf-8")  # what a run writes is no change of what it ran
    assert artifacts.provenance()["commit"] == clean
    (tmp_path / "a.txt").write_text("2", "utf-8")
    assert artifacts.provenance()["commit"] == f"{clean}-dirty"


# Kills, and several processes


def test_an_old_result_is_computed_again_from_nothing(cache: Path) -> None:
    marks = []

    def step(config: Any, *, seed: int, workdir: Path) -> Mapping[str, Any]:
        marks.append(sorted(path.name for path in workdir.iterdir()))
        (workdir / "mark").touch()
        return {"n": {"n": len(marks)}}

    artifact = get_or_compute("again", step, Settings(), seed=0)
    left = cache / f"{artifact.path.name}.partial"
    left.mkdir()
    (left / "checkpoint").touch()
    now = time.time()
    for _ in range(2):
        assert get_or_compute("again", step, Settings(), seed=0, fresh_since=now)["n"] == {"n": 2}
    assert marks == [[], []]
    assert folders(cache) == [artifact.path.name]


def test_an_error_leaves_no_result_and_the_next_run_goes_on_in_the_same_folder(cache: Path) -> None:
    seen = []

    def step(config: Any, *, seed: int, workdir: Path) -> Mapping[str, Any]:
        seen.append((workdir / "checkpoint").exists())
        (workdir / "checkpoint").touch()
        if len(seen) == 1:
            raise KeyboardInterrupt
        return {}

    with pytest.raises(KeyboardInterrupt):
        get_or_compute("resume", step, Settings(), seed=0)
    (left,) = folders(cache)
    assert left.endswith(".partial")
    artifact = get_or_compute("resume", step, Settings(), seed=0)
    assert seen == [False, True]
    assert folders(cache) == [artifact.path.name]


KILLED = """
import os, signal
from reclib.artifacts import get_or_compute

def step(config, *, seed, workdir):
    if (workdir / "checkpoint").exists():
        return {"from": {"checkpoint": (workdir / "checkpoint").read_text()}}
    (workdir / "checkpoint").write_text("step 7")
    os.kill(os.getpid(), signal.SIGKILL)

print(get_or_compute("killed", step, {"a": 1}, seed=0)["from"])
"""


def test_after_kill_9_a_step_goes_on_from_its_checkpoint(cache: Path) -> None:
    command = [sys.executable, "-c", KILLED]
    first = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert first.returncode == -signal.SIGKILL
    assert [name.partition(".")[2] for name in folders(cache)] == ["partial"]
    second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert second.stdout == "{'checkpoint': 'step 7'}\n"
    assert [name.partition(".")[2] for name in folders(cache)] == [""]


def test_a_result_gets_its_name_last_and_complete(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[str] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        flushed.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        assert all(name.endswith(".partial") for name in folders(cache)) or flushed[-1] == cache.name
        fsync(descriptor)

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("the name behind a descriptor is only known where there is /proc")
    monkeypatch.setattr(os, "fsync", noted)
    artifact = get_or_compute("flushed", Step(a={"x": 1}, b=np.ones(1)), Settings(), seed=0)
    expected = {"a.json", "b.npz", "results.json", "provenance.json"}
    assert set(flushed[:-2]) == expected
    assert flushed[-2:] == [f"{artifact.path.name}.partial", cache.name]


def test_a_kill_while_a_result_is_removed_leaves_no_result_with_holes(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = get_or_compute("removed", Step(a={"x": 1}), Settings(), seed=0)

    def killed(path: Path, **kwargs: Any) -> None:
        if path.is_dir():
            (path / "a.json").unlink()
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            get_or_compute("removed", Step(a={"x": 2}), Settings(), seed=0, fresh_since=time.time())
    assert folders(cache) == [f"{artifact.path.name}.discarded"]
    assert get_or_compute("removed", Step(a={"x": 3}), Settings(), seed=0)["a"] == {"x": 3}
    assert clear() == [artifact.path.name]
    assert folders(cache) == []


def test_two_at_once_compute_a_result_once(capsys: pytest.CaptureFixture[str]) -> None:
    started = threading.Event()

    class Slow(Step):
        def __call__(self, *args: Any, **kwargs: Any) -> Mapping[str, Any]:
            started.set()
            time.sleep(0.2)
            return super().__call__(*args, **kwargs)

    step = Slow(a={"x": 1})
    other = threading.Thread(target=get_or_compute, args=("shared", step, Settings()), kwargs={"seed": 0})
    other.start()
    started.wait()
    assert get_or_compute("shared", step, Settings(), seed=0)["a"] == {"x": 1}
    other.join()
    assert step.n_calls == 1
    assert "another process is making it; waiting" in capsys.readouterr().err


# A full disk


def full_device(path: Path) -> None:
    """Write to a disk that is full."""
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    with Path("/dev/full").open("wb") as file:
        file.write(b"a")


def failing_in_rust(path: Path) -> None:
    """Fail as libraries do that have errors of their own: a text, no number."""
    raise RuntimeError(f"Error while serializing: I/O error: {os.strerror(errno.ENOSPC)} (os error 28)")


@pytest.mark.parametrize("write", [full_device, failing_in_rust])
def test_a_full_disk_is_named_and_leaves_no_result(write: Any, cache: Path) -> None:
    def step(config: Any, *, seed: int, workdir: Path) -> Mapping[str, Any]:
        write(workdir / "a")
        return {}

    with pytest.raises(InputError, match=r"the disk is full: .*full-\w+ was not written.*RECLIB_CACHE"):
        get_or_compute("full", step, Settings(), seed=0)
    assert cached().empty
    assert get_or_compute("full", Step(), Settings(), seed=0).path.is_dir()


@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "no"), RuntimeError("diverged")])
def test_other_errors_of_a_step_are_its_own(error: Exception) -> None:
    def step(config: Any, *, seed: int, workdir: Path) -> Mapping[str, Any]:
        raise error

    with pytest.raises(type(error)) as raised:
        get_or_compute("broken", step, Settings(), seed=0)
    assert raised.value is error
    assert error.__cause__ is None


# What is there, and removing it


@pytest.fixture
def three(cache: Path) -> Iterator[list[Artifact]]:
    """Two results of one step and one of another, and one a kill left; beside them what is no result."""
    made = [
        get_or_compute("tune", Step(a=np.zeros(1000)), Settings(), seed=0),
        get_or_compute("tune", Step(), Settings(), seed=1),
        get_or_compute("rank-lr0.5", Step(), Settings(), seed=0),
    ]
    (cache / f"rank-{'0' * 16}.partial").mkdir()
    (cache / "assets").mkdir()
    (cache / "runs-notes").mkdir()
    return made


def test_finished_results_are_listed(three: list[Artifact]) -> None:
    table = cached()
    assert list(table.columns) == ["step", "key", "seconds", "megabytes", "created"]
    assert set(zip(table["step"], table["key"], strict=True)) == {
        (artifact.provenance["step"], artifact.key) for artifact in three
    }
    assert table["created"].is_monotonic_increasing
    assert (table["megabytes"] > 0).all()


def test_results_of_a_step_are_removed(three: list[Artifact], cache: Path) -> None:
    assert clear("tune") == sorted(artifact.path.name for artifact in three[:2])
    assert cached()["step"].to_list() == ["rank-lr0.5"]
    assert clear("no such step") == []


def test_removing_everything_leaves_what_is_no_result(three: list[Artifact], cache: Path) -> None:
    assert len(clear()) == 4
    assert folders(cache) == ["assets", "runs-notes"]


def test_only_old_results_are_removed(three: list[Artifact], cache: Path) -> None:
    old = time.time() - 3 * 86_400
    os.utime(three[0].path, (old, old))
    assert clear(older_than_days=2) == [three[0].path.name]


def test_what_is_being_computed_is_not_removed() -> None:
    def step(config: Any, *, seed: int, workdir: Path) -> Mapping[str, Any]:
        assert clear() == []
        assert workdir.is_dir()
        return {}

    get_or_compute("busy", step, Settings(), seed=0)


def test_an_empty_cache_lists_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECLIB_CACHE", str(tmp_path / "not made yet"))
    assert cached().empty
    assert clear() == []
