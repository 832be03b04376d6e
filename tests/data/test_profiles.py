"""The data sets that profile paper names are read as it cuts them, where they are at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reclib import config
from reclib.data.load import load


@pytest.mark.parametrize("data", config.data_configs(config.PAPER), ids=lambda data: data.source)
def test_a_data_set_of_profile_paper_has_windows_to_train_on_and_to_test(
    data: config.DataConfig, shared_data: Path
) -> None:
    if data.source != "synthetic" and not (shared_data / data.source).is_dir():
        pytest.skip(f"{data.source} is not below RECLIB_DATA")
    dataset = load(data, seed=0)
    for part in (dataset.train, dataset.valid, dataset.test):
        assert len(part) > 100
        assert part.history.shape == (len(part), data.history_length)
        assert part.target_idx.min() >= 1
        assert part.target_idx.max() <= dataset.n_items
    assert np.count_nonzero(dataset.counts) > 0.5 * dataset.n_items
