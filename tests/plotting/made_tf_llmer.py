"""A small made table for every figure of TF-LLMER's comparison."""

from __future__ import annotations

import numpy as np
import pandas as pd

METHODS = ("random", "llminit", "llm_esr", "llmemb", "frozen_adapter", "tf_llmer")


def curves() -> pd.DataFrame:
    epoch = np.arange(1, 17)
    parts = []
    for at, method in enumerate(METHODS):
        value = 5 + 0.1 * at + 2.2 * np.exp(-epoch / (3 + at))
        rows = pd.DataFrame({"epoch": epoch, "value": value, "low": value - 0.05, "high": value + 0.05})
        for panel, first in (("all epochs", 1), ("the last quarter", 13)):
            parts.append(rows[rows["epoch"] >= first].assign(panel=panel, method=method))
    return pd.concat(parts, ignore_index=True)[["panel", "method", "epoch", "value", "low", "high"]]
