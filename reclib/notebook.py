"""What a notebook starts and ends with: its profile, cached steps, figures, and the record of its run."""

from __future__ import annotations

import functools
import gc
import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reclib import artifacts, config, files, notebook_files, paths
from reclib.artifacts import Artifact
from reclib.config import Profile
from reclib.environment import n_cores

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from reclib.plotting.export import Saved

SHOWN_VERSIONS = ("torch", "transformers")


class Run:
    """One execution of one notebook.

    Attributes
    ----------
    profile
        The settings of every step.
    seed
        The seed that steps are given where they are not given another.
    overrides
        Settings of the profile that were changed. Results then are labelled "custom", not with the profile.
    """

    def __init__(
        self, name: str, profile: Profile, seed: int, force: bool, overrides: Mapping[str, Any]
    ) -> None:
        self.name, self.profile, self.seed = name, profile, seed
        self.overrides = dict(overrides)
        self._start = time.perf_counter()
        # With `force` a step is computed again if its result is older than this: once per kernel, and once
        # per `python -m reclib run`, whose notebooks share steps.
        self._fresh_since = float(os.environ.get(paths.RUN_STARTED) or time.time()) if force else 0.0
        self._steps: list[dict[str, Any]] = []
        self._figures: list[str] = []
        self._tables: list[str] = []

    def __repr__(self) -> str:
        return f"Run({self.name}, profile {self.profile.name}, seed {self.seed}, {len(self._steps)} steps)"

    def artifact(
        self,
        step: str,
        function: Callable[..., Mapping[str, Any]],
        config: Any,
        *,
        upstream: Sequence[Artifact | str] = (),
        seed: int | None = None,
        **kwargs: Any,
    ) -> Artifact:
        """Result of a step, from the cache or computed now; says which, and the seconds it took.

        The arguments are those of `artifacts.get_or_compute`; `seed` is the notebook's unless given.
        """
        seed = self.seed if seed is None else seed
        is_computed = False

        @functools.wraps(function)
        def announced(*args: Any, **kwargs: Any) -> Mapping[str, Any]:
            nonlocal is_computed
            is_computed = True
            print(f"{step}: computing (seed {seed})", flush=True)
            return function(*args, **kwargs)

        start = time.perf_counter()
        artifact = artifacts.get_or_compute(
            step,
            announced,
            config,
            upstream=upstream,
            seed=seed,
            fresh_since=self._fresh_since,
            **kwargs,
        )
        seconds = time.perf_counter() - start
        verb = "computed" if is_computed else "from cache"
        print(f"{step}: {verb} in {seconds:.1f} s ({artifact.key})", flush=True)
        self._steps.append(
            {"step": step, "key": artifact.key, "seconds": round(seconds, 3), "cached": not is_computed}
        )
        return artifact

    def save_figure(self, fig: Figure, name: str, table: pd.DataFrame, caption: str) -> None:
        """Write a figure and the numbers it shows (pdf, png, csv, json) where the profile's figures go."""
        from reclib.plotting import export

        saved = export.save_figure(
            fig, name, table, caption, folder=self.folder, provenance=self.provenance()
        )
        self._note(saved, self._figures, name)

    def save_table(self, table: pd.DataFrame, name: str, caption: str) -> None:
        """Write a table (csv, Markdown, LaTeX, json) where the profile's tables go."""
        from reclib.plotting import export

        folder = self.folder / "tables"
        saved = export.save_table(table, name, caption, folder=folder, provenance=self.provenance())
        self._note(saved, self._tables, name)

    def record(
        self, rows: pd.DataFrame | Sequence[Mapping[str, Any]], *, seeds: Sequence[int] | None = None
    ) -> None:
        """Keep results for values that a paper prints: the rows of `registry.record`.

        All of a notebook in one call: what an earlier call kept is replaced.
        Columns ``seeds``, ``config``, ``commit`` and ``device`` are filled in where the rows leave them out.
        seeds: of the runs that the rows are means of, the notebook's own by default
        """
        import pandas as pd

        from reclib import registry

        origin = self.provenance()
        seeds = (self.seed,) if seeds is None else seeds
        filled = {key: origin[key] for key in ("config", "commit", "device")}
        filled |= {"seeds": ", ".join(map(str, seeds))}
        table = pd.DataFrame(rows)
        table = table.assign(**{key: value for key, value in filled.items() if key not in table.columns})
        folder = notebook_files.results_dir(self.label)
        registry.record(table, self.name, profile=self.label, folder=folder, place=self.place)

    def record_statements(self, rows: pd.DataFrame | Sequence[Mapping[str, Any]]) -> None:
        """Keep what was found about checkable statements: the rows of `registry.record_statements`.

        All of a notebook in one call: what an earlier call kept is replaced.
        """
        from reclib import registry

        folder = notebook_files.results_dir(self.label)
        registry.record_statements(rows, self.name, profile=self.label, folder=folder, place=self.place)

    def registry(self) -> dict[str, pd.DataFrame]:
        """The papers' values and statements against what the notebooks recorded, written as tables."""
        from reclib import registry

        results = notebook_files.results_dir(self.label)
        return registry.generate(results=results, folder=results.parent)

    @property
    def folder(self) -> Path:
        """Where this profile's figures go, and its tables below it."""
        return notebook_files.figures_dir(self.place)

    @property
    def label(self) -> str:
        """What results are called, see `notebook_files.label`."""
        return notebook_files.label(self.profile.name, self.overrides)

    @property
    def place(self) -> str:
        """Where results lie below the folders of runs, figures and results, see `notebook_files.place`."""
        return notebook_files.place(self.profile.name, self.overrides)

    def provenance(self) -> dict[str, Any]:
        """Where the numbers come from: this notebook, its settings, the steps used, and this machine."""
        return {
            "notebook": self.name,
            "profile": self.label,
            "changed": {"profile": self.profile.name, **self.overrides} if self.overrides else {},
            "seed": self.seed,
            "config": config.config_hash(self.profile),
            "artifacts": [f"{row['step']}-{row['key']}" for row in self._steps],
        } | artifacts.provenance()

    def finish(self) -> None:
        """Write the record that `python -m reclib status` shows, and say what the notebook did."""
        seconds = time.perf_counter() - self._start
        record = {
            "notebook": self.name,
            "profile": self.place,
            "seed": self.seed,
            "finished": time.strftime("%Y-%m-%d %H:%M:%S"),
            "seconds": round(seconds, 1),
            "steps": self._steps,
            "figures": self._figures,
            "tables": self._tables,
        }
        path = notebook_files.runs_dir(self.place) / f"{self.name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(record, indent=1)
        files.atomic_write(path, lambda partial: partial.write_text(text, "utf-8"))
        n_cached = sum(row["cached"] for row in self._steps)
        print(
            f"{self.name}: finished in {seconds:.0f} s; steps: {len(self._steps)} ({n_cached} from cache), "
            f"figures: {len(self._figures)}, tables: {len(self._tables)}"
        )

    @staticmethod
    def _note(saved: Saved, names: list[str], name: str) -> None:
        print(saved.message)
        if saved.files:
            names.append(name)


def start(
    name: str,
    *,
    profile: str,
    seed: int = 0,
    force: bool = False,
    overrides: Mapping[str, Any] | None = None,
) -> Run:
    """Begin a notebook: choose the settings, set the threads, and print one line that says so.

    `overrides` changes single settings by their dotted names: ``{"tune.learning_rate": 1e-3}``; those of
    `run --set` are taken from the environment.

    Raises
    ------
    InputError
        There is no such profile, or no such setting.
    """
    import torch

    if not gc.get_freeze_count():  # once: what a notebook drops before it starts again is to be collected
        gc.freeze()  # imported modules stay: the collection before each training skips them
    overrides = {**json.loads(os.environ.get(notebook_files.OVERRIDES) or "{}"), **(overrides or {})}
    settings = config.override(config.profile(profile), **overrides)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or n_cores()))
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    versions = ", ".join(f"{package} {metadata.version(package)}" for package in SHOWN_VERSIONS)
    changed = "".join(f", {key}={value}" for key, value in overrides.items())
    print(
        f"{name} · profile {profile}{changed} · seed {seed} · {device}, "
        f"{torch.get_num_threads()} threads · Python {platform.python_version()}, {versions}"
    )
    return Run(name, settings, seed, force, overrides)
