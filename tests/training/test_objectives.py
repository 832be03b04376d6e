from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor

from reclib.config import ObjectiveConfig
from reclib.kernels.temperature import adaptive_temperature
from reclib.schema import InputError
from reclib.training.objectives import Objective, make_objective
from reclib.training.targets import TargetBatch, loss_parts
from tests.reference import language_modelling_losses, masked_softmax_losses, target_batch

Z, D = 20, 6
# Four titles; a position is (target token, valid tokens). Token 1 is the opening quote, 2 the end.
WIDE = [3, 4, 5, 6, 7, 8, 9]
TITLES = [
    [(1, [1]), (3, WIDE), (10, [10, 11]), (2, [2])],
    [(1, [1]), (8, WIDE), (2, [2])],
    [(1, [1]), (5, WIDE), (12, [12, 13, 14, 15, 16, 17]), (18, [18, 19]), (2, [2])],
    [(1, [1]), (9, WIDE), (2, [2, 10])],
]


def config(**fields: Any) -> ObjectiveConfig:
    return ObjectiveConfig(**{"name": "msl", **fields})


def adaptive(**fields: Any) -> Objective:
    return make_objective(config(adaptive=True, **fields), Z)


def inputs(batch: TargetBatch, *, seed: int = 0, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    embedding = torch.randn(Z, D, generator=generator, dtype=torch.float64)
    hidden = scale * torch.randn(len(batch.target), D, generator=generator, dtype=torch.float64)
    return hidden.requires_grad_(), embedding


def without_forced(batch: TargetBatch) -> TargetBatch:
    """The batch as a collator cuts it for an objective that needs no forced position."""
    return batch._replace(
        target=batch.target[batch.counted],
        sample=batch.sample[batch.counted],
        position=batch.position[batch.counted],
        counted=torch.arange(len(batch.counted)),
    )


def reference_losses(hidden: Tensor, embedding: Tensor, **options: Any) -> Tensor:
    steps = [step for title in TITLES for step in title]
    return masked_softmax_losses(
        hidden, embedding, [row for _, row in steps], [target for target, _ in steps], **options
    )


@pytest.mark.parametrize(("reduction", "divisor"), [("unforced", 8), ("tokens", 15), ("samples", 4)])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_msl_is_the_reduced_reference(reduction: str, divisor: int, temperature: float) -> None:
    batch = target_batch(TITLES)
    hidden, embedding = inputs(batch)
    objective = make_objective(config(reduction=reduction, temperature=temperature), Z)
    total = objective(hidden, embedding, batch).total
    expected = reference_losses(hidden, embedding, temperature=temperature).sum() / divisor
    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(
        *(torch.autograd.grad(value, hidden)[0] for value in (total, expected)), rtol=1e-10, atol=1e-12
    )
    assert objective.count(batch) == divisor


@pytest.mark.parametrize(("reduction", "divisor"), [("unforced", 15), ("tokens", 15), ("samples", 4)])
def test_lml_counts_every_position(reduction: str, divisor: int) -> None:
    batch = target_batch(TITLES)
    hidden, embedding = inputs(batch)
    total = make_objective(ObjectiveConfig(name="lml", reduction=reduction), Z)(
        hidden, embedding, batch
    ).total
    torch.testing.assert_close(
        total, language_modelling_losses(hidden, embedding, batch.target).sum() / divisor
    )


def test_alpha_weighs_negatives_by_vocabulary_over_valid_tokens() -> None:
    batch = target_batch(TITLES)
    hidden, embedding = inputs(batch)
    total = make_objective(config(alpha=True, reduction="tokens"), Z)(hidden, embedding, batch).total
    alpha = [Z / len(row) for title in TITLES for _, row in title]
    torch.testing.assert_close(total, reference_losses(hidden, embedding, alpha=alpha).mean())


@pytest.mark.parametrize("fields", [{}, {"temperature": 2.0}, {"alpha": True}, {"adaptive": True}])
@pytest.mark.parametrize("reduction", ["unforced", "tokens", "samples"])
def test_msl_needs_no_forced_position(fields: dict[str, Any], reduction: str) -> None:
    batch = target_batch(TITLES)
    hidden, embedding = inputs(batch)
    objective = make_objective(config(reduction=reduction, **fields), Z)
    assert not objective.needs_forced
    whole = objective(hidden, embedding, batch).total
    cut = objective(hidden[batch.counted], embedding, without_forced(batch)).total
    assert cut.item() == whole.item()


@pytest.mark.parametrize("fields", [{"name": "lml"}, {}, {"temperature": 3.0}, {"adaptive": True}])
@pytest.mark.parametrize("reduction", ["unforced", "tokens", "samples"])
def test_two_micro_batches_are_one_batch(fields: dict[str, Any], reduction: str) -> None:
    embedding = inputs(target_batch(TITLES))[1]
    hidden = [inputs(target_batch([title]), seed=seed)[0].detach() for seed, title in enumerate(TITLES)]

    def run(parts: list[list[int]]) -> tuple[Tensor, float]:
        objective = make_objective(config(**{"reduction": reduction, **fields}), Z)
        batches = [target_batch([TITLES[index] for index in part]) for part in parts]
        states = [torch.cat([hidden[index] for index in part]).requires_grad_() for part in parts]
        normaliser = sum(objective.count(batch) for batch in batches)
        for state, batch in zip(states, batches, strict=True):
            objective(state, embedding, batch, normaliser=normaliser).total.backward()
        objective.step()
        return torch.cat([state.grad for state in states]), objective.temperature

    one, split = run([[0, 1, 2, 3]]), run([[0, 1], [2], [3]])
    torch.testing.assert_close(one[0], split[0], rtol=1e-12, atol=1e-14)
    assert one[1] == pytest.approx(split[1], rel=1e-12)


def test_monitor_reports_both_parts_of_the_full_loss_whatever_is_trained() -> None:
    batch = target_batch(TITLES)
    hidden, embedding = inputs(batch)
    reports = [
        make_objective(settings, Z, monitor=True)(hidden, embedding, batch).parts
        for settings in (ObjectiveConfig(name="lml"), config(temperature=3.0, reduction="samples"))
    ]
    full, item = (
        language_modelling_losses(hidden, embedding, batch.target),
        reference_losses(hidden, embedding),
    )
    for parts in reports:
        assert not any(part.requires_grad for part in parts.values())
        assert parts["lml"].item() == pytest.approx(full.mean().item())
        assert parts["lml_item"].item() == pytest.approx(item.mean().item())
        assert parts["lml_valid"].item() == pytest.approx((full - item).mean().item())


def test_the_parts_of_the_loss_have_gradients_that_add_up() -> None:
    batch = target_batch(TITLES)
    hidden, embedding = inputs(batch)
    parts = loss_parts(hidden, embedding, batch)
    whole, valid, item = (torch.autograd.grad(part.sum(), hidden, retain_graph=True)[0] for part in parts)
    torch.testing.assert_close(whole, valid + item)
    forced = torch.ones(len(batch.target), dtype=torch.bool)
    forced[batch.counted] = False
    assert (parts.lml_item[forced] == 0).all()
    assert (item[forced] == 0).all()
    # 𝓛¹ by its definition: −log of the probability of all valid tokens together.
    probability = (hidden @ embedding.T).softmax(1)
    rows = [row for title in TITLES for _, row in title]
    together = torch.stack([probability[place, row].sum() for place, row in enumerate(rows)])
    torch.testing.assert_close(parts.lml_valid, -together.log())


def test_the_parts_of_the_loss_at_narrow_weights_are_never_below_zero() -> None:
    batch = target_batch(TITLES)
    hidden, embedding = ((4 * tensor.detach()).bfloat16() for tensor in inputs(batch))
    probability = (hidden.double() @ embedding.double().T).softmax(1)
    rows = [row for title in TITLES for _, row in title]
    together = torch.stack([probability[place, row].sum() for place, row in enumerate(rows)])
    found = loss_parts(hidden, embedding, batch).lml_valid
    torch.testing.assert_close(found.double(), -together.log(), rtol=1e-5, atol=1e-4)
    assert found.min() > -1e-4


def test_details_are_per_position_and_detached() -> None:
    batch = target_batch(TITLES)
    hidden, embedding = inputs(batch)
    details = make_objective(config(), Z)(hidden, embedding, batch, details=True).details
    assert set(details) == {"lml", "lml_valid", "lml_item"}
    assert all(part.shape == batch.target.shape and not part.requires_grad for part in details.values())


@pytest.mark.parametrize(
    ("objective", "options"),
    [
        (make_objective(ObjectiveConfig(name="lml"), Z), {}),
        (make_objective(config(), Z, monitor=True), {}),
        (make_objective(config(), Z), {"details": True}),
    ],
)
def test_a_cut_batch_is_refused_where_every_position_is_needed(
    objective: Objective, options: dict[str, bool]
) -> None:
    batch = without_forced(target_batch(TITLES))
    hidden, embedding = inputs(batch)
    with pytest.raises(InputError, match="all 15 target positions and got 8"):
        objective(hidden, embedding, batch, **options)


def test_a_batch_of_forced_positions_trains_nothing() -> None:
    batch = target_batch([[(1, [1]), (2, [2])]])
    hidden, embedding = inputs(batch)
    objective = adaptive()
    total = objective(hidden, embedding, batch).total
    total.backward()
    assert total.item() == 0.0
    assert not hidden.grad.any()
    objective.step()
    assert objective.state_dict()["counts"]["no_statistics"] == 1


# Adaptive temperature


def logits_of(hidden: Tensor, embedding: Tensor, places: list[tuple[int, list[int]]]) -> list[Tensor]:
    return [(hidden[place] @ embedding.T)[row].detach() for place, row in places]


@pytest.mark.parametrize(
    ("scope", "places"),
    [
        # places among the 15 positions; the first token of each title is forced
        ("first_decision", [1, 5, 8, 13]),
        ("all", [1, 2, 5, 8, 9, 10, 13, 14]),
    ],
)
def test_moments_come_from_the_positions_of_the_scope(scope: str, places: list[int]) -> None:
    batch = target_batch(TITLES)
    hidden, embedding = inputs(batch)
    steps = [step for title in TITLES for step in title]
    rows = logits_of(hidden, embedding, [(place, steps[place][1]) for place in places])
    rows = [row - row.mean() for row in rows]
    targets = [row[steps[place][1].index(steps[place][0])] for place, row in zip(places, rows, strict=True)]
    objective = adaptive(scope=scope)
    objective(hidden, embedding, batch)
    log = objective.step()
    assert log["target_gap"] == pytest.approx(torch.stack(targets).mean().item())
    assert log["logit_variance"] == pytest.approx(torch.cat(rows).square().mean().item())
    every = [len(row) for _, row in (steps if scope == "all" else [steps[place] for place in places])]
    assert log["mean_valid_tokens"] == pytest.approx(sum(every) / len(every))


def test_scope_first_takes_first_tokens_by_their_place() -> None:
    # The second title's second position has as many valid tokens as the first positions: not counted.
    titles = [[(3, WIDE), (2, [2])], [(4, WIDE), (12, [10, 11, 12, 13, 14, 15, 16])]]
    batch = target_batch(titles)
    hidden, embedding = inputs(batch)
    first, decision = adaptive(scope="first"), adaptive(scope="first_decision")
    logs = []
    for objective in (first, decision):
        objective(hidden, embedding, batch)
        logs.append(objective.step())
    rows = torch.stack(logits_of(hidden, embedding, [(0, WIDE), (2, WIDE)]))
    assert logs[0]["logit_variance"] == pytest.approx(rows.var(1, correction=0).mean().item())
    assert logs[0] == logs[1]  # where every title starts with an open choice the scopes are one


def test_first_decision_passes_over_choices_below_chance() -> None:
    # Two valid tokens: P is 1/2 by chance, above η = 0.25; the first real decision comes after it.
    titles = [[(1, [1, 2]), (5, WIDE)], [(2, [1, 2]), (3, [3, 4])]]
    batch = target_batch(titles)
    hidden, embedding = inputs(batch)
    objective = adaptive(scope="first_decision")
    objective(hidden, embedding, batch)
    assert objective.step()["mean_valid_tokens"] == len(WIDE)
    literal = adaptive(scope="first")
    literal(hidden, embedding, batch)
    assert literal.step()["mean_valid_tokens"] == 2


def test_the_temperature_moves_towards_the_solution_within_the_clamps() -> None:
    batch = target_batch(TITLES)
    objective = adaptive(scope="first_decision", temperature_low=0.1, temperature_high=9.0, temperature=3.0)
    hidden, embedding = inputs(batch, scale=2.0)
    objective(hidden, embedding, batch)
    log = objective.step()
    moments = [log["target_gap"], log["logit_variance"], log["mean_valid_tokens"] * 0.25]
    gap, variance, m_eta = (torch.tensor(value, dtype=torch.float64) for value in moments)
    solution = adaptive_temperature(gap, variance, m_eta.log())[0].item()
    assert log["temperature_solution"] == pytest.approx(solution)
    clamped = min(max(solution, 0.1), 9.0)
    assert objective.temperature == log["temperature"] == pytest.approx(3.0 + 0.05 * (clamped - 3.0))


def test_it_starts_within_the_clamps_and_counts_what_the_solver_met() -> None:
    titles = [[(3, WIDE)], [(4, WIDE)]]
    batch = target_batch(titles)
    objective = adaptive(scope="first")
    assert objective.temperature == 1.5
    embedding = torch.zeros(Z, 1)
    embedding[3:5] = 1.0
    for strength in (-3.0, 3.0, 40.0):  # target below the mean; out of reach above it; far above it
        objective(torch.full((2, 1), strength, requires_grad=True), embedding, batch)
        objective.step()
    counts = objective.state_dict()["counts"]
    assert counts["no_positive_root"] == 1
    assert counts["solved"] == 2
    assert counts["clamped_low"] == 1
    assert counts["clamped_high"] == 1
    assert 1.5 < objective.temperature <= 5.0


def test_evaluation_leaves_the_temperature_alone() -> None:
    batch = target_batch(TITLES)
    hidden, embedding = inputs(batch, scale=5.0)
    objective = adaptive(scope="all")
    before = objective.state_dict()
    with torch.no_grad():
        objective(hidden, embedding, batch)
    assert objective.step() == {"temperature": 1.5}
    assert objective.state_dict() == before


def test_processes_share_their_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    embedding = inputs(target_batch(TITLES))[1]
    halves = [target_batch(TITLES[:2]), target_batch(TITLES[2:])]
    states = [inputs(half, seed=seed, scale=3.0)[0] for seed, half in enumerate(halves)]
    alone, here, there = (adaptive(scope="all") for _ in range(3))
    for state, half, process in zip(states, halves, (here, there), strict=True):
        alone(state, embedding, half)
        process(state, embedding, half)

    def all_reduce(sums: Tensor) -> None:
        assert there.adaptive is not None
        sums += there.adaptive._sums

    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "all_reduce", all_reduce)
    together = here.step()
    monkeypatch.undo()
    assert together == pytest.approx(alone.step(), rel=1e-12)


def test_a_resumed_objective_goes_on_as_if_unbroken() -> None:
    batch = target_batch(TITLES)
    embedding = inputs(batch)[1]

    def advance(objective: Objective, seeds: range) -> None:
        for seed in seeds:
            objective(inputs(batch, seed=seed, scale=3.0)[0], embedding, batch)
            objective.step()

    straight, broken, resumed = (adaptive(scope="all") for _ in range(3))
    advance(straight, range(6))
    advance(broken, range(3))
    resumed.load_state_dict(json.loads(json.dumps(broken.state_dict())))
    advance(resumed, range(3, 6))
    assert resumed.state_dict() == straight.state_dict()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "dpo"}, "objective.name is 'dpo': choose one of lml, msl"),
        ({"scope": "last"}, "objective.scope is 'last'"),
        ({"reduction": "sum"}, "objective.reduction is 'sum'"),
        ({"temperature": 0.0}, "must be above 0"),
        ({"name": "lml", "adaptive": True}, "name='msl'"),
        ({"name": "lml", "alpha": True}, "name='msl'"),
        ({"adaptive": True, "alpha": True}, "switch one of them off"),
        ({"adaptive": True, "temperature_low": 6.0}, "at most objective.temperature_high"),
    ],
)
def test_settings_that_mean_nothing_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_objective(config(**fields), Z)
