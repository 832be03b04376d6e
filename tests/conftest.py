"""Fixtures every test may use: a cache of its own, the shared data and the pretrained model where present."""

from __future__ import annotations

import os

# Before torch, tokenizers or matplotlib is imported anywhere: small tests are fastest on one thread,
# no test reaches for a hub, and no test opens a window.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MPLBACKEND"] = "Agg"
os.environ["JUPYTER_PLATFORM_DIRS"] = "1"

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# The same examples on every run, no time limit per example on a shared machine, nothing written to disk.
hypothesis.settings.register_profile("reclib", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("reclib")

SMOLLM2 = "smollm2-135m-instruct"


@pytest.fixture(scope="session", autouse=True)
def session_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Send what tests compute to a temporary cache that sees the user's fetched assets one by one."""
    from reclib import paths

    assets = paths.assets_dir()
    cache = tmp_path_factory.mktemp("reclib-cache")
    (cache / "assets").mkdir()
    for asset in filter(Path.is_dir, assets.iterdir()) if assets.is_dir() else ():
        (cache / "assets" / asset.name).symlink_to(asset)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECLIB_CACHE", str(cache))
        yield cache


@pytest.fixture(scope="session", autouse=True)
def _no_network() -> Iterator[None]:
    """Refuse every connection that leaves this machine; notebook kernels still talk over loopback."""
    connect = socket.socket.connect

    def local_only(self: socket.socket, address: Any) -> None:
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise RuntimeError(f"a test tried to reach {address[0]}; tests use no network")
        connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", local_only)
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data sets; the test is skipped by name where there is none."""
    folder = os.environ.get("RECLIB_DATA")
    if not folder:
        pytest.skip("RECLIB_DATA is not set: point it at a folder of data sets to run this test")
    if not Path(folder).is_dir():
        pytest.fail(f"RECLIB_DATA is {folder}, which is not a folder")
    return Path(folder)


@pytest.fixture(scope="session")
def smollm2(session_cache: Path) -> str:
    """Name of the pretrained LM for `LMConfig.name`; the test is skipped by name until it is fetched."""
    from reclib import assets

    if not assets.is_fetched(SMOLLM2):
        pytest.skip(f"{SMOLLM2} is not in the cache: run `python -m reclib fetch {SMOLLM2}` to run this test")
    return SMOLLM2
