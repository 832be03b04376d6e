"""Time and memory of a side of a benchmark, on a CPU and on a GPU."""

from __future__ import annotations

import ctypes
import gc
import re
import time
from pathlib import Path

import torch


def clock(device: torch.device) -> float:
    """CPU seconds of this process; on a GPU seconds on the wall, its queue being empty."""
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def unit(device: torch.device) -> str:
    """Of `clock`."""
    return "CPU-s" if device.type == "cpu" else "s"


def reset_high_water(device: torch.device) -> int:
    """Hand free memory back, set the high-water mark to what is held in bytes, and return that."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return _resident("VmRSS")


def high_water(device: torch.device) -> int:
    """Most bytes held since `reset_high_water`."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _resident("VmHWM")


def _resident(field: str) -> int:
    """VmRSS or VmHWM of this process in bytes."""
    kilobytes = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if kilobytes is None:
        raise RuntimeError(f"no {field} in /proc/self/status: this benchmark measures memory on Linux")
    return int(kilobytes[1]) * 1024
