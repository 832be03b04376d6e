from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from reclib.config import SHARPNESS_FAMILY, SharpnessConfig
from reclib.data.popularity import is_head
from reclib.schema import InputError
from reclib.training.optim import Sharpness
from reclib.training.perturbing import perturbed
from tests.training.sharp_toy import COUNTS, TARGET, Softmax

RADIUS = 0.3
ONE = torch.ones(len(TARGET), dtype=torch.float64)


def step_of(config: SharpnessConfig, model: Softmax | None = None, **others: object) -> Tensor:
    """The gradient of a step, flat."""
    model = model or Softmax()
    sharpness = Sharpness(replace(config, alignment_every=0), COUNTS)
    outcome = sharpness.outcome(model.examples(), model.parameters, **others)  # type: ignore[arg-type]
    return torch.cat([gradient.flatten() for gradient in outcome.gradients])


def setting(name: str, **fields: object) -> SharpnessConfig:
    return replace(SHARPNESS_FAMILY[name], **({"radius": RADIUS} | fields))  # type: ignore[arg-type]


def weights_of(config: SharpnessConfig) -> Tensor:
    return Sharpness(config, COUNTS).weights[TARGET].double()


def ascended(slope: Tensor, radius: float = RADIUS) -> Tensor:
    return Softmax().flat() + radius * slope / slope.norm()


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-6) -> None:
    assert float((found - expected).norm()) <= tolerance * float(expected.norm())


def test_equal_weights_and_a_whole_penalty_are_sam() -> None:
    model = Softmax()
    plain = model.gradient(ONE)
    sam = model.gradient(ONE, at=ascended(plain))
    close(step_of(setting("sam")), sam)
    close(step_of(setting("eisam", gamma=0.0, penalty=1.0)), sam)
    close(step_of(setting("cc_sam", n_buckets=1)), sam)
    assert float((sam - plain).norm()) > 0.05 * float(plain.norm())


def test_an_indicator_of_the_tail_is_imbsam() -> None:
    model = Softmax()
    tail = torch.from_numpy(~is_head(COUNTS))[TARGET].double()
    slope = model.gradient(tail)
    close(step_of(setting("imbsam")), model.gradient(1 - tail) + model.gradient(tail, at=ascended(slope)))


def test_focal_sam_has_the_weights_of_classes() -> None:
    config = setting("focal_sam")
    expected = torch.tensor([(1 - COUNTS[item] / 100) ** 3 for item in TARGET], dtype=torch.float64)
    torch.testing.assert_close(weights_of(config), expected, rtol=1e-6, atol=0)


def test_equation_three_four_and_the_hinge_as_they_are_written() -> None:
    model, penalty = Softmax(), 0.7
    config = setting("eisam", penalty=penalty)
    f = weights_of(config)
    a = model.gradient(f)
    three = model.gradient(ONE) - penalty * a + penalty * model.gradient(f, at=ascended(a))
    close(step_of(config), three)
    both = model.gradient(ONE + penalty * f, at=ascended(a))
    close(step_of(replace(config, step="eisam2")), both - penalty * a)

    there = ascended(model.gradient(ONE))
    moved = Softmax()
    with perturbed(moved.parameters, [there[:20].view(5, 4) - moved.weight, there[20:] - moved.scale]):
        rising = (moved.losses() > model.losses()).double()
    assert 0 < rising.sum() < len(TARGET), "the case must have both"
    hinge = model.gradient(ONE - penalty * f * rising)
    hinge = hinge + penalty * model.gradient(f * rising, at=there)
    close(step_of(replace(config, step="hinge")), hinge)


def by_hand(config: SharpnessConfig) -> Tensor:
    """Equation (1): an ascent for each item, all written out."""
    model, f, total = Softmax(), weights_of(config), torch.zeros(24, dtype=torch.float64)
    for item in TARGET.unique():
        own = (item == TARGET).double()
        slope = model.gradient(own)
        counted = config.penalty * f * own
        total = total + model.gradient(own - counted) + model.gradient(counted, at=ascended(slope))
    return total


def test_the_exact_step_is_a_loop_over_items() -> None:
    config = setting("exact")
    close(step_of(config), by_hand(config))


def test_a_bucket_of_all_items_is_eisam_and_one_for_each_is_the_exact_step() -> None:
    config = setting("eisam", step="buckets", n_buckets=1)
    close(step_of(config), step_of(setting("eisam")))
    each = replace(config, n_buckets=100)
    close(step_of(each), by_hand(each))
    assert float((step_of(config) - step_of(each)).norm()) > 1e-3


def test_cc_sam_climbs_further_for_rarer_buckets() -> None:
    model, config = Softmax(), setting("cc_sam", n_buckets=2)
    # Items 1 to 3 and 4 to 5, of mean counts 32 and 2; the sample mean of the radii is ρ.
    scale = np.array([32.0, 2.0]) ** -0.25
    radii = RADIUS * scale / ((96 * scale[0] + 4 * scale[1]) / 100)
    expected = torch.zeros(24, dtype=torch.float64)
    for members, radius in zip((TARGET <= 3, TARGET > 3), radii.tolist(), strict=True):
        slope = model.gradient(members.double())
        expected = expected + model.gradient(members.double(), at=ascended(slope, radius))
    close(step_of(config), expected)


@pytest.mark.parametrize("name", list(SHARPNESS_FAMILY))
def test_a_radius_towards_zero_is_erm(name: str) -> None:
    config, plain = SHARPNESS_FAMILY[name], Softmax().gradient(ONE)
    if name == "reweight":
        plain = Softmax().gradient(weights_of(config))
    close(step_of(replace(config, radius=1e-7)), plain)
    model = Softmax()
    close(step_of(replace(config, radius=0.0), model), plain, 1e-12)
    assert model.n_passes == 1, "nothing is perturbed for nothing"


def test_a_penalty_of_zero_is_erm_in_one_pass() -> None:
    model = Softmax()
    close(step_of(setting("eisam", penalty=0.0), model), model.gradient(ONE), 1e-12)
    assert model.n_passes == 1


@pytest.mark.parametrize(
    ("name", "n_passes"), [("erm", 1), ("reweight", 1), ("sam", 2), ("eisam", 2), ("eisam2", 2), ("hinge", 2)]
)
def test_a_step_costs_no_more_passes_than_it_says(name: str, n_passes: int) -> None:
    model = Softmax()
    step_of(setting(name), model)
    assert model.n_passes == n_passes


def test_examples_of_items_without_weight_are_those_of_erm() -> None:
    """A micro-batch of head items only, under the weights of ImbSAM."""
    model, rows = Softmax(), torch.tensor([0, 2, 5])
    sharpness = Sharpness(setting("imbsam"), COUNTS)
    outcome = sharpness.outcome(model.examples(rows), model.parameters)
    expected = torch.autograd.grad(model.losses(rows).sum(), model.parameters)
    torch.testing.assert_close(outcome.gradients, list(expected))
    assert outcome.numbers == {}, "nothing was perturbed"
    assert model.n_passes == 1


def test_the_first_steps_may_be_erm() -> None:
    config = setting("eisam", erm_steps=5)
    close(step_of(config, step=4), Softmax().gradient(ONE))
    close(step_of(config, step=5), step_of(setting("eisam")))


def test_gradients_of_micro_batches_add_up() -> None:
    model, halves = Softmax(), (torch.arange(4), torch.arange(4, 8))
    sharpness = Sharpness(setting("eisam"), COUNTS)
    alone = [sharpness.outcome(model.examples(rows), model.parameters).gradients for rows in halves]
    for rows in halves:
        sharpness.backward(model.examples(rows), model.parameters, step=0, where="here")
    found = [parameter.grad for parameter in model.parameters]
    torch.testing.assert_close(found, [a + b for a, b in zip(*alone, strict=True)])


def test_numbers_for_the_log() -> None:
    model = Softmax()
    config = setting("eisam", alignment_every=2)
    sharpness = Sharpness(replace(config, radius=1e-4), COUNTS)
    numbers = sharpness.outcome(model.examples(), model.parameters, step=4).numbers
    assert 0.999 < float(numbers["sharpness_ratio"]) < 1.001, "the loss is straight so near"
    f = weights_of(config)
    slopes = torch.stack([model.gradient(own) for own in torch.eye(len(TARGET), dtype=torch.float64)])
    expected = (f @ slopes).norm() / (f * slopes.norm(dim=1)).sum()
    assert float(numbers["alignment"]) == pytest.approx(float(expected), rel=1e-6)
    assert "alignment" not in sharpness.outcome(model.examples(), model.parameters, step=3).numbers


def test_the_perturbed_pass_sees_the_dropout_of_the_first() -> None:
    torch.manual_seed(3)
    model = Softmax(p_dropout=0.5)
    before = torch.get_rng_state()
    numbers = Sharpness(setting("eisam", radius=1e-5), COUNTS).outcome(model.examples(), model.parameters)
    assert 0.99 < float(numbers.numbers["sharpness_ratio"]) < 1.01
    after = torch.get_rng_state()
    torch.set_rng_state(before)
    model.losses()
    assert torch.equal(torch.get_rng_state(), after), "a step draws what one pass draws"


STEPS = [name for name in SHARPNESS_FAMILY if name not in ("erm", "reweight")]


@pytest.mark.parametrize("name", STEPS)
def test_weights_are_left_as_they_were(name: str) -> None:
    model = Softmax()
    step_of(setting(name), model)
    assert torch.equal(model.flat(), Softmax().flat())


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("name", STEPS)
def test_weights_come_back_when_the_perturbed_pass_breaks_off(name: str, error: type[BaseException]) -> None:
    seen: list[Tensor] = []

    def breaks(number: int) -> None:
        if number == 2:
            seen.append(model.flat())
            raise error("broken off")

    model = Softmax(after_pass=breaks)
    sharpness = Sharpness(setting(name), COUNTS)
    with pytest.raises(error, match="broken off"):
        sharpness.backward(model.examples(), model.parameters, step=0, where="here")
    assert not torch.equal(seen[0], Softmax().flat()), "they were perturbed"
    assert torch.equal(model.flat(), Softmax().flat())
    assert model.weight.grad is None


@pytest.mark.parametrize("name", STEPS)
def test_a_perturbed_loss_that_is_not_finite_is_refused(name: str) -> None:
    def spoils(number: int) -> None:
        if number == 1:
            model.inputs[:] = torch.nan  # from the second pass on

    model = Softmax(after_pass=spoils)
    sharpness = Sharpness(setting(name), COUNTS)
    with pytest.raises(InputError, match="epoch 2, step 31: the loss at the perturbed weights is nan: lower"):
        sharpness.backward(model.examples(), model.parameters, step=31, where="epoch 2, step 31")
    assert torch.equal(model.flat(), Softmax().flat())
    assert model.weight.grad is None


@pytest.mark.parametrize("name", list(SHARPNESS_FAMILY))
def test_a_loss_that_is_not_finite_is_refused(name: str) -> None:
    model = Softmax()
    model.inputs[3] = torch.nan
    with pytest.raises(InputError, match="here: the loss is nan"):
        step_of(setting(name), model, where="here")


def test_a_gradient_that_is_not_finite_is_refused() -> None:
    model = Softmax()
    with torch.no_grad():
        model.scale[0] = 0.0
    model.inputs[:, 0] = 0.0
    losses = model.losses

    def steep(rows: Tensor | None = None) -> Tensor:
        return losses(rows) + model.scale[0].abs().sqrt()  # its slope at 0 is infinite

    model.losses = steep  # type: ignore[method-assign]
    with pytest.raises(InputError, match="here: the norm of the gradient is nan"):
        step_of(setting("eisam"), model, where="here")


def test_weights_in_half_precision_are_refused() -> None:
    weight = torch.zeros(3, dtype=torch.bfloat16, requires_grad=True)
    with pytest.raises(InputError, match="torch.bfloat16, in which a perturbation is lost"):
        Sharpness(setting("eisam"), COUNTS).outcome(Softmax().examples(), [weight])


def test_a_loss_without_slope_is_not_perturbed() -> None:
    model = Softmax()
    with torch.no_grad():
        model.weight.zero_()
        model.scale.zero_()
    model.inputs.zero_()
    outcome = Sharpness(setting("eisam"), COUNTS).outcome(model.examples(), model.parameters)
    assert all(bool(gradient.isfinite().all()) for gradient in outcome.gradients)
