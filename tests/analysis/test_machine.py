from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from reclib.analysis.machine import clock, high_water, peak_flops, reset_high_water
from reclib.analysis.msl.work import StepWork


def test_the_first_step_is_counted_forward_and_backward_and_no_other() -> None:
    work = StepWork()
    a, b = torch.randn(3, 5, requires_grad=True), torch.randn(5, 7, requires_grad=True)
    for _ in range(2):
        work.on_step_begin(None, None, None)
        (a @ b).sum().backward()
        work.on_step_end(None, None, None)
    assert work.flops == 3 * 2 * 3 * 5 * 7


@pytest.mark.parametrize("masked", [False, True])
def test_attention_is_counted_on_a_cpu_too(masked: bool) -> None:
    query, key = torch.randn(2, 4, 6, 8), torch.randn(2, 4, 10, 8)
    mask = torch.ones(6, 10, dtype=torch.bool) if masked else None
    work = StepWork()
    work.on_step_begin(None, None, None)
    scaled_dot_product_attention(query, key, key, mask)
    work.on_step_end(None, None, None)
    assert work.flops == 2 * (2 * 2 * 4 * 6 * 10 * 8), "scores, and the mean of the values"


def test_the_peak_is_of_the_best_product() -> None:
    assert 1e6 < peak_flops(torch.device("cpu"), torch.float32, width=64) < 1e14


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is measured on Linux")
def test_memory_is_that_of_the_work_alone() -> None:
    device = torch.device("cpu")
    held = reset_high_water(device)
    large = torch.ones(10_000_000)
    assert 35e6 < high_water(device) - held < 200e6
    del large
    assert high_water(device) >= held + 35e6, "the mark stays"
    assert reset_high_water(device) < held + 35e6


def test_other_work_does_not_count_on_a_cpu() -> None:
    device, started = torch.device("cpu"), time.perf_counter()
    before = clock(device)
    time.sleep(0.2)
    assert clock(device) - before < 0.1 < time.perf_counter() - started
