"""What a piece of work takes of the machine, time and memory, and what the machine could give."""

from __future__ import annotations

import ctypes
import gc
import os
import re
import time
from pathlib import Path

import torch


def clock(device: torch.device) -> float:
    """CPU seconds of this process, so that other work does not count; on a GPU seconds on the wall."""
    if device.type != "cuda":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def clock_unit(device: torch.device) -> str:
    """Unit of `clock`."""
    return "s" if device.type == "cuda" else "CPU-s"


def reset_high_water(device: torch.device) -> float:
    """Hand free memory back, let the high-water mark start from what is held, and return that, in bytes.

    Of the memory that a GPU has given, or resident of this process; NaN where the system does not tell.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return float(torch.cuda.memory_allocated(device))
    marks = Path("/proc/self/clear_refs")
    if marks.exists() and os.access(marks, os.W_OK):
        ctypes.CDLL(None).malloc_trim(0)
        marks.write_text("5", encoding="ascii")
    return _resident("VmRSS")


def high_water(device: torch.device) -> float:
    """Most bytes held since `reset_high_water`; NaN where the system does not tell."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    return _resident("VmHWM")


def peak_flops(device: torch.device, dtype: torch.dtype, *, width: int, repeats: int = 5) -> float:
    """Floating-point operations a second (see `clock`) of the product of matrices (width, width).

    The best of `repeats`: what of the machine's peak a program can reach, with the threads it has.
    """
    a = torch.linspace(-1, 1, width**2, device=device).view(width, width).to(dtype)
    a @ a  # warms up
    seconds = []
    for _ in range(repeats):
        started = clock(device)
        a @ a
        seconds.append(clock(device) - started)
    return 2 * width**3 / min(seconds)


def _resident(field: str) -> float:
    """VmRSS (resident now) or VmHWM (its peak) of this process in bytes; NaN where it is not told."""
    path = Path("/proc/self/status")
    found = re.search(rf"{field}:\s+(\d+) kB", path.read_text("utf-8")) if path.exists() else None
    return 1024.0 * int(found[1]) if found else float("nan")
