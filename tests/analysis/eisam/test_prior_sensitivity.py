from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reclib import config
from reclib.analysis.eisam.prior_popularity import PriorConfig, prior_step
from reclib.analysis.eisam.prior_sensitivity import REFERENCE, SensitivityConfig, sensitivity_step
from reclib.analysis.eisam.title_measures import MEASURES
from reclib.text.title_variants import VARIANTS
from tests.analysis.bench import PROFILE

DATA = config.override(PROFILE, **{"data.synthetic.n_items": 20, "data.synthetic.n_users": 40}).data
PRIOR = PriorConfig(data=DATA, lm=PROFILE.lm, templates=("bare", "asked"), bootstrap=20)


def test_every_measure_is_compared_with_the_primary_one(tmp_path: Path) -> None:
    settings = SensitivityConfig(prior=PRIOR, models=(PRIOR.lm,))
    tables = sensitivity_step(settings, seed=0, workdir=tmp_path)
    measures, agreement = tables["measures"], tables["agreement"].set_index("measure")
    others = [f"titles: {name}" for name in VARIANTS if name != PRIOR.titles]
    assert agreement.index.tolist() == [*others, *MEASURES, "model: random"]
    assert (agreement["reference"] == REFERENCE).all()
    own = prior_step(PRIOR, seed=0, workdir=tmp_path / "own")["items"]["prior_popularity"]
    np.testing.assert_array_equal(measures[REFERENCE], own)
    assert agreement.loc["model: random", "value"] == pytest.approx(1), "the same model once more"
    assert agreement.loc["titles: given", "value"] == pytest.approx(1), "made titles are clean already"
    assert agreement.loc["s_tot", "value"] < 1
    for name in [*others, "model: random"]:
        assert measures[name].sum() == pytest.approx(1)


def test_a_rerun_takes_what_is_there_and_gives_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = SensitivityConfig(prior=replace(PRIOR, titles="given"), variants=("given", "cleaned"))
    first = sensitivity_step(settings, seed=0, workdir=tmp_path)
    files = sorted(tmp_path.rglob("*.npz"))
    assert files
    monkeypatch.setattr("reclib.decoding.catalogue_pass._Pass._block", None)
    again = sensitivity_step(settings, seed=0, workdir=tmp_path)
    assert again["measures"].equals(first["measures"])
    assert again["agreement"].equals(first["agreement"])
    assert sorted(tmp_path.rglob("*.npz")) == files
