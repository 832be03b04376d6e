"""Named random generators: nothing draws from global state, and a new stream never shifts another."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def derived_seed(seed: int, name: str) -> int:
    """A seed below 2⁶³ from a run's seed and the name of what is drawn: first bytes of SHA-256."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def numpy_generator(seed: int, name: str) -> np.random.Generator:
    """The numpy generator of a named stream."""
    return np.random.default_rng(derived_seed(seed, name))


def torch_generator(seed: int, name: str, device: str = "cpu") -> torch.Generator:
    """The torch generator of a named stream."""
    import torch

    generator = torch.Generator(device=device)
    generator.manual_seed(derived_seed(seed, name))
    return generator
