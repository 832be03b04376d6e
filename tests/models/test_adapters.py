from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from reclib.models.adapters import adapter_copies, wide_adapters
from reclib.models.packing import pack
from reclib.schema import InputError
from tests.training.toy import make_toy

TOKENS = np.arange(12) % 7
START = np.array([0, 3, 8, 12])


def trained(lm: nn.Module) -> list[nn.Parameter]:
    return [weight for weight in lm.parameters() if weight.requires_grad]


def test_copies_that_are_equal_change_nothing() -> None:
    lm = make_toy().lm
    inputs, _ = pack(np.empty(0, np.int64), TOKENS, START)
    asked = torch.arange(12)
    plain = lm(**inputs, asked=asked)
    with adapter_copies(lm.network, torch.tensor([0, 1, 0]), inputs["packing"]) as copies:
        found = lm(**inputs, asked=asked)
    assert [copy.shape for copy in copies] == [(2, *weight.shape) for weight in trained(lm)]
    torch.testing.assert_close(found, plain, rtol=1e-5, atol=1e-5)
    assert torch.equal(lm(**inputs, asked=asked), plain), "the layers are back"


def test_a_sample_sees_its_own_copy_only() -> None:
    lm = make_toy().lm
    inputs, _ = pack(np.empty(0, np.int64), TOKENS, START)
    with adapter_copies(lm.network, torch.tensor([0, 1, 0]), inputs["packing"]) as copies:
        hidden = lm(**inputs, asked=torch.tensor([2, 7, 11]))
        for copy, rows in ((0, [0, 2]), (1, [1])):
            for sample in range(3):
                slope = torch.autograd.grad(hidden[sample].sum(), copies, retain_graph=True)
                touched = any(bool(part[copy].any()) for part in slope)
                assert touched == (sample in rows)


def test_copies_need_sequences_without_a_shared_head_and_lora_alone() -> None:
    lm = make_toy().lm
    inputs, _ = pack(TOKENS[:2], TOKENS, START)
    with (
        pytest.raises(InputError, match="share 2 tokens"),
        adapter_copies(lm.network, torch.zeros(3, dtype=torch.int64), inputs["packing"]),
    ):
        raise AssertionError("never entered")
    inputs, _ = pack(np.empty(0, np.int64), TOKENS, START)
    lm.output_embedding.requires_grad_(True)
    with (
        pytest.raises(InputError, match="LoRA matrices only"),
        adapter_copies(lm.network, torch.zeros(3, dtype=torch.int64), inputs["packing"]),
    ):
        raise AssertionError("never entered")


def test_wide_adapters_compute_in_float32_under_autocast() -> None:
    lm = make_toy(dtype="float32").lm
    inputs, _ = pack(np.empty(0, np.int64), TOKENS, START)
    seen: list[torch.dtype] = []

    def look(layer: nn.Module, values: tuple[Tensor], out: Tensor) -> None:
        seen.append(out.dtype)

    def dtypes() -> set[torch.dtype]:
        seen.clear()
        hooks = [
            table["default"].register_forward_hook(look)
            for layer in lm.modules()
            if hasattr(layer, "lora_A")
            for table in (layer.lora_A, layer.lora_B)
        ]
        lm(**inputs, asked=torch.arange(3))
        for hook in hooks:
            hook.remove()
        return set(seen)

    plain = lm(**inputs, asked=torch.arange(3))
    with wide_adapters(lm.network):
        assert torch.equal(lm(**inputs, asked=torch.arange(3)), plain), "without autocast nothing changes"
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert dtypes() == {torch.bfloat16}
        with wide_adapters(lm.network):
            assert dtypes() == {torch.float32}
        assert dtypes() == {torch.bfloat16}


def test_layers_come_back_after_an_error() -> None:
    lm = make_toy().lm
    before = [id(module) for module in lm.modules()]
    with pytest.raises(RuntimeError, match="on the way"), wide_adapters(lm.network):
        raise RuntimeError("on the way")
    assert [id(module) for module in lm.modules()] == before
