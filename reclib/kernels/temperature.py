"""Adaptive temperature of the masked softmax loss: the root, and the moments it needs.

Were the logits of m valid tokens drawn from N(μ, σ²), the target's probability at temperature τ
would be P(τ) = exp(Δ/τ) / (m exp(σ²/(2τ²))), Δ = f(target) − μ. P(τ) = η is a quadratic equation
in τ. [MSL] Lemma 2, Eq. (11), (12).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from reclib.kernels.masked_softmax import ValidTokens, row_of_entry

SOLVED, NO_REAL_ROOT, NO_POSITIVE_ROOT = 0, 1, 2
STATUS_NAMES = ("solved", "no_real_root", "no_positive_root")


def adaptive_temperature(target_gap: Tensor, variance: Tensor, log_m_eta: Tensor) -> tuple[Tensor, Tensor]:
    """Root τ of C τ² − Δ τ + σ²/2 = 0 on the branch where it is a temperature, and a status.

    With R = Δ² − 2σ²C:

    - C > 0: τ = (Δ + √R) / (2C), the larger root, where P falls as τ grows and the Gaussian
      approximation holds ([MSL] Eq. (12) prints the smaller one). P(τ) reaches η nowhere if R < 0:
      then R counts as 0, which leaves τ = Δ / (2C), and the status is NO_REAL_ROOT.
    - C < 0: the only positive root, τ = (Δ − √R) / (2C), as σ² / (Δ + √R) where Δ ≥ 0.
    - C = 0: τ = σ² / (2Δ).
    - No positive root (Δ ≤ 0 ≤ C, or σ² = 0 and C Δ ≤ 0): τ = 0 and NO_POSITIVE_ROOT.

    target_gap Δ, variance σ² ≥ 0, log_m_eta C = log(m η): floats of one shape; returns τ and an
    int8 status (SOLVED, NO_REAL_ROOT, NO_POSITIVE_ROOT) of that shape. NaN counts as no root.
    Source: [MSL] Lemma 2, Eq. (12).
    """
    spread = (2 * variance * log_m_eta.abs()).sqrt()
    positive_c = log_m_eta > 0
    product = ((target_gap - spread) * (target_gap + spread)).clamp_min(0)
    root = torch.where(positive_c, product.sqrt(), torch.hypot(target_gap, spread))  # √R
    larger = (target_gap + root) / (2 * log_m_eta)
    only = torch.where(target_gap >= 0, variance / (target_gap + root), (target_gap - root) / (2 * log_m_eta))
    tau = torch.where(positive_c, larger, only)
    usable = tau.isfinite() & (tau > 0)
    unreached = positive_c & (target_gap < spread)
    status = torch.where(usable, torch.where(unreached, NO_REAL_ROOT, SOLVED), NO_POSITIVE_ROOT)
    return torch.where(usable, tau, 0.0), status.to(torch.int8)


class LogitMoments(NamedTuple):
    """Gap Δ, variance σ² and mean number of valid tokens of some rows."""

    target_gap: Tensor
    variance: Tensor
    mean_valid: Tensor


def moment_sums(logits: Tensor, valid: ValidTokens, selected: Tensor) -> Tensor:
    """Sums from which `moments` are made; those of several batches add up.

    Deviations are from each row's own mean μ_p: (rows, Σ_p f(target_p) − μ_p, entries,
    Σ_p Σ_z (f(z) − μ_p)²), over the selected rows.

    logits: (M,); selected: (P,) bool; returns (4,) float64, detached.
    """
    wide = logits.detach().double()
    mean = torch.segment_reduce(wide, "sum", offsets=valid.row_start, unsafe=True) / valid.n_valid
    deviation = wide - mean.index_select(0, row_of_entry(valid.row_start, len(wide)))
    square = torch.segment_reduce(deviation.square(), "sum", offsets=valid.row_start, unsafe=True)
    gap = deviation.index_select(0, valid.target_entry)
    by_row = torch.stack([torch.ones_like(gap), gap, valid.n_valid.double(), square])  # (4, P)
    return by_row @ selected.double()


def moments(sums: Tensor) -> LogitMoments:
    """Δ = mean over rows of f(target) − μ_p; σ² = mean over entries of (f(z) − μ_p)².

    [MSL] Eq. (12) and the released code take one mean and variance over all logits together. Where
    the rows share a trie node, as first positions do, that is the same but for how the contexts'
    levels vary; over different nodes the levels swamp it, though P does not depend on them. Rows'
    own means are the average of Lemma 2, which is stated token by token.

    sums: (4,) from `moment_sums`; returns scalars, float64, NaN where no row was counted.
    """
    rows, gap, entries, square = sums.unbind()
    return LogitMoments(gap / rows, square / entries, entries / rows)
