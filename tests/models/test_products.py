from __future__ import annotations

import pytest
import torch

from reclib.models import products
from reclib.models.products import float32_products

SETTING = torch.backends.mkldnn.matmul


def test_products_stay_float32() -> None:
    generator = torch.Generator().manual_seed(3)
    left, right = (torch.randn(300, 200, generator=generator) for _ in range(2))
    exact = left.double() @ right.double().T
    with float32_products():
        product = left @ right.T
    assert (product - exact).abs().max() < 1e-4, "bfloat16 would be off by 1e-1"


def test_the_setting_is_put_back_even_after_an_error() -> None:
    before = SETTING.fp32_precision
    with pytest.raises(RuntimeError, match="stop"), float32_products():
        raise RuntimeError("stop")
    assert SETTING.fp32_precision == before


def test_nothing_changes_where_products_would_be_rounded(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = iter([1e-5, 1e-1])
    monkeypatch.setattr(products, "_error", lambda: next(errors))
    products._is_as_accurate.cache_clear()
    try:
        before = SETTING.fp32_precision
        with float32_products():
            assert SETTING.fp32_precision == before
    finally:
        products._is_as_accurate.cache_clear()
