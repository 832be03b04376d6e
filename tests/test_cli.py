"""The command line as a person uses it: a process, its words, its exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from reclib import checkup

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RECLIB_CACHE", str(tmp_path / "cache"))
    for name in ("RECLIB_DATA", "RECLIB_ASSETS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache"


def reclib(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "reclib", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_help_names_the_commands_and_comes_at_once() -> None:
    said = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "reclib", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert said.returncode == 0
    assert all(command in said.stdout for command in ("fetch", "run", "status", "doctor"))
    assert not any(f"| {heavy}\n" in said.stderr for heavy in ("torch", "pandas", "numpy", "papermill"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fetch", "no-such-model"], "no asset named no-such-model: there are smollm2-135m-instruct"),
        (["run", "--only", "77", "--profile", "smoke"], "no notebook 77: there are "),
        (["run", "--profile", "smoke", "--set", "tune.epoch=2"], "no setting 'tune.epoch'"),
        (["run", "--profile", "smoke", "--set", "tune.epochs"], "--set tune.epochs: give a setting"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(cache: Path, arguments: list[str], message: str) -> None:
    said = reclib(*arguments)
    assert said.returncode == 2
    assert said.stderr.startswith(f"reclib: {message}")
    assert said.stderr.count("\n") == 1


def test_clear_removes_the_results_of_a_step(cache: Path) -> None:
    from reclib.artifacts import get_or_compute

    for step in ("kept", "removed"):
        get_or_compute(step, lambda config, seed, workdir: {"numbers": {"a": 1}}, {}, seed=0)
    said = reclib("clear", "removed")
    assert said.stdout.splitlines()[-1] == "1 removed"
    assert [path.parent.name.split("-")[0] for path in cache.glob("*/provenance.json")] == ["kept"]


def test_an_unknown_option_or_profile_is_refused() -> None:
    for arguments in (["run", "--profil", "smoke"], ["run", "--profile", "huge"], ["run", "--jobs", "0"]):
        assert reclib(*arguments).returncode == 2


def test_list_shows_the_notebooks_and_runs_nothing(cache: Path) -> None:
    said = reclib("run", "--list", "--profile", "smoke")
    assert said.returncode == 0
    names = [line.split()[0] for line in said.stdout.splitlines()]
    assert names == sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9]*.ipynb"))
    assert "minutes" in said.stdout
    assert not cache.exists()


def test_status_of_an_empty_cache(cache: Path) -> None:
    said = reclib("status")
    assert said.returncode == 0, said.stderr
    for title in ("Models and data", "Notebooks run", "Cached steps", "The papers' numbers"):
        assert title in said.stdout
    assert "none yet" in said.stdout


def test_doctor_is_content_with_smoke_here(cache: Path) -> None:
    said = reclib("doctor", "--profile", "smoke")
    assert said.returncode == 0, said.stdout + said.stderr
    assert "everything profile smoke needs is here" in said.stdout


def test_doctor_names_each_gap_with_its_remedy(cache: Path) -> None:
    said = reclib("doctor")
    assert said.returncode == 1
    assert "python -m reclib fetch smollm2-135m-instruct" in said.stdout
    assert "python -m reclib fetch all-minilm-l6-v2" in said.stdout  # notebooks 30–36 read it
    assert "4 missing for profile default" in said.stdout


def test_doctor_finds_a_data_folder_that_is_none(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECLIB_DATA", str(cache / "nowhere"))
    findings = {finding.what: finding for finding in checkup.examine("smoke")}
    assert findings["RECLIB_DATA"].state == "missing"
    assert findings["RECLIB_DATA"].remedy


def test_doctor_asks_for_the_data_of_profile_paper(cache: Path) -> None:
    findings = {finding.what: finding for finding in checkup.examine("paper")}
    for source in ("msl_office", "msl_book", "msl_toy", "scientific_2018"):
        assert findings[f"data {source}"].state == "missing"
        assert "RECLIB_DATA" in findings[f"data {source}"].remedy


def test_doctor_finds_a_package_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    real = checkup.environment.metadata.version
    monkeypatch.setattr(
        checkup.environment.metadata,
        "version",
        lambda name: "5.1.0" if name == "transformers" else real(name),
    )
    findings = {finding.what: finding for finding in checkup.examine("smoke")}
    assert findings["transformers"].state == "missing"
    assert findings["transformers"].remedy == 'pip install -c constraints.txt "transformers>=5.17,<6"'


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_doctor_finds_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o500)
    monkeypatch.setenv("RECLIB_CACHE", str(tmp_path / "cache"))
    findings = {finding.what: finding for finding in checkup.examine("smoke")}
    assert findings["cache"].state == "missing"
