"""What a person sees while notebooks run: which, since when, how long it should take, what it is doing."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from reclib.notebook_files import NotebookFile, figures_dir, runs_dir


@dataclass(frozen=True)
class Outcome:
    """How one notebook ended: the seconds it took, its executed copy, its last error (None: it passed)."""

    name: str
    seconds: float
    copy: Path
    error: str | None = None


class LastLine:
    """A text stream that keeps only the last line written: what a notebook is doing right now."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        """Take in what a cell printed; a carriage return starts the line anew, as progress bars do."""
        lines = [line.strip() for line in text.replace("\r", "\n").split("\n")]
        self.text = next((line for line in reversed(lines) if line), self.text)

    def flush(self) -> None:
        """Nothing is held back."""


class Board:
    """The lines a person sees: redrawn every second in a terminal, one every 15 seconds in a log."""

    def __init__(
        self, notebooks: Sequence[NotebookFile], profile: str, stream: TextIO, *, place: str
    ) -> None:
        self.notebooks, self.profile, self.stream, self.place = list(notebooks), profile, stream, place
        self.is_terminal = stream.isatty()
        self.interval = 1.0 if self.is_terminal else 15.0
        self.running: dict[str, tuple[float, LastLine]] = {}
        self.width = max(len(notebook.name) for notebook in notebooks)
        self.expected = {n.name: n.minutes.get(profile) for n in notebooks}
        self.n_done = 0

    def opening(self, jobs: int) -> None:
        """Say what is to be run, where it goes and how long it should take."""
        known = [minutes for minutes in self.expected.values() if minutes is not None]
        at_once = f", {jobs} at once" if jobs > 1 else ""
        changed = f", changed: {self.place}" if self.place != self.profile else ""
        plural = "s" if len(self.notebooks) > 1 else ""
        self._line(
            f"{len(self.notebooks)} notebook{plural}, profile {self.profile}{changed}{at_once}: "
            f"{round(sum(known), 1):g} minutes on two cores where nothing is cached yet; "
            f"executed copies in {runs_dir(self.place)}"
        )

    def started(self, notebook: NotebookFile) -> LastLine:
        """Note the start of a notebook; what it prints goes to the stream returned."""
        status = LastLine()
        self.running[notebook.name] = (time.perf_counter(), status)
        if not self.is_terminal:
            expected = _clock_minutes(self.expected[notebook.name])
            self._line(f"{notebook.name:<{self.width}}  started, expected {expected}")
        return status

    def tick(self) -> None:
        """Show how far the running notebooks are."""
        now = time.perf_counter()
        states = [
            f"{name}  {_clock(now - start)} of {_clock_minutes(self.expected[name])}  {status.text}".rstrip()
            for name, (start, status) in self.running.items()
        ]
        if self.is_terminal:
            columns = shutil.get_terminal_size().columns
            self.stream.write("\r\x1b[2K" + " | ".join(states)[: columns - 1])
            self.stream.flush()
        else:
            for state in states:
                self._line(state)

    def finished(self, outcome: Outcome) -> None:
        """Say how a notebook ended."""
        del self.running[outcome.name]
        self.n_done += 1
        verdict = "FAILED" if outcome.error else "passed"
        self._line(
            f"[{self.n_done}/{len(self.notebooks)}] {outcome.name:<{self.width}}  {verdict}  "
            f"{_clock(outcome.seconds)}  (expected {_clock_minutes(self.expected[outcome.name])})"
        )
        if outcome.error:
            self._line(f"  {outcome.error}\n  executed as far as it went: {outcome.copy}")

    def closing(self, outcomes: Sequence[Outcome]) -> None:
        """Say what was left out, where the results are, and the line "N passed, N failed"."""
        n_failed = sum(outcome.error is not None for outcome in outcomes)
        n_left = len(self.notebooks) - len(outcomes)
        if n_left:
            self._line(f"{n_left} not run after the failure (--keep-going runs them all the same)")
        self._line(f"figures and tables in {figures_dir(self.place)}")
        self._line(f"{len(outcomes) - n_failed} passed, {n_failed} failed")

    def _line(self, text: str) -> None:
        self.stream.write(("\r\x1b[2K" if self.is_terminal else "") + text + "\n")
        self.stream.flush()


def _clock(seconds: float) -> str:
    """Minutes and seconds, "01:05"; hours in front where there are any."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes:02d}:{seconds:02d}"


def _clock_minutes(minutes: float | None) -> str:
    return "?" if minutes is None else _clock(60 * minutes)
