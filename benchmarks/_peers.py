"""Environments of the benchmarks' own for peers that do not share ours: made once by pip, then reused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any, NamedTuple

import torch

from reclib import paths

HERE = Path(__file__).parent


class Peer(NamedTuple):
    """A package, what it needs beside itself to run today, and the script that runs it."""

    name: str
    requirements: tuple[str, ...]
    script: str


RECBOLE = Peer("recbole-1.2.1", ("recbole==1.2.1", "numpy<2", "pandas<2.2", "setuptools<81"), "_recbole.py")
RECTOOLS = Peer("rectools-0.19.0", ("rectools[torch]==0.19.0",), "_rectools.py")


def interpreter(peer: Peer) -> Path:
    """Python of the peer's environment, with our version of torch; made in the cache where it is missing."""
    folder = paths.cache_dir() / "benchmarks" / peer.name
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    done = folder / "complete"
    if not done.exists():
        print(f"installing {peer.name} into an environment of its own: minutes, about 1.5 GB", flush=True)
        venv.create(folder, with_pip=True, clear=True)
        version = torch.__version__.partition("+")[0]
        command = [python, "-m", "pip", "install", "--quiet", f"torch=={version}", *peer.requirements]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=_environment())
        done.touch()
    return python


def _environment() -> dict[str, str]:
    """Ours without what points Python to packages of ours."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def run(peer: Peer, *arguments: str | Path) -> dict[str, Any]:
    """Run the peer's script on one thread; returns the JSON of its last line."""
    folder = Path(arguments[1])
    done = subprocess.run(
        [interpreter(peer), HERE / peer.script, *arguments],
        cwd=folder,
        env=_environment() | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(f"{peer.name} failed:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])
