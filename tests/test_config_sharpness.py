from __future__ import annotations

from typing import Any

import pytest

from reclib.config import SHARPNESS_FAMILY, SharpnessConfig, config_hash
from reclib.schema import InputError


def test_the_family_is_one_of_different_settings() -> None:
    assert SHARPNESS_FAMILY["eisam"] == SharpnessConfig()
    hashes = {config_hash(config) for config in SHARPNESS_FAMILY.values()}
    assert len(hashes) == len(SHARPNESS_FAMILY) == 10
    with pytest.raises(TypeError):
        SHARPNESS_FAMILY["eisam"] = SharpnessConfig()  # type: ignore[index]


@pytest.mark.parametrize(
    ("field", "value", "must"),
    [
        ("step", "samm", "choose one of"),
        ("weight", "tail", "choose one of"),
        ("radius", -0.1, "at least 0"),
        ("penalty", float("inf"), "a finite number"),
        ("gamma", -1.0, "at least 0"),
        ("beta", 1.5, "between 0 and 1"),
        ("cap", 0.0, "above 0"),
        ("n_buckets", 0, "above 0"),
        ("alignment_every", -1, "at least 0"),
    ],
)
def test_settings_that_mean_nothing_are_refused_by_name(field: str, value: Any, must: str) -> None:
    with pytest.raises(InputError, match=rf"sharpness\.{field} is .*{must}"):
        SharpnessConfig(**{field: value})
