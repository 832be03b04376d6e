from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from reclib.analysis.msl import steps
from reclib.analysis.msl.preference import prefer_step, preferred_config
from reclib.artifacts import get_or_compute
from tests.analysis.bench import TUNED_FILES, kept_files, profile, workbench


def test_an_adapter_tuned_by_preference_starts_from_its_reference_and_is_ranked_as_any() -> None:
    bench, small = workbench(), profile()
    tuned = steps.tuned_config(small, "lml")
    reference = get_or_compute("fine_tune", steps.fine_tune_step, tuned, seed=0, bench=bench)
    found = get_or_compute(
        "prefer",
        prefer_step,
        preferred_config(small, n_negatives=2),
        upstream=[reference],
        seed=0,
        bench=bench,
        reference=reference,
    )
    assert kept_files(found) == {*TUNED_FILES, "0.npy"}  # and the reference's log-probabilities
    trace = found["trace"]
    first = trace[trace["step"] == trace["step"].min()].set_index("name")["value"]
    assert abs(first["loss"] - np.log(3)) < 1e-3  # the policy is its reference, dropout is off
    before, after = (load_file(Path(each.path) / "adapter.safetensors") for each in (reference, found))
    moved = sum(np.abs(after[name] - weight).sum() for name, weight in before.items())
    assert 0 < moved < 0.5 * sum(np.abs(weight).sum() for weight in before.values())
    ranked = steps.held_out_step(
        steps.held_out_config(small, n_windows=4),
        seed=0,
        workdir=Path(found.path),
        bench=bench,
        adapter=found,
    )
    assert len(ranked["windows"]) == 4
