"""Made test examples whose hits have known causes: popularity in the data, in a prior, or in both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from reclib.data.dataset import Windows
from reclib.evaluation.metrics import per_window


@dataclass(frozen=True)
class Tails:
    """Items with two popularities, and test windows of users; arrays of items are (N+1,), of windows (W,)."""

    counts: np.ndarray
    prior: np.ndarray
    target: np.ndarray
    user: np.ndarray

    @property
    def log_data(self) -> np.ndarray:
        return standard(np.log1p(self.counts[self.target]))

    @property
    def log_prior(self) -> np.ndarray:
        return standard(np.log(self.prior[self.target]))

    def items(self) -> pd.DataFrame:
        return pd.DataFrame(
            {
                "item_idx": np.arange(1, len(self.counts)),
                "count": self.counts[1:],
                "prior_popularity": self.prior[1:],
            }
        )

    def windows(self) -> Windows:
        history = np.ones((len(self.target), 3), dtype=np.int32)
        return Windows(self.user, history, self.target.astype(np.int32), np.zeros(len(self.target)))

    def ranks(self, hit: np.ndarray) -> pd.Series:
        return pd.Series(np.where(hit, 3, 40), dtype="Int64")

    def table(self, **hits: np.ndarray) -> pd.DataFrame:
        """Long table of HR@10 of each method."""
        parts = [
            per_window(self.ranks(hit), (10,), n_items=10_000).assign(method=method)
            for method, hit in hits.items()
        ]
        table = pd.concat(parts, ignore_index=True)
        return table[table["metric"] == "HR"].reset_index(drop=True)


def standard(values: np.ndarray) -> np.ndarray:
    return (values - values.mean()) / values.std()


def tails(
    *, n_items: int = 400, n_users: int = 1500, each: int = 4, together: float = 0.5, seed: int = 0
) -> Tails:
    """Heavy-tailed counts and a prior that correlates with them by `together`; targets any item alike."""
    generator = np.random.default_rng(seed)
    first, second = generator.normal(size=(2, n_items))
    counts = np.append(0, np.floor(np.exp(3 + 1.2 * first))).astype(np.int64)
    prior = np.append(0, np.exp(1.5 * (together * first + np.sqrt(1 - together**2) * second)))
    target = generator.integers(1, n_items + 1, size=n_users * each)
    user = np.repeat(np.arange(n_users), each)
    return Tails(counts, prior / prior.sum(), target, user)


def hits(logit: np.ndarray, user: np.ndarray, *, seed: int, of_user: float = 0.5) -> np.ndarray:
    """Hits of a logit; half the windows of a user share one draw, so they are not independent."""
    generator = np.random.default_rng(seed)
    alone = generator.random(len(user))
    shared = generator.random(user.max() + 1)[user]
    drawn = np.where(generator.random(len(user)) < of_user, shared, alone)
    return drawn < 1 / (1 + np.exp(-logit))
