"""The bounds (6) and (7) of [spec] where they say something: a logistic model of few weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from reclib.kernels.sharpness import fast_bound, itemwise_complexity, perturbation, root_bound
from reclib.schema import settle
from reclib.seeding import torch_generator

TEST_EXAMPLES = 20_000  # an item: its risk to a standard error of 0.002


@dataclass(frozen=True, kw_only=True)
class BoundConfig:
    """A made task: y = 1 with chance σ(θ*·x), x standard normal; items differ in how many examples they have.

    n_parameters: k, weights of the model; n_items: N; fewest, most: examples of an item, in equal ratios
    signal: ‖θ*‖; radius: ρ of all items; failure: δ; trade_off: c of (7); steps: of gradient descent
    """

    n_parameters: int = 10
    n_items: int = 12
    fewest: int = 30
    most: int = 30_000
    signal: float = 3.0
    radius: float = 0.5
    failure: float = 0.05
    trade_off: float = 1.0
    steps: int = 300

    def __post_init__(self) -> None:
        positive = ("n_parameters", "n_items", "fewest", "most", "signal", "radius", "failure", "trade_off")
        settle(self, "bound", positive=(*positive, "steps"), share=("failure",))


def bound_table(config: BoundConfig, *, seed: int) -> pd.DataFrame:
    """Train the model on all items' examples, and put each item's risk beside what the bounds say of it.

    The loss is (y − p)², in [0, 1]; the bounds' terms of unknown constants are left out, and (5)'s condition
    that a perturbation does not lower the risk on average is taken for granted, so they are bounds in shape.

    Returns one row an item: n, loss (on its training examples), sharpness, risk (on fresh ones), gap, and
    bound_root, term_root of (6), bound_fast, term_fast of (7), the terms being what complexity adds.
    [spec §5.3 B4: derived by us]
    """
    generator = torch_generator(seed, "logistic bounds")
    truth = torch.randn(config.n_parameters, generator=generator, dtype=torch.float64)
    truth *= config.signal / truth.norm()
    n = np.geomspace(config.fewest, config.most, config.n_items).round().astype(np.int64)
    data = [_draw(truth, int(count), generator) for count in n]
    theta = _trained(data, config)
    rows = []
    for features, label in data:
        loss = _loss(theta, features, label).mean()
        (slope,) = torch.autograd.grad(loss, theta)
        (shift,), _ = perturbation([slope], radius=config.radius)
        with torch.no_grad():
            rise = _loss(theta + shift, features, label).mean() - loss
            risk = _loss(theta, *_draw(truth, TEST_EXAMPLES, generator)).mean()
        rows.append((float(loss.detach()), float(rise), float(risk)))
    table = pd.DataFrame(rows, columns=["loss", "sharpness", "risk"])
    table.insert(0, "n", n)
    table["gap"] = table["risk"] - table["loss"]
    return table.assign(**_bounds(table, float(theta.detach().norm()), config))


def bound_panels(table: pd.DataFrame) -> pd.DataFrame:
    """The bounds and the terms of `bound_table` for a figure: quantity, form, n, value, risk."""
    parts = [
        pd.DataFrame(
            {
                "quantity": quantity,
                "form": form,
                "n": table["n"],
                "value": table[f"{quantity}_{form}"],
                "risk": table["risk"],
            }
        )
        for quantity in ("bound", "term")
        for form in ("root", "fast")
    ]
    return pd.concat(parts, ignore_index=True)


def _bounds(table: pd.DataFrame, norm: float, config: BoundConfig) -> dict[str, np.ndarray]:
    n, loss, sharpness = (torch.tensor(table[name].to_numpy()) for name in ("n", "loss", "sharpness"))
    setting = {
        "n_parameters": config.n_parameters,
        "norm": norm,
        "radius": config.radius,
        "n_items": config.n_items,
        "failure": config.failure,
    }
    complexity = itemwise_complexity(n, **setting)  # type: ignore[arg-type]
    none = torch.zeros_like(loss)
    fast = {"trade_off": config.trade_off, **setting}
    found = {
        "bound_root": root_bound(loss, sharpness, n, complexity),
        "term_root": root_bound(none, none, n, complexity),
        "bound_fast": fast_bound(loss + sharpness, n, **fast),  # type: ignore[arg-type]
        "term_fast": fast_bound(none, n, **fast),  # type: ignore[arg-type]
    }
    return {name: value.numpy() for name, value in found.items()}


def _draw(truth: Tensor, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    features = torch.randn(n, len(truth), generator=generator, dtype=torch.float64)
    chance = torch.rand(n, generator=generator, dtype=torch.float64)
    return features, (chance < torch.sigmoid(features @ truth)).double()


def _loss(theta: Tensor, features: Tensor, label: Tensor) -> Tensor:
    return (label - torch.sigmoid(features @ theta)).square()


def _trained(data: list[tuple[Tensor, Tensor]], config: BoundConfig) -> Tensor:
    """The weights of least loss over all examples, by Adam from zero."""
    features, label = (torch.cat(part) for part in zip(*data, strict=True))
    theta = torch.zeros(config.n_parameters, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([theta], lr=0.05)
    for _ in range(config.steps):
        optimiser.zero_grad()
        _loss(theta, features, label).mean().backward()
        optimiser.step()
    return theta


def log_slope(table: pd.DataFrame, column: str) -> float:
    """Slope of log column over log n, by least squares: how fast a term falls."""
    return float(np.polyfit(np.log(table["n"]), np.log(table[column]), 1)[0])
