"""Small files in the formats of the sources, written for a test."""

from __future__ import annotations

import gzip
from pathlib import Path


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    """The folder with the files in it; a name that ends in .gz is compressed."""
    for name, content in files.items():
        data = content.encode() if isinstance(content, str) else content
        (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return folder
