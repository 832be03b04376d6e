"""What this Python environment has installed, against what pyproject.toml and constraints.txt ask for.

`run_all.sh` runs this file as a script before anything is installed, so it imports the standard library and
`packaging` only (pip's own copy where there is no other): `python reclib/environment.py missing` prints the
requirements that are not met, `python reclib/environment.py constraints` the pins to install them with.
"""

from __future__ import annotations

import os
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

try:
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet
except ImportError:
    from pip._vendor.packaging.requirements import Requirement  # type: ignore[assignment]
    from pip._vendor.packaging.specifiers import SpecifierSet  # type: ignore[assignment]

# Not reclib.paths: as a script, before the package is installed, this file stands alone.
ROOT = Path(__file__).resolve().parent.parent


class Installed(NamedTuple):
    """One requirement of pyproject.toml and what is installed for it."""

    requirement: str
    name: str
    version: str | None
    is_met: bool


def requirements(root: Path = ROOT, *, extra: str | None = "dev") -> list[str]:
    """Requirements of pyproject.toml, those of `extra` included."""
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    return project["dependencies"] + (project["optional-dependencies"][extra] if extra else [])


def python_range(root: Path = ROOT) -> str:
    """Supported Python versions, as pyproject.toml says them: ">=3.11,<3.14"."""
    return tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]["requires-python"]


def python_is_supported(version: str, root: Path = ROOT) -> bool:
    """Whether a Python version lies in `python_range`."""
    return SpecifierSet(python_range(root)).contains(version, prereleases=True)


def pins(root: Path = ROOT) -> dict[str, str]:
    """Versions of constraints.txt by normalised package name."""
    lines = (line.strip() for line in (root / "constraints.txt").read_text("utf-8").splitlines())
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {normalised(name): version for name, version in pairs}


def normalised(name: str) -> str:
    """Name of a package as the index compares it: lower case, one hyphen for each run of ``-_.``."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed(root: Path = ROOT, *, extra: str | None = "dev") -> Iterator[Installed]:
    """Each requirement with the version installed here and whether that version meets it."""
    for text in requirements(root, extra=extra):
        requirement = Requirement(text)
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            yield Installed(text, requirement.name, None, False)
        else:
            is_met = requirement.specifier.contains(version, prereleases=True)
            yield Installed(text, requirement.name, version, is_met)


def missing(root: Path = ROOT, *, extra: str | None = "dev") -> list[str]:
    """Requirements that are not met here, torch first: its build is chosen before what depends on it."""
    unmet = [row for row in installed(root, extra=extra) if not row.is_met]
    return [row.requirement for row in sorted(unmet, key=lambda row: row.name != "torch")]


def kept_pins(root: Path = ROOT, *, extra: str | None = "dev") -> dict[str, str]:
    """`pins`, but a requirement that is met already keeps the version it has here.

    Someone's own environment may hold, say, a CUDA build of torch within our bounds: installing what else is
    missing must not replace it.
    """
    here = {normalised(row.name): row.version for row in installed(root, extra=extra) if row.is_met}
    return pins(root) | {name: version for name, version in here.items() if version is not None}


def n_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main() -> None:
    """Print what the one argument asks for."""
    match sys.argv[1:]:
        case ["missing"]:
            lines = missing()
        case ["constraints"]:
            lines = [f"{name}=={version}" for name, version in sorted(kept_pins().items())]
        case _:
            raise SystemExit("usage: python reclib/environment.py missing|constraints")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
