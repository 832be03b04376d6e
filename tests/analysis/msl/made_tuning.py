"""A small catalogue, and what traditional recommenders are tuned over on it."""

from __future__ import annotations

from functools import lru_cache

from reclib.analysis.msl.traditional import TuneTraditionalConfig
from reclib.config import BackboneConfig, DataConfig, SequenceTrainConfig, SyntheticConfig
from reclib.data.dataset import Dataset
from reclib.data.load import load

DATA = DataConfig(
    source="synthetic",
    history_length=5,
    synthetic=SyntheticConfig(n_users=80, n_items=30, learnability=1.0),
)


def tune_config(
    *, epochs: int, learning_rates: tuple[float, ...], dropouts: tuple[float, ...]
) -> TuneTraditionalConfig:
    """A grid of SASRecs of one layer."""
    return TuneTraditionalConfig(
        data=DATA,
        backbone=BackboneConfig(d_model=16, n_layers=1),
        train=SequenceTrainConfig(loss="cross_entropy", positions="last", epochs=epochs, batch_size=32),
        learning_rates=learning_rates,
        dropouts=dropouts,
        weight_decays=(0.0,),
    )


@lru_cache
def dataset() -> Dataset:
    """The catalogue's data, loaded once."""
    return load(DATA, seed=0)
