from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from reclib.config import GeometryConfig, config_hash, geometry, profile
from reclib.schema import InputError


def test_every_setting_is_documented() -> None:
    for each in dataclasses.fields(GeometryConfig):
        assert re.search(rf"\b{each.name}\b", GeometryConfig.__doc__ or ""), each.name


def test_every_value_of_profile_paper_is_given_and_names_its_source() -> None:
    source = Path(geometry.__file__).read_text("utf-8")
    (made,) = (
        node.value
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "PAPER_GEOMETRY"
    )
    assert {each.arg for each in made.keywords} == {each.name for each in dataclasses.fields(GeometryConfig)}
    lines = source.splitlines()
    for call in (node for node in ast.walk(made) if isinstance(node, ast.Call)):
        for each in call.keywords:
            if not isinstance(each.value, ast.Call):
                assert re.search(r"# (ours|third parties|the authors)", lines[each.lineno - 1]), each.arg


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
