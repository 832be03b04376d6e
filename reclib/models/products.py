"""Which library multiplies float32 matrices on a CPU: the faster one, where it is as accurate."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import cache
from typing import Any, cast

import torch

from reclib.seeding import torch_generator

SHAPES = ((256, 64, 2048), (2560, 64, 256), (64, 2048, 64), (33, 50, 127))
SLACK = 16.0  # times the largest error of the default, which adds up in another order; bfloat16: thousands


@contextlib.contextmanager
def float32_products() -> Iterator[None]:
    """Let oneDNN multiply float32 matrices on a CPU for a while, where that is no less accurate.

    By default torch takes MKL, which uses half of the vector width on processors that are not Intel's.
    torch asks oneDNN only together with the permission to round to bfloat16, which oneDNN uses where the
    processor has bfloat16 matrix units and nowhere else: so the permission is given only after trial
    products were as accurate with it as without. The setting is torch's own, for the whole process, and is
    put back.
    """
    setting = cast(Any, torch.backends.mkldnn).matmul
    before = setting.fp32_precision
    if not _is_as_accurate():
        yield
        return
    setting.fp32_precision = "bf16"
    try:
        yield
    finally:
        setting.fp32_precision = before


@cache
def _is_as_accurate() -> bool:
    if not torch.backends.mkldnn.is_available():
        return False
    setting = cast(Any, torch.backends.mkldnn).matmul
    before = setting.fp32_precision
    try:
        by_default = _error()
        setting.fp32_precision = "bf16"
        return _error() <= SLACK * by_default
    finally:
        setting.fp32_precision = before


def _error() -> float:
    """Largest error of trial products, of all layouts that training and ranking use."""
    generator = torch_generator(0, "trial products")
    errors = []
    for rows, inner, columns in SHAPES:
        left = torch.randn(rows, inner, generator=generator)
        right = torch.randn(columns, inner, generator=generator)
        exact = left.double() @ right.double().T
        for product in (left @ right.T, left @ right.T.contiguous(), left.T.contiguous().T @ right.T):
            errors.append((product - exact).abs().max())
    return float(torch.stack(errors).max())
