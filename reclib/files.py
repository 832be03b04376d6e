"""Files and folders that are whole or not there, whatever is killed in between."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from reclib.schema import InputError

PARTIAL = ".partial"  # what is being written, or what a kill left


def atomic_write(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write` with a path beside `path`, flush what it wrote to the disk and rename it.

    Nothing half-written stays, and an earlier file stays as it was when this fails. Raises InputError for a
    full disk.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}{path.suffix}")
    try:
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            write(partial)
            flush(partial)
            partial.replace(path)
            flush(path.parent)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def kept(path: Path, compute: Callable[[], Any]) -> Any:
    """The JSON value of a part of a step at `path`: what a killed process left there, else computed now."""
    if not path.is_file():
        value = json.dumps(compute())
        atomic_write(path, lambda partial: partial.write_text(value, "utf-8"))
    return json.loads(path.read_text("utf-8"))


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn the error of a full disk, whichever library meets it, into an InputError with the remedy."""
    try:
        yield
    except Exception as error:
        is_full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        if not is_full and os.strerror(errno.ENOSPC) not in str(error):
            raise
        raise InputError(
            f"the disk is full: {path} was not written, and nothing half-written is used; free some space "
            f"there or set RECLIB_CACHE to another disk, then run again: finished steps are kept"
        ) from error


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from making the same folder; says so where one is already at it."""
    with explained(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.with_name(f"{folder.name}.lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            print(f"{folder.name}: another process is making it; waiting", file=sys.stderr, flush=True)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def publish(partial: Path, folder: Path) -> None:
    """Give a complete folder its name, once every file of it is on the disk."""
    for path in (*partial.rglob("*"), partial):
        flush(path)
    partial.rename(folder)
    flush(folder.parent)


def flush(path: Path) -> None:
    """Wait until a file or folder is on the disk, so that a rename never reveals less than the whole."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
