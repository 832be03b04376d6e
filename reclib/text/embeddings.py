"""Frozen text embeddings of a catalogue: made once, kept with the fingerprint of their texts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from reclib.arrays import load_arrays, save_array, save_arrays
from reclib.schema import PAD_IDX, InputError

Encode = Callable[[list[str]], np.ndarray]  # n texts → (n, E)
BLOCK = 256  # texts between two writes


@dataclass(frozen=True, eq=False)
class TextEmbeddings:
    """One vector an item, from its text alone.

    matrix: (N+1, E) float32 by item_idx, row 0, padding, zero; encoder: what made them
    fingerprint: of the texts in their order, so that rows of another catalogue or order are noticed
    """

    matrix: np.ndarray
    encoder: str
    fingerprint: str

    def __post_init__(self) -> None:
        bad = ~np.isfinite(self.matrix).all(axis=1)
        if bad.any():
            raise InputError(
                f"the text embedding of item_idx {int(bad.argmax())} by {self.encoder} is not finite: "
                "embed the texts again, or look at that item's text"
            )
        if self.matrix[PAD_IDX].any():
            raise InputError("row 0 of text embeddings is padding: it must be zero")

    def check(self, texts: Sequence[str]) -> None:
        """Refuse embeddings that were made of other texts, or of these in another order."""
        if len(texts) != len(self.matrix) - 1:
            raise InputError(
                f"text embeddings of {len(self.matrix) - 1} items for a catalogue of {len(texts)}: embed "
                "the texts of this one"
            )
        if text_fingerprint(texts) != self.fingerprint:
            raise InputError(
                "text embeddings of other texts, or of the same in another order: their rows would go to "
                "the wrong items; embed the texts of this catalogue"
            )

    def save(self, path: Path) -> None:
        """Write `path`.npz and nothing else, in one step."""
        about = json.dumps({"encoder": self.encoder, "fingerprint": self.fingerprint})
        arrays = {"matrix": self.matrix, "about": np.array(about)}
        save_arrays(path.with_name(f"{path.name}.npz"), arrays)

    @classmethod
    def load(cls, path: Path) -> TextEmbeddings:
        """Read what `save` wrote to this path. Raises InputError where there is none, or it is broken."""
        arrays = load_arrays(
            path.with_name(f"{path.name}.npz"),
            ("matrix", "about"),
            what="text embeddings",
            remedy="embed the texts of the catalogue first",
        )
        return cls(matrix=arrays["matrix"], **json.loads(str(arrays["about"])))


def embed_texts(
    texts: Sequence[str], encode: Encode, *, encoder: str, workdir: Path, block: int = BLOCK
) -> TextEmbeddings:
    """Embed texts in blocks of like length, in the order of item_idx in the end.

    Blocks that an earlier, killed process wrote to `workdir` are not made again; they are of these texts and
    this encoder, or they are ignored. Equal texts are encoded once. Raises InputError for an encoder that
    gives another number of rows than texts, and for a vector that is not finite.
    """
    distinct = sorted(set(texts), key=lambda text: (len(text), text))
    name = _digest([encoder, str(block), *distinct])
    folder = workdir / f"embedded-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for start in tqdm(range(0, len(distinct), block), desc=f"embed texts ({encoder})", unit="block"):
        file = folder / f"{start}.npy"
        if not file.is_file():
            rows = np.asarray(encode(distinct[start : start + block]), dtype=np.float32)
            _check_rows(rows, len(distinct[start : start + block]), encoder)
            save_array(file, rows)
        parts.append(np.load(file, allow_pickle=False))
    place = {text: row for row, text in enumerate(distinct)}
    rows = np.concatenate(parts)[[place[text] for text in texts]]
    matrix = np.concatenate([np.zeros_like(rows[:1]), rows])
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    return TextEmbeddings(matrix=matrix, encoder=encoder, fingerprint=text_fingerprint(texts))


def text_fingerprint(texts: Sequence[str]) -> str:
    """First 16 hexadecimal digits of a SHA-256 of the texts in their order."""
    return _digest(texts)


def _digest(texts: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        encoded = text.encode()
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.hexdigest()[:16]


def _check_rows(rows: np.ndarray, n_texts: int, encoder: str) -> None:
    if rows.ndim != 2 or len(rows) != n_texts:
        raise InputError(f"{encoder} gave an array of shape {rows.shape} for {n_texts} texts: one row a text")
