"""The settings of TF-LLMER's comparison: documented, sourced, and with an equal budget for every arm."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from reclib.analysis.tf_llmer.arms import ARMS, settings
from reclib.config import TFLLMERConfig, profile
from reclib.schema import InputError


@pytest.mark.parametrize("name", ["smoke", "default", "paper"])
@pytest.mark.parametrize("label", ARMS)
def test_every_arm_is_tried_with_as_many_settings(name: str, label: str) -> None:
    own = profile(name).tf_llmer
    options = settings(label, own)
    assert len(set(options)) == len(options) == own.tuning
    assert all((each.norm is not None) == ARMS[label].is_normalised for each in options)


def test_arms_differ_in_what_their_labels_say() -> None:
    own = profile("paper").tf_llmer
    first = {label: settings(label, own)[0] for label in ARMS}
    whole = first["tf_llmer"]
    assert whole.weight == own.weights[0]
    assert whole.norm.scale == own.scales[0]
    assert dataclasses.replace(whole, norm=None) == first["rec_pca"]
    assert dataclasses.replace(whole, is_shuffled=True) == first["shuffled_graph"]
    assert dataclasses.replace(whole, is_trained=False) == first["frozen"]
    for label, change in {"norm_lookup": "lookup", "norm_scoring": "scoring"}.items():
        assert first[label].norm == dataclasses.replace(whole.norm, where=change)
    assert first["norm_layer"].norm == dataclasses.replace(whole.norm, norm="layer")
    for label, arm in ARMS.items():
        if label.endswith("_norm"):
            assert dataclasses.replace(first[label], norm=None) == first[label.removesuffix("_norm")], label
            assert first[label].norm == whole.norm
            assert arm.method == ARMS[label.removesuffix("_norm")].method


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"learning_rates": ()}, "learning_rates is empty"),
        ({"weights": (-0.5,)}, "tf_llmer.weights is .* at least 0"),
        ({"pooling": "first"}, "tf_llmer.pooling is 'first': choose one of"),
        ({"tuning": 0}, "tf_llmer.tuning is 0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TFLLMERConfig(**fields)
