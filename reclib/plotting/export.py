"""Figures and tables as files, each with the numbers it shows and where they came from."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from reclib import paths
from reclib.plotting import style, text_tables
from reclib.schema import InputError, K

RANK_OF_PROFILE = {"smoke": 0, "default": 1, "custom": 2, "paper": 3}


class Saved(NamedTuple):
    """What became of a figure or table: its files (none where an earlier result stays), and a sentence."""

    files: tuple[Path, ...]
    message: str


def save_figure(
    fig: Figure, name: str, table: pd.DataFrame, caption: str, *, folder: Path, provenance: Mapping[str, Any]
) -> Saved:
    """Write <name>.pdf, .png (300 dpi), .csv (the table) and .json (caption, provenance, size).

    A rerun on the same numbers gives the same bytes, the provenance in the json left out: no file holds its
    date. The four files appear together or not at all.

    table: what the figure shows; provenance: its "profile" decides whether an earlier figure is replaced
    (see `kept_because`). Raises InputError on a bad name, an empty caption or table, an unknown profile, and
    where the files cannot be written.
    """
    _check(name, table, caption)
    kept = kept_because(name, folder=folder, profile=provenance["profile"])
    if kept:
        return Saved((), kept)
    width, height = (float(inches) for inches in fig.get_size_inches())
    about = {"caption": caption, "size_in": [width, height], "provenance": dict(provenance)}

    def write(partial: Path) -> None:
        with style.context():
            fig.savefig(partial / f"{name}.pdf", metadata={"CreationDate": None})
            fig.savefig(partial / f"{name}.png", metadata={"Software": None})
        _write_csv(table, partial / f"{name}.csv")
        _write_json(about, partial / f"{name}.json")

    return _publish(write, folder, name)


def save_table(
    table: pd.DataFrame,
    name: str,
    caption: str,
    *,
    folder: Path,
    provenance: Mapping[str, Any],
    digits: int = 4,
) -> Saved:
    """Write <name>.csv (exact), .md, .tex (booktabs; numbers with `digits` significant digits) and .json.

    Replaces an earlier table by the same rule, and raises the same errors, as `save_figure`.
    """
    _check(name, table, caption)
    kept = kept_because(name, folder=folder, profile=provenance["profile"])
    if kept:
        return Saved((), kept)

    def write(partial: Path) -> None:
        _write_csv(table, partial / f"{name}.csv")
        markdown = text_tables.markdown(table, caption, digits=digits)
        (partial / f"{name}.md").write_text(markdown, "utf-8")
        latex = text_tables.latex(table, caption, label=name, digits=digits)
        (partial / f"{name}.tex").write_text(latex, "utf-8")
        _write_json({"caption": caption, "provenance": dict(provenance)}, partial / f"{name}.json")

    return _publish(write, folder, name)


def kept_because(name: str, *, folder: Path, profile: str) -> str:
    """Why the result that is in the folder stays; empty where the new one may be written.

    A result of profile "paper" is replaced by another of "paper" only, and none of profile "smoke" is
    written where the committed results are, or over one of a higher profile.
    """
    if profile not in RANK_OF_PROFILE:
        raise InputError(
            f"profile {profile!r} in the provenance of {name}: known are {', '.join(RANK_OF_PROFILE)}"
        )
    if profile == "smoke" and folder.resolve().is_relative_to(paths.figures_dir().resolve()):
        return f"{name}: not written; profile smoke leaves {paths.figures_dir().name}/ as it is"
    there = folder / f"{name}.json"
    if not there.is_file():
        return ""
    before = json.loads(there.read_text("utf-8"))["provenance"].get("profile", "smoke")
    if RANK_OF_PROFILE.get(before, 0) > RANK_OF_PROFILE[profile]:
        return f"{name}: not written; the one there came from profile {before}, this one from {profile}"
    return ""


def read_numbers(path: Path) -> pd.DataFrame:
    """The table of a saved figure, as it was drawn: cut-offs stay whole numbers where some are missing."""
    return pd.read_csv(path, dtype={K: "Int64"})


def _publish(write: Callable[[Path], None], folder: Path, name: str) -> Saved:
    """Write into a folder beside, then move the files: a full disk leaves the earlier ones as they were."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=f".{name}-") as partial:
            write(Path(partial))
            made = sorted(Path(partial).iterdir())
            for path in made:
                os.replace(path, folder / path.name)
    except OSError as error:
        reason = f"cannot write {name} to {folder}: {error.strerror or error}"
        raise InputError(
            f"{reason}; free some space or choose another folder, nothing there changed"
        ) from error
    files = tuple(folder / path.name for path in made)
    return Saved(files, f"{name}: {', '.join(path.suffix[1:] for path in files)}")


def _check(name: str, table: pd.DataFrame, caption: str) -> None:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_]*", name):
        raise InputError(f"name {name!r}: use lower-case letters, digits and underscores")
    if not caption.strip():
        raise InputError(f"{name} has no caption: say what is shown, on which data, and what error bars are")
    if table.empty:
        raise InputError(f"{name}: its table has no rows")


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    table.to_csv(path, index=False, lineterminator="\n")


def _write_json(content: Mapping[str, Any], path: Path) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False, default=str) + "\n", "utf-8")
