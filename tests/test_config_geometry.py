from __future__ import annotations

from typing import Any

import pytest

from reclib.config import GeometryConfig, config_hash, profile
from reclib.schema import InputError


def test_profiles_differ_and_smoke_needs_nothing_from_outside() -> None:
    hashes = {config_hash(profile(name).geometry) for name in ("smoke", "default", "paper")}
    assert len(hashes) == 3
    smoke = profile("smoke").geometry
    assert (smoke.encoder, smoke.lm) == ("random", "random")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"wording": "plot"}, "geometry.wording is 'plot': choose one of"),
        ({"widths": (0,)}, "geometry.widths is .* above 0"),
        ({"weight": -1.0}, "geometry.weight is .* at least 0"),
        ({"weights": (0.5, 1.0)}, "begin with 0"),
        ({"weights": (0.0, 1.0, 0.5)}, "let λ rise"),
        ({"epochs_kept": ()}, "name at least one"),
        ({"epochs_kept": (0, 99)}, "keep none after the last"),
    ],
)
def test_settings_that_mean_nothing_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        GeometryConfig(**fields)
