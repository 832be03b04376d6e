from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from reclib.kernels import masked_softmax
from reclib.kernels.masked_softmax import (
    ValidTokens,
    full_logits,
    language_modelling_loss,
    masked_softmax_loss,
    segment_logsumexp,
    target_weight,
    valid_logits,
)
from tests.reference import language_modelling_losses, masked_softmax_losses, ragged
from tests.sizes import Sizes

EXACT = {"rtol": 1e-10, "atol": 1e-10}  # float64, sums of at most a few dozen terms


def tensors(
    seed: int, n_rows: int, vocabulary: int, width: int, *, scale: float = 1.0
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    hidden = scale * torch.randn(n_rows, width, generator=generator, dtype=torch.float64)
    embedding = torch.randn(vocabulary, width, generator=generator, dtype=torch.float64)
    return hidden.requires_grad_(), embedding.requires_grad_()


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[list[int]], list[int], int, int]:
    """Rows of valid tokens (unsorted, overlapping, of one token or of all), targets, Z and a seed."""
    vocabulary = draw(st.integers(1, 12))
    row = st.lists(st.integers(0, vocabulary - 1), min_size=1, max_size=vocabulary, unique=True)
    rows = draw(st.lists(row, min_size=1, max_size=6))
    targets = [draw(st.sampled_from(row)) for row in rows]
    return rows, targets, vocabulary, draw(st.integers(0, 2**16))


def msl(
    hidden: Tensor,
    embedding: Tensor,
    valid: ValidTokens,
    temperature: float = 1.0,
    alpha: Tensor | None = None,
) -> Tensor:
    return masked_softmax_loss(
        valid_logits(hidden, embedding, valid), valid, temperature=temperature, alpha=alpha
    )


def assert_same_with_gradients(ours: Tensor, theirs: Tensor, inputs: tuple[Tensor, ...]) -> None:
    torch.testing.assert_close(ours, theirs, **EXACT)
    above = torch.linspace(-1.0, 2.0, len(ours), dtype=ours.dtype)  # a different factor for each position
    for mine, reference in zip(
        torch.autograd.grad(ours @ above, inputs), torch.autograd.grad(theirs @ above, inputs), strict=True
    ):
        torch.testing.assert_close(mine, reference, **EXACT)


@given(problems(), st.floats(0.3, 5.0), st.booleans())
@settings(max_examples=150)
def test_masked_softmax_equals_the_dense_mask(problem, temperature: float, with_alpha: bool) -> None:
    rows, targets, vocabulary, seed = problem
    hidden, embedding = tensors(seed, len(rows), vocabulary, 3)
    alpha = [vocabulary / len(row) for row in rows] if with_alpha else None
    ours = msl(
        hidden,
        embedding,
        ragged(rows, targets),
        temperature,
        None if alpha is None else torch.tensor(alpha, dtype=torch.float64),
    )
    theirs = masked_softmax_losses(hidden, embedding, rows, targets, temperature=temperature, alpha=alpha)
    assert_same_with_gradients(ours, theirs, (hidden, embedding))


@given(problems(), st.floats(0.3, 5.0), st.integers(1, 400))
@settings(max_examples=150)
def test_language_modelling_loss_equals_log_softmax_whatever_the_block(
    problem, temperature: float, block_bytes: int
) -> None:
    rows, targets, vocabulary, seed = problem
    hidden, embedding = tensors(seed, len(rows), vocabulary, 3)
    target = torch.tensor(targets)
    ours = language_modelling_loss(
        hidden, embedding, target, temperature=temperature, block_bytes=block_bytes
    )
    theirs = language_modelling_losses(hidden, embedding, target, temperature=temperature)
    assert_same_with_gradients(ours, theirs, (hidden, embedding))


@given(problems(), st.floats(0.5, 3.0))
@settings(max_examples=30)
def test_with_all_tokens_valid_the_masked_loss_is_the_full_loss(problem, temperature: float) -> None:
    _, targets, vocabulary, seed = problem
    hidden, embedding = tensors(seed, len(targets), vocabulary, 4)
    valid = ragged([list(range(vocabulary))] * len(targets), targets)
    ours = msl(hidden, embedding, valid, temperature)
    full = language_modelling_loss(hidden, embedding, torch.tensor(targets), temperature=temperature)
    assert_same_with_gradients(ours, full, (hidden, embedding))


@given(problems())
@settings(max_examples=30)
def test_the_masked_loss_is_between_zero_and_the_full_loss(problem) -> None:
    rows, targets, vocabulary, seed = problem
    hidden, embedding = tensors(seed, len(rows), vocabulary, 3)
    masked = msl(hidden, embedding, ragged(rows, targets))
    full = language_modelling_loss(hidden, embedding, torch.tensor(targets))
    assert (masked >= -1e-12).all()
    assert (masked <= full + 1e-12).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("alpha", [None, 7.0])
def test_one_valid_token_gives_exactly_no_loss_and_no_gradient(
    dtype: torch.dtype, alpha: float | None
) -> None:
    hidden, embedding = tensors(0, 3, 5, 4, scale=100.0)
    hidden, embedding = hidden.detach().to(dtype).requires_grad_(), embedding.detach().to(dtype)
    loss = msl(
        hidden,
        embedding,
        ragged([[3], [0], [3]], [3, 0, 3]),
        1.7,
        None if alpha is None else torch.full((3,), alpha),
    )
    loss.sum().backward()
    assert loss.tolist() == [0.0, 0.0, 0.0]
    assert not hidden.grad.any()


def test_alpha_of_one_is_the_plain_loss() -> None:
    hidden, embedding = tensors(1, 2, 6, 3)
    valid = ragged([[0, 2, 5], [1, 2]], [2, 1])
    torch.testing.assert_close(
        msl(hidden, embedding, valid, 1.5, torch.ones(2)), msl(hidden, embedding, valid, 1.5), **EXACT
    )


def test_an_empty_batch_gives_an_empty_loss_with_a_gradient() -> None:
    hidden, embedding = tensors(0, 0, 4, 3)
    masked = msl(hidden, embedding, ragged([], []))
    full = language_modelling_loss(hidden, embedding, torch.empty(0, dtype=torch.int64))
    assert masked.shape == full.shape == (0,)
    (masked.sum() + full.sum()).backward()
    assert not embedding.grad.any()


def test_kernels_pass_gradcheck() -> None:
    hidden, embedding = tensors(3, 4, 6, 2)
    valid = ragged([[0, 1, 2, 3, 4, 5], [4, 2], [1], [5, 3, 0]], [3, 4, 1, 0])
    target = torch.tensor([3, 4, 1, 0])
    assert torch.autograd.gradcheck(lambda h, w: msl(h, w, valid, 1.3), (hidden, embedding))
    assert torch.autograd.gradcheck(
        lambda h, w: language_modelling_loss(h, w, target, temperature=1.3, block_bytes=50),
        (hidden, embedding),
    )


def test_segment_logsumexp_survives_large_values_and_empty_rows() -> None:
    values = torch.tensor([1e4, 1e4, -1e4, -torch.inf, -torch.inf, 3.0], requires_grad=True)
    result = segment_logsumexp(values, torch.tensor([0, 2, 3, 5, 5, 6]))
    torch.testing.assert_close(
        result, torch.tensor([1e4 + torch.log(torch.tensor(2.0)), -1e4, -torch.inf, -torch.inf, 3.0])
    )
    result[[0, 1, 4]].sum().backward()
    assert values.grad[[0, 1, 2, 5]].tolist() == [0.5, 0.5, 1.0, 1.0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_inputs_are_summed_in_float32(dtype: torch.dtype) -> None:
    hidden, embedding = tensors(5, 3, 400, 16)
    narrow, table = hidden.detach().to(dtype), embedding.detach().to(dtype)
    rows = [list(range(400)), [7, 9], list(range(0, 400, 3))]
    masked = msl(narrow, table, ragged(rows, [1, 7, 3]))
    full = language_modelling_loss(narrow, table, torch.tensor([1, 7, 3]))
    assert masked.dtype == full.dtype == torch.float32
    exact = masked_softmax_losses(narrow.double(), table.double(), rows, [1, 7, 3])
    torch.testing.assert_close(masked.double(), exact, rtol=1e-5, atol=1e-5)
    exact = language_modelling_losses(narrow.double(), table.double(), torch.tensor([1, 7, 3]))
    torch.testing.assert_close(full.double(), exact, rtol=1e-5, atol=1e-5)
    assert torch.equal(language_modelling_loss(narrow.float(), table, torch.tensor([1, 7, 3])), full)


def test_the_masked_loss_keeps_float32_under_autocast() -> None:
    hidden, embedding = (tensor.detach().float() for tensor in tensors(6, 2, 9, 8))
    valid = ragged([[0, 4, 8], [1, 2]], [4, 1])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = msl(hidden, embedding, valid)
    torch.testing.assert_close(loss, msl(hidden, embedding, valid))


def test_a_narrow_embedding_is_widened_a_block_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, embedding = (tensor.detach().bfloat16() for tensor in tensors(5, 2, 1_000, 16))
    expected = hidden.float() @ embedding.float().T
    monkeypatch.setattr(masked_softmax, "BLOCK_BYTES", 4 * 300 * 16)
    with Sizes() as sizes:
        found = full_logits(hidden, embedding)
    torch.testing.assert_close(found, expected)
    assert sizes.products == 4
    monkeypatch.undo()
    wide = embedding.float()
    with Sizes() as sizes:
        full_logits(hidden, wide)
    assert sizes.products == 1


def test_the_full_loss_and_its_gradient_keep_float32_under_autocast() -> None:
    hidden, embedding = (tensor.detach().float() for tensor in tensors(6, 2, 9, 8))
    target = torch.tensor([4, 1])

    def with_gradient() -> tuple[Tensor, Tensor]:
        own = hidden.clone().requires_grad_()
        loss = language_modelling_loss(own, embedding, target)
        return loss, torch.autograd.grad(loss.sum(), own)[0]

    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = with_gradient()
    torch.testing.assert_close(found, with_gradient())


def test_a_frozen_output_embedding_gets_no_gradient_and_costs_none() -> None:
    hidden, embedding = tensors(7, 4, 8, 3)
    frozen = embedding.detach()
    target = torch.tensor([0, 3, 3, 7])
    language_modelling_loss(hidden, frozen, target).sum().backward()
    expected = torch.autograd.grad(language_modelling_losses(hidden, frozen, target).sum(), hidden)[0]
    torch.testing.assert_close(hidden.grad, expected, **EXACT)
    assert frozen.grad is None


def test_nothing_of_the_size_of_the_vocabulary_is_made_for_the_masked_loss() -> None:
    vocabulary, valid = 10_000, ragged([[5, 6, 7], [9_999, 5]] * 8, [5, 9_999] * 8)
    hidden, frozen = tensors(0, 16, vocabulary, 3)[0], torch.ones(vocabulary, 3, dtype=torch.float64)
    with Sizes() as sizes:
        msl(hidden, frozen, valid).sum().backward()
    assert sizes.largest == 16 * 4  # P times the union of the valid tokens


def test_the_full_loss_holds_one_block_of_logits_at_a_time() -> None:
    hidden, embedding = tensors(0, 16, 1_000, 3)
    with Sizes() as sizes:
        language_modelling_loss(
            hidden, embedding, torch.arange(16), block_bytes=4 * 1_000 * 4
        ).sum().backward()
    assert sizes.largest == 4 * 1_000
    with Sizes() as sizes, torch.no_grad():
        language_modelling_loss(hidden, embedding, torch.arange(16))
    assert sizes.products == 1  # no gradient is made where none is asked for


def test_target_weight_is_one_minus_the_probability() -> None:
    hidden, embedding = tensors(8, 2, 5, 3)
    loss = msl(hidden, embedding, ragged([[0, 1, 4], [2, 3]], [4, 2]), 2.0)
    torch.testing.assert_close(target_weight(loss, temperature=2.0), 1 - torch.exp(-loss / 2.0), **EXACT)
    tiny = torch.tensor([1e-12], dtype=torch.float64)
    torch.testing.assert_close(target_weight(tiny), tiny, rtol=1e-9, atol=0)
