"""The Hessian of the softmax loss in the sequence representation: its spectrum, bounds, and what norms do.

[TF-LLMER] = arXiv 2604.20490. Confirmed by its abstract: local optimisation curvature is what is analysed,
and normalisation gives control over conditioning. Only third parties say that the measure is the condition
number of the Hessian of the loss in the sequence representation. Derived by us: all formulas below,
numbered as in our specification, §3; the paper's own theorems are not at hand.

Logits z = E h of N items e_j (row 0 of tables is padding and left out), p = softmax(z), l = −log p_y:
∂l/∂h = Eᵀ(p − e_y), H = Eᵀ(diag p − p pᵀ)E = Cov_p(e), (1). H does not depend on the label.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from reclib.kernels.eigen import lanczos, quadrature

NULL = 1e-12  # an eigenvalue below this share of the largest is that of an exact null direction, in float64
EXACT = 16  # largest eigenvalues that count exactly where the others are estimated
ENTRIES = 2**24  # of an array of contexts × items, or of items × items, that is held at once


class Spectrum(NamedTuple):
    """Numbers of the Hessian of each of B contexts, (B,) each.

    largest, smallest: eigenvalues, null directions left out; median: of all d eigenvalues, likewise
    trace: their sum; effective_rank: exp(−Σ q log q), q = eigenvalues over their sum
    n_effective: 1 / Σ p_j², items that share the probability
    """

    largest: Tensor
    smallest: Tensor
    median: Tensor
    trace: Tensor
    effective_rank: Tensor
    n_effective: Tensor


def probabilities(states: Tensor, items: Tensor) -> Tensor:
    """P (B, N) of items 1…N; states (B, D), items (N+1, D)."""
    return (states @ items[1:].T).softmax(dim=1)


def covariance(probability: Tensor, items: Tensor) -> Tensor:
    """H = Σ_j p_j (e_j − μ)(e_j − μ)ᵀ, μ = Σ_j p_j e_j, (D, D); probability (N,), items (N+1, D).

    Centred before it is squared: a cone of items cancels without loss. Derived by us, Eq. (1).
    """
    vectors = items[1:]
    centred = (vectors - probability @ vectors) * probability.sqrt()[:, None]
    return centred.T @ centred


def covariance_product(probability: Tensor, items: Tensor, directions: Tensor) -> Tensor:
    """H V without H: Eᵀ(p ⊙ (E V − 1 pᵀ E V)), (D, k) → (D, k), in O(N D k). Derived by us, Eq. (1)."""
    projected = items[1:] @ directions
    centred = projected - probability @ projected
    return items[1:].T @ (probability[:, None] * centred)


def spectra(states: Tensor, items: Tensor) -> Spectrum:
    """The whole spectrum of the Hessian of each context, in float64; states (B, D), items (N+1, D).

    H is made, one context at a time: O(N D²) each, and never an array of contexts × items larger than 128
    MB.
    """
    states, items = states.double(), items.double()
    rows = []
    for block in states.split(max(1, ENTRIES // len(items))):
        for probability in probabilities(block, items):
            values = torch.linalg.eigvalsh(covariance(probability, items)).clamp_min(0)
            rows.append(_numbers(values, probability))
    return Spectrum(*torch.stack(rows).T) if rows else Spectrum(*states.new_zeros(6, 0))


def _numbers(values: Tensor, probability: Tensor) -> Tensor:
    """`Spectrum` of one context from ascending eigenvalues, (6,)."""
    trace = values.sum()
    there = values[values > NULL * values[-1]]
    if not len(there):  # one item holds all probability, or all items are one vector
        one = torch.ones_like(trace)
        return torch.stack([trace, trace, trace, trace, one, 1 / probability.square().sum()])
    share = there / there.sum()
    entropy = -(share * share.log()).sum()
    numbers = [there[-1], there[0], there.median(), trace, entropy.exp()]
    return torch.stack([*numbers, 1 / probability.square().sum()])


def extreme_spectra(
    states: Tensor, items: Tensor, *, n_probes: int = 8, n_steps: int = 48, generator: torch.Generator
) -> Spectrum:
    """As `spectra` where D is too large for H: by products with it, O(N D) each; the median is NaN.

    The extremes by `lanczos`, exactly; where H has null directions the smallest is 0 and not the one above
    them. The effective rank from the 16 largest eigenvalues and, for the others, stochastic Lanczos
    quadrature: the trace of −q log q by `n_probes` random signs with `n_steps` products each, an estimate
    that errs by a few per cent.
    """
    states, items = states.double(), items.double()
    rows = []
    for state in states:
        probability = probabilities(state[None], items)[0]
        rows.append(_by_products(probability, items, n_probes, n_steps, generator))
    return Spectrum(*torch.stack(rows).T) if rows else Spectrum(*states.new_zeros(6, 0))


def _by_products(
    probability: Tensor, items: Tensor, n_probes: int, n_steps: int, generator: torch.Generator
) -> Tensor:
    """`Spectrum` of one context, (6,)."""

    def product(directions: Tensor) -> Tensor:
        return covariance_product(probability, items, directions)

    values, vectors = lanczos(product, min(EXACT, items.shape[1]), like=items[0])
    smallest = -lanczos(lambda rows: -product(rows), 1, like=items[0])[0][0]
    trace = covariance_trace(probability, items)
    entropy = _entropy_terms(values / trace).sum()
    for _ in range(n_probes if len(values) < len(vectors) else 0):
        signs = (torch.randint(0, 2, items[0].shape, generator=generator) * 2 - 1).to(items)
        nodes, weights = quadrature(product, signs - vectors @ (vectors.T @ signs), n_steps)
        entropy = entropy + (weights * _entropy_terms(nodes / trace)).sum() / n_probes
    none = torch.full_like(trace, math.nan)
    numbers = [values[0], smallest.clamp_min(0), none, trace, entropy.exp()]
    return torch.stack([*numbers, 1 / probability.square().sum()])


def _entropy_terms(share: Tensor) -> Tensor:
    """−q log q, 0 where q is 0 but for rounding."""
    return torch.where(share > NULL, -share * share.clamp_min(NULL).log(), 0.0)


def covariance_trace(probability: Tensor, items: Tensor) -> Tensor:
    """The trace of H, Σ_j p_j r_j² − ‖Eᵀp‖², a scalar; probability (N,), items (N+1, D).

    Derived by us, Eq. (2).
    """
    vectors = items[1:]
    return probability @ vectors.square().sum(dim=1) - (probability @ vectors).square().sum()


def largest_bound(items: Tensor) -> Tensor:
    """max_j r_j² ≥ λ_max(H) for every context, a scalar; s² where all lengths are s.

    Popoviciu: the variance of a projection, which lies in [−max r, max r], is at most (max r)². items (N+1,
    D). Derived by us, Eq. (2).
    """
    return items[1:].square().sum(dim=1).amax()


class ConditionBounds(NamedTuple):
    """Bounds of κ(H), each at most the next, (B,) each; infinite where they overflow.

    probability: (p_max/p_min) κ(S_c); diameter: e^{‖h‖ diam E} κ(S_c); norm: e^{2‖h‖ max r} κ(S_c)
    """

    probability: Tensor
    diameter: Tensor
    norm: Tensor


def condition_bounds(states: Tensor, items: Tensor) -> ConditionBounds:
    """Bounds of the condition number in each context; states (B, D), items (N+1, D).

    S_c = Σ_j (e_j − ē)(e_j − ē)ᵀ; p_min S_c ≼ H ≼ p_max S_c. With equal lengths s the last one becomes
    e^{2s‖h‖} κ(S_c): norms have left the bound, the scale and the angles remain. Loose (7 where κ is 1.8, at
    s‖h‖ = 1): its direction is what matters. Derived by us, Eq. (3); what "provable control" means in the
    paper is open.
    """
    states, items = states.double(), items.double()
    logits = states @ items[1:].T
    uniform = items.new_full((len(items) - 1,), 1 / max(1, len(items) - 1))
    kappa = condition_number(torch.linalg.eigvalsh(covariance(uniform, items)))
    length = torch.linalg.vector_norm(states, dim=1)
    norm = 2 * length * largest_bound(items).sqrt()
    return ConditionBounds(
        kappa * (logits.amax(dim=1) - logits.amin(dim=1)).exp(),
        kappa * (length * diameter(items)).exp(),
        kappa * norm.exp(),
    )


def condition_number(values: Tensor) -> Tensor:
    """κ = λ_max/λ_min of ascending eigenvalues (d,), exact null directions left out; NaN without others."""
    there = values[values > NULL * values[-1].clamp_min(0)]
    return there[-1] / there[0] if len(there) else values.new_tensor(math.nan)


def diameter(items: Tensor) -> Tensor:
    """max_ij ‖e_i − e_j‖ over items 1…N, a scalar; in blocks, O(N² D)."""
    vectors = items[1:]
    blocks = vectors.split(max(1, ENTRIES // max(1, len(vectors))))
    return torch.stack([torch.cdist(block, vectors).amax() for block in blocks]).amax()


def cone_ratio(*, width: int, mean_cosine: float, mean_norm: float, norm_std: float) -> float:
    """The variance along a cone's axis over that of any other direction, q = (d − 1) a/(1 − a) Var(r)/E[r²].

    Items r_j u_j, u_j = √a m + √(1−a) v_j with v_j isotropic beside the axis m, norms independent of
    angles, uniform p: eigenvalues a Var(r) along m, (1−a) E[r²]/(d−1) elsewhere. It is the product of norm
    disparity and cone that hurts; after normalisation q = 0. a = `mean_cosine`. Derived by us, Eq. (4).
    """
    disparity = norm_std**2 / (mean_norm**2 + norm_std**2)
    return (width - 1) * mean_cosine / (1 - mean_cosine) * disparity


def cone_condition(ratio: float, *, width: int, n_items: int) -> float:
    """κ ≈ max(q, (1+b)²) / min(q, (1−b)²), b = √(d/N), and ((1+b)/(1−b))² for q = 0.

    Our specification prints q/(1−b)² for q > 1 and (1+b)²/q for q < 1: the same outside of the spread
    [(1−b)², (1+b)²] that the isotropic part has (Marchenko, Pastur); inside, the spread itself is κ. For q of
    0 the axis is an exact null direction and left out. ratio: q, `cone_ratio`. Derived by us, Eq. (4).
    """
    spread = math.sqrt(width / n_items)
    low, high = (1 - spread) ** 2, (1 + spread) ** 2
    return max(ratio, high) / (min(ratio, low) if ratio else low)


def cluster_condition(*, width: int, n_clusters: int, within_cosine: float) -> float:
    """κ ≈ 1 + (d/K) a_w/(1 − a_w): K tight clusters of equal size, near-orthogonal centres, unit norms.

    Under uniform p K − 1 directions carry a_w/K each, all others (1 − a_w)/d; K < d. Normalisation
    cannot help here. Derived by us, Eq. (5); that clusters of the semantics, misaligned with collaboration,
    hurt is confirmed by the abstract.
    """
    return 1 + width / n_clusters * within_cosine / (1 - within_cosine)


def cluster_condition_refined(*, width: int, n_clusters: int, within_cosine: float, n_items: int) -> float:
    """κ ≈ (g + (d/K) a_w/(1 − a_w)) / min(g, (1 − b)²), g = 1 − (1 − (1 − a_w)²)/K, b = √(d/N).

    What Eq. (5) leaves out, for the same items. Scaling rows to length one takes from the noise of a cluster
    what lies along its own centre, all but (1 − a_w)² of that variance: along every direction among the
    centres it is g (1 − a_w)/d on average over clusters, and the centres' mean, along which they do not
    differ, has nothing else. The other directions spread as in Eq. (4). Derived by us.
    """
    kept = 1 - (1 - (1 - within_cosine) ** 2) / n_clusters
    least = min(kept, (1 - math.sqrt(width / n_items)) ** 2)
    return (kept + width / n_clusters * within_cosine / (1 - within_cosine)) / least
