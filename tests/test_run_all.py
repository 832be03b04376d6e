"""run_all.sh: what it finds, what it says, and that it leaves a good environment alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ("bash", "dirname", "cat", "mktemp", "rm", "grep", "env")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The script and what it reads, in a folder with a blank in its name."""
    folder = tmp_path / "a check out"
    (folder / "reclib").mkdir(parents=True)
    for name in ("run_all.sh", "pyproject.toml", "constraints.txt", "reclib/environment.py"):
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder for PATH with the few commands the script uses, and no Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found, tool
        (folder / tool).symlink_to(found)
    return folder


def environment(prefix: Path, log: Path) -> Path:
    """An environment whose python notes its arguments in a log, and obeys all but pip, pytest and reclib."""
    (prefix / "bin").mkdir(parents=True)
    python = prefix / "bin" / "python"
    python.write_text(
        "#!/usr/bin/env bash\n"
        f'printf "%s\\n" "$*" >>"{log}"\n'
        'if [ "$1" = -m ]; then echo "[$PWD] $*"; exit 0; fi\n'
        f'exec "{sys.executable}" "$@"\n'
    )
    python.chmod(0o755)
    return prefix


def call(checkout: Path, *arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    command = ["bash", str(checkout / "run_all.sh"), *arguments]
    return subprocess.run(
        command, cwd=cwd, env={**kept, **variables}, capture_output=True, text=True, timeout=60
    )


def test_help_needs_no_set_up(checkout: Path, tmp_path: Path, tools: Path) -> None:
    said = call(checkout, "--help", cwd=tmp_path, PATH=str(tools))
    assert said.returncode == 0
    assert said.stdout.startswith("Usage: ./run_all.sh")
    assert all(
        f"--{option}" in said.stdout for option in ("profile", "only", "force", "keep-going", "list", "jobs")
    )
    assert not (checkout / ".venv").exists()


def test_without_python_it_says_what_to_install(checkout: Path, tmp_path: Path, tools: Path) -> None:
    said = call(checkout, cwd=tmp_path, PATH=str(tools))
    assert said.returncode == 1
    assert "no Python 3.11, 3.12 or 3.13" in said.stderr
    assert "environment.yml" in said.stderr
    assert not (checkout / ".venv").exists()


def test_a_python_that_does_not_start_or_is_too_old_is_passed_over(
    checkout: Path, tmp_path: Path, tools: Path
) -> None:
    for name in ("python3.12", "python3"):
        (tools / name).write_text("#!/usr/bin/env bash\nexit 127\n")
        (tools / name).chmod(0o755)
    assert "no Python 3.11" in call(checkout, cwd=tmp_path, PATH=str(tools)).stderr


@pytest.mark.parametrize("variable", ["VIRTUAL_ENV", "CONDA_PREFIX"])
def test_an_active_environment_is_used_as_it_is(checkout: Path, tmp_path: Path, variable: str) -> None:
    log = tmp_path / "log"
    prefix = environment(tmp_path / "an env", log)
    said = call(checkout, "--profile", "smoke", "--only", "11,12", cwd=tmp_path, **{variable: str(prefix)})
    assert said.returncode == 0, said.stderr
    assert said.stdout.splitlines()[-1] == f"[{checkout}] -m reclib run --profile smoke --only 11,12"
    installs = [line for line in log.read_text().splitlines() if "pip install" in line]
    assert installs == [f"-m pip install --disable-pip-version-check --quiet --no-deps -e {checkout}"]
    assert not (checkout / ".venv").exists()


def test_a_second_call_sets_nothing_up_until_a_pin_changes(checkout: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    prefix = str(environment(tmp_path / "env", log))
    call(checkout, cwd=tmp_path, VIRTUAL_ENV=prefix)
    log.write_text("")
    said = call(checkout, "test", "-q", "tests/a b.py", cwd=tmp_path, VIRTUAL_ENV=prefix)
    assert said.stdout.splitlines()[-1] == f"[{checkout}] -m pytest -q tests/a b.py"
    assert "pip install" not in log.read_text()
    with (checkout / "constraints.txt").open("a") as file:
        file.write("# renewed\n")
    call(checkout, cwd=tmp_path, VIRTUAL_ENV=prefix)
    assert "pip install" in log.read_text()


def test_what_an_active_environment_lacks_is_installed_torch_first(checkout: Path, tmp_path: Path) -> None:
    """A requirement nobody has stands for a missing one; what is met keeps its version."""
    log = tmp_path / "log"
    pyproject = checkout / "pyproject.toml"
    pyproject.write_text(
        pyproject.read_text().replace('"tqdm>=4.66"', '"tqdm>=4.66",\n    "no-such-package>=1"')
    )
    said = call(checkout, cwd=tmp_path, VIRTUAL_ENV=str(environment(tmp_path / "env", log)))
    assert said.returncode == 0, said.stderr
    installs = [line for line in log.read_text().splitlines() if "pip install" in line]
    assert "torch==" in installs[0]
    assert installs[1].endswith(f"-e {checkout}[dev]")
    assert " -c " in installs[1]
    assert str(checkout / "constraints.txt") not in installs[1]


def test_the_base_environment_of_conda_is_not_filled(checkout: Path, tmp_path: Path, tools: Path) -> None:
    log = tmp_path / "log"
    prefix = environment(tmp_path / "base", log)
    call(checkout, cwd=tmp_path, PATH=str(tools), CONDA_PREFIX=str(prefix), CONDA_DEFAULT_ENV="base")
    assert not log.exists()
