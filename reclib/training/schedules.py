"""Weights that move with training."""

from __future__ import annotations

from math import cos, pi


def cosine_weight(epoch: int, *, period: float, lowest: float, highest: float) -> float:
    """w(t) = (w_max − w_min) (1 + cos(2π t / T)) / 2 + w_min: highest at t = 0 and T, lowest at T/2.

    epoch: t from 0; period: T in epochs. Source: [FAERec] Eq. (11).
    """
    return (highest - lowest) * (1 + cos(2 * pi * epoch / period)) / 2 + lowest


def rising_probability(step: int, *, n_steps: int) -> float:
    """p(s) = (s + 1) / T: 1/T at the first step, s = 0, and 1 at the last, s = T − 1.

    Source: [LLaRA], the curriculum of the released code.
    """
    return (step + 1) / n_steps
