"""Item-wise sharpness: weights by frequency, perturbations, what a step combines, and two bounds.

N items, P examples. Weights and counts of items are (N+1,) with padding at 0, as everywhere. An example's
loss ℓ_k is its part of a mean, so that L = Σ_k ℓ_k and L^f = Σ_k w_k ℓ_k, w_k = f(n of its target).

The body of the EISAM paper (arXiv 2603.12752) is not at hand: [spec] is our specification of it, and marks
in brackets are its own. "[relative]" was read in a related paper or its code, "[derived by us]" was not read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


def power_weights(counts: Tensor, *, gamma: float) -> Tensor:
    """f(n) = max(n, 1)^−γ; γ = 1/2 by default, γ = 1 lets every item count alike, γ = 0 every example.

    With a radius of its own, chosen to minimise sharpness + complexity ∝ n_i^−½, item i pays a sharpness
    ∝ n_i^−½, whether curvature (S ~ ρ²h/2, ρ* ∝ n^−¼) or slope (S ~ ρ‖g‖, ρ* ∝ n^−½) dominates it. A common
    radius with γ = 1/2 puts the same price on it. [derived by us: spec §4.3]
    """
    return _without_padding(counts.double().clamp(min=1) ** -gamma)


def focal_weights(counts: Tensor, *, gamma: float) -> Tensor:
    """f(n) = (1 − π)^γ, π = n / Σn.

    As Focal-SAM has it for classes [relative: Focal-SAM]; of items none has a share that matters, so all
    weights are near one [derived by us: spec §4.1].
    """
    share = counts.double() / counts.sum().clamp(min=1)
    return _without_padding((1 - share) ** gamma)


def focal_max_weights(counts: Tensor, *, gamma: float) -> Tensor:
    """f(n) = (1 − n / n_max)^γ: 0 for the most frequent item, unless γ = 0.

    [derived by us: spec §4.2]
    """
    return _without_padding((1 - counts.double() / counts.max().clamp(min=1)) ** gamma)


def effective_number_weights(counts: Tensor, *, beta: float) -> Tensor:
    """f(n) = (1 − β) / (1 − β^max(n, 1)); 1 at β = 0, 1 / max(n, 1) at β = 1.

    The inverse of the effective number of examples, with which Cui et al. 2019 weigh classes.
    [derived by us: spec §4.2]
    """
    n = counts.double().clamp(min=1)
    if beta == 1:
        return _without_padding(1 / n)
    return _without_padding((1 - beta) / (1 - beta**n))


def rank_weights(counts: Tensor, *, gamma: float) -> Tensor:
    """f(n) = (rank / N)^γ, rank 1 the most frequent item, ties by item_idx.

    [derived by us: spec §4.2]
    """
    order = torch.argsort(counts[1:], descending=True, stable=True)
    rank = torch.empty(len(counts), dtype=torch.float64, device=counts.device)
    rank[order + 1] = torch.arange(1, len(counts), dtype=torch.float64, device=counts.device)
    rank[0] = 1
    return _without_padding((rank / max(1, len(order))) ** gamma)


def indicator_weights(is_head: Tensor) -> Tensor:
    """1 for a tail item, 0 for a head item; is_head: (N+1,) bool.

    [relative: ImbSAM]
    """
    return _without_padding((~is_head).double())


def prior_aware_weights(counts: Tensor, prior: Tensor, *, gamma: float, prior_gamma: float) -> Tensor:
    """f(n, q) = max(n, 1)^−γ q^−γ', q: (N+1,) prior popularity of each item.

    An item of prior zero gets an infinite weight where γ' > 0; whoever uses the weights has to refuse it.
    [derived by us: spec §4.2]
    """
    return _without_padding(power_weights(counts, gamma=gamma) * prior.double() ** -prior_gamma)


def _without_padding(weights: Tensor) -> Tensor:
    return weights.index_fill(0, torch.zeros(1, dtype=torch.int64, device=weights.device), 0.0)


def normalised_weights(weights: Tensor, counts: Tensor, *, cap: float = math.inf) -> Tensor:
    """min(cap, f / Σ_i π_i f_i): training examples weigh one on average, and no item more than `cap`.

    So λ and ρ keep their meaning across γ, and one cold item does not decide a batch's perturbation. Where
    the cap cuts, the average falls below one by what it cuts. An item without training examples has no part
    in the average. NaN for all where no training example has a weight. [derived by us: spec §4.2]
    """
    counts = counts.double()
    mean = (counts * weights).sum() / counts.sum()
    return (weights / mean).clamp(max=cap)


def perturbation(gradients: Sequence[Tensor], *, radius: float) -> tuple[list[Tensor], Tensor]:
    """ε = ρ g / ‖g‖ over all tensors together, and ‖g‖; ε = 0 where g = 0.

    The first-order solution of max over ‖ε‖ ≤ ρ of the loss whose gradient is g. Source: Foret et al. 2021.
    """
    norm = torch.linalg.vector_norm(torch.stack([gradient.norm() for gradient in gradients]))
    scale = torch.where(norm > 0, radius / norm, torch.zeros_like(norm))
    return [gradient * scale for gradient in gradients], norm


class Coefficients(NamedTuple):
    """What each item's loss counts at θ, in the ascent direction and at θ+ε, (N+1,) each.

    With a = ∇(Σ_k ascent_k ℓ_k)(θ) and ε = ρ a / ‖a‖ a step is
    g = ∇(Σ_k base_k ℓ_k)(θ) + slope · a + ∇(Σ_k perturbed_k ℓ_k)(θ+ε).
    """

    base: Tensor
    ascent: Tensor
    perturbed: Tensor
    slope: float = 0.0


def eisam_coefficients(weights: Tensor, *, penalty: float) -> Coefficients:
    """EISAM: g = ∇L − λ∇L^f + λ∇L^f(θ+ε), ε along ∇L^f: base 1 − λf, ascent f, perturbed λf.

    The descent direction of J = L + λ[L^f(θ+ε) − L^f(θ)] with ε held fixed. f = 1, λ = 1 is SAM; f = 1[tail],
    λ = 1 is ImbSAM; f = (1 − π)^γ is Focal-SAM. [spec Eq. (2), (3); relative: Focal-SAM; derived by us for
    items: that the paper's efficient penalty is this one is an inference]
    """
    return Coefficients(1 - penalty * weights, weights, penalty * weights)


def eisam2_coefficients(weights: Tensor, *, penalty: float) -> Coefficients:
    """EISAM-2: g = ∇(L + λL^f)(θ+ε) − λ∇L^f, ε along ∇L^f, for two backward passes.

    ∇L is taken at θ+ε too, which differs from (3) by O(ρ). [spec Eq. (4); derived by us]
    """
    return Coefficients(torch.zeros_like(weights), weights, 1 + penalty * weights, slope=-penalty)


def hinge_coefficients(weights: Tensor, rise: Tensor, *, penalty: float) -> tuple[Tensor, Tensor]:
    """Of the step for L + λ Σ_k w_k [ℓ_k(θ+ε) − ℓ_k(θ)]₊: what each example counts at θ and at θ+ε.

    An example whose loss does not rise is not penalised. weights, rise: (P,) of examples, rise = ℓ_k(θ+ε) −
    ℓ_k(θ); ε is along ∇L. Returns 1 − λw1[rise > 0] and λw1[rise > 0]. [spec §3.7 P3; derived by us]
    """
    counted = penalty * weights * (rise > 0)
    return 1 - counted, counted


def alignment_factor(norm_of_sum: Tensor, weights: Tensor, norms: Tensor, *, n_examples: int) -> Tensor:
    """A = ‖Σ_k w_k g_k‖ / Σ_k w_k ‖g_k‖, in [0, 1]: the share of (1)'s penalty that the shared ε reaches.

    Near 1/√m for m orthogonal gradients, so a shared radius does what an item-wise one of A times its size
    does. The denominator is estimated as `n_examples` times the mean of the given ones; all of them make it
    exact. weights, norms: (P',). NaN where nothing has a gradient. [spec §3.4 property 2; derived by us]
    """
    return norm_of_sum / (n_examples * (weights * norms).mean())


def itemwise_complexity(
    n: Tensor, *, n_parameters: int, norm: float, radius: float, n_items: int, failure: float
) -> Tensor:
    """C_i = k log(1 + ‖θ‖²/ρ² (1 + √(log n_i / k))²) + 4 log(n_i N / δ), of (6), its Õ(1) left out.

    n: (N,) examples of each item, at least 1; k = `n_parameters`, δ = `failure`. SAM's bound (Foret et al.
    2021, theorem 2) for each item at confidence δ/N. [spec Eq. (5), (6); derived by us]
    """
    n, k = n.double(), n_parameters
    spread = (1 + (n.log() / k).sqrt()) ** 2
    return k * torch.log1p(norm**2 / radius**2 * spread) + 4 * (n * n_items / failure).log()


def root_bound(loss: Tensor, sharpness: Tensor, n: Tensor, complexity: Tensor) -> Tensor:
    """L_i + S_i + √(C_i / (n_i − 1)): bounds an item's risk, infinite for n_i ≤ 1; average it with any q.

    For losses in [0, 1]; loss, sharpness, n, complexity: (N,). [spec Eq. (6); derived by us]
    """
    n = n.double()
    return torch.where(n > 1, loss + sharpness + (complexity / (n - 1).clamp(min=1)).sqrt(), torch.inf)


def fast_bound(
    perturbed_loss: Tensor,
    n: Tensor,
    *,
    n_parameters: int,
    norm: float,
    radius: float,
    n_items: int,
    failure: float,
    trade_off: float = 1.0,
) -> Tensor:
    """(L_i + S_i) / (1 − c/2) + [k/2 log(1 + ‖θ‖²/(kσ²)) + log(2√n_i N/δ)] / (c (1 − c/2) n_i).

    ρ = σ(√k + √(2 log n_i)) gives σ; c = `trade_off` in (0, 2); the term O(1/n_i) is left out. The complexity
    falls as 1/n_i where (6)'s falls as n_i^−½, at the price of a factor on loss + sharpness: our best reading
    of the abstract's "faster rate", not known to be its theorem. Losses in [0, 1]; perturbed_loss, n: (N,);
    infinite for n_i = 0. Raises ValueError for another c. [spec Eq. (7); derived by us]
    """
    if not 0 < trade_off < 2:
        raise ValueError(f"trade_off is {trade_off}: choose one above 0 and below 2")
    present, k = n.double().clamp(min=1), n_parameters
    sigma = radius / (math.sqrt(k) + (2 * present.log()).sqrt())
    complexity = k / 2 * torch.log1p(norm**2 / (k * sigma**2))
    complexity = complexity + (2 * present.sqrt() * n_items / failure).log()
    slack = 1 - trade_off / 2
    bound = perturbed_loss / slack + complexity / (trade_off * slack * present)
    return torch.where(n > 0, bound, torch.inf)
