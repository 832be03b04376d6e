"""What each item's losses weigh in sharpness-aware steps, and the groups that share a perturbation."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from reclib.config import SharpnessConfig
from reclib.data.popularity import is_head, popularity_ranking
from reclib.kernels.sharpness import (
    effective_number_weights,
    focal_max_weights,
    focal_weights,
    indicator_weights,
    normalised_weights,
    power_weights,
    prior_aware_weights,
    rank_weights,
)
from reclib.schema import InputError


def item_weights(config: SharpnessConfig, counts: np.ndarray, *, prior: np.ndarray | None = None) -> Tensor:
    """The weights f that `config` names, (N+1,) float64, normalised and capped as it says.

    counts: (N+1,) training examples whose target an item is; one without any weighs as one with a single
    example. prior: (N+1,), for weight "prior". Raises InputError for counts that are negative or all zero, a
    missing prior, a weight that is not finite, and where no training example has a weight.
    """
    counts = np.asarray(counts)
    if len(counts) < 2 or counts.min() < 0 or not counts[1:].any():
        raise InputError("item weights need counts of training examples, at least 0 and not all 0")
    weights = _raw(config, counts, prior)
    bad = (~weights.isfinite()).nonzero().flatten()
    if len(bad):
        item = int(bad[0])
        raise InputError(
            f"item {item}: its weight is {float(weights[item])}; give it a prior popularity above 0"
        )
    examples = torch.tensor(counts)
    if not bool((weights * examples).any()):
        raise InputError(f"no training example has a weight under {config.weight!r}: choose another weight")
    if config.is_normalised:
        return normalised_weights(weights, examples, cap=config.cap)
    return weights.clamp(max=config.cap)


def _raw(config: SharpnessConfig, counts: np.ndarray, prior: np.ndarray | None) -> Tensor:
    examples, gamma = torch.tensor(counts), config.gamma
    if config.weight == "indicator":
        return indicator_weights(torch.tensor(is_head(counts)))
    if config.weight == "effective":
        return effective_number_weights(examples, beta=config.beta)
    if config.weight == "prior":
        if prior is None or len(prior) != len(counts):
            raise InputError(
                f"weight 'prior' needs the prior popularity of all {len(counts) - 1} items: pass `prior`"
            )
        return prior_aware_weights(
            examples, torch.tensor(np.asarray(prior)), gamma=gamma, prior_gamma=config.prior_gamma
        )
    make = {
        "power": power_weights, "focal": focal_weights, "focal_max": focal_max_weights, "rank": rank_weights,
    }[config.weight]  # fmt: skip
    return make(examples, gamma=gamma)


def popularity_buckets(counts: np.ndarray, n_buckets: int) -> np.ndarray:
    """Group of each item, (N+1,) int64: 0 the most popular; sizes differ by one at most; padding is −1."""
    n_items = len(counts) - 1
    buckets = np.full(len(counts), -1, dtype=np.int64)
    buckets[popularity_ranking(counts)] = np.arange(n_items) * min(n_buckets, n_items) // n_items
    return buckets


def bucket_radii(config: SharpnessConfig, counts: np.ndarray, buckets: np.ndarray) -> list[float]:
    """ρ_g = ρ · n_g^−κ over the mean of n_g^−κ over training examples, n_g ≥ 1 the mean count of a group.

    κ = `radius_exponent`: 0 gives all groups ρ, 1/4 is the exponent of CC-SAM. [relative: CC-SAM]
    """
    groups = range(buckets.max() + 1)
    sizes = [max(1.0, float(counts[buckets == group].mean())) for group in groups]
    examples = [float(counts[buckets == group].sum()) for group in groups]
    scale = [size**-config.radius_exponent for size in sizes]
    mean = math.fsum(n * each for n, each in zip(examples, scale, strict=True)) / math.fsum(examples)
    return [config.radius * each / mean for each in scale]
