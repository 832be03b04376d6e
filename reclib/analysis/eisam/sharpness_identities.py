"""That SAM, ImbSAM and ERM are settings of one step; how near the shared ascent is to the exact one.

[relative: Focal-SAM; derived by us for items: specification §3.4, properties 2 and 4]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from reclib.analysis.eisam.sharpness import cosine
from reclib.analysis.eisam.sharpness_steps import StepModel, random_lm_model, sequence_model
from reclib.config import SHARPNESS_FAMILY, SharpnessConfig
from reclib.data.popularity import is_head
from reclib.training.perturbing import Gradients, gradient_norm, gradients, perturbed, plus

EISAM = replace(SHARPNESS_FAMILY["eisam"], alignment_every=0)
TINY = 1e-9  # a radius that changes no float32 weight by more than it rounds


def identity_table(n_items: int = 100, *, radius: float = 0.05) -> pd.DataFrame:
    """Distance of EISAM's step to the method it should be, over the length of that method's gradient.

    The other side of each is written out here, from plain gradients at plain weights, and knows nothing of
    the step. Two models without dropout: SASRec, and a random LM with LoRA in its untrained state.
    Returns model, identity, difference.
    """
    models = {
        "SASRec": sequence_model(n_items, dropout=0.0, dtype=torch.float64),
        "language model": random_lm_model(
            n_items, "msl", n_layers=2, width=64, dropout=0.0, dtype=torch.float64
        ),
    }
    rows = []
    for name, model in models.items():
        every, tail = _tables(model)
        pairs: dict[str, tuple[SharpnessConfig, Gradients]] = {
            "γ = 0, λ = 1 is SAM": (
                replace(EISAM, gamma=0.0, penalty=1.0, radius=radius),
                _ascended(model, every, every, radius),
            ),
            "indicator, λ = 1 is ImbSAM": (
                replace(SHARPNESS_FAMILY["imbsam"], alignment_every=0, radius=radius),
                plus(_slope(model, every - tail), _ascended(model, tail, tail, radius)),
            ),
            "ρ → 0 is ERM": (replace(EISAM, radius=TINY), _slope(model, every)),
            "λ = 0 is ERM": (replace(EISAM, penalty=0.0, radius=radius), _slope(model, every)),
        }
        for identity, (config, expected) in pairs.items():
            rows.append((name, identity, _distance(model.outcome(config).gradients, expected)))
    return pd.DataFrame(rows, columns=["model", "identity", "difference"])


def shared_against_exact(model: StepModel, *, radii: Sequence[float]) -> pd.DataFrame:
    """Cosine of the gradient of the shared ascent, (3), and of an ascent for each item, (1), on one batch.

    ERM and (1) are compared beside, and the penalties alone, g − ∇L: at a small radius all gradients are
    nearly ∇L. alignment is A, the share of (1)'s penalty that the shared ascent reaches to first order.
    Returns radius, targets, cosine, erm_cosine, penalty_cosine, alignment.
    """
    plain = model.outcome(replace(EISAM, step="erm")).gradients
    targets = len(np.unique(model.examples()().item_idx.cpu().numpy()))
    alignment = float(model.sharpness(EISAM).alignment(model.examples(), model.parameters))
    rows = []
    for radius in radii:
        shared = model.outcome(replace(EISAM, radius=radius)).gradients
        exact = model.outcome(replace(EISAM, step="exact", radius=radius)).gradients
        penalties = [plus(plus([], found), plain, scale=-1.0) for found in (shared, exact)]
        cosines = (cosine(shared, exact), cosine(plain, exact), cosine(*penalties))
        rows.append((radius, targets, *cosines, alignment))
    columns = ["radius", "targets", "cosine", "erm_cosine", "penalty_cosine", "alignment"]
    return pd.DataFrame(rows, columns=columns)


def _tables(model: StepModel) -> tuple[Tensor, Tensor]:
    """What each item counts: every item one, and tail items alone; (N+1,) each."""
    every = torch.ones(len(model.counts))
    return every, torch.from_numpy(~is_head(model.counts)).float()


def _slope(model: StepModel, table: Tensor) -> Gradients:
    """∇ Σ_k table[item of k] ℓ_k."""
    _, losses, item = model.examples()()
    return gradients((table[item] * losses).sum(), model.parameters)


def _ascended(model: StepModel, counted: Tensor, climbed: Tensor, radius: float) -> Gradients:
    """∇ of one weighed loss at θ + ρ a / ‖a‖, a the gradient of another."""
    slope = _slope(model, climbed)
    norm = float(gradient_norm(slope))
    with perturbed(model.parameters, slope, length=radius / norm):
        return _slope(model, counted)


def _distance(found: Gradients, expected: Gradients) -> float:
    apart = [a - b for a, b in zip(found, expected, strict=True)]
    return float(gradient_norm(apart) / gradient_norm(expected))
